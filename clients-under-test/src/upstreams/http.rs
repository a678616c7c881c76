//! An HTTP server on axum: a number of workers, a service time, a queue with a limit.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use halfopen::{Env, OpError, Param, ParamKind};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::http::{DEADLINE_HEADER, OP_HEADER};

const PARAMS: &[Param] = &[
    Param { name: "port", kind: ParamKind::Count, default: "8080", doc: "Where it listens." },
    Param {
        name: "workers",
        kind: ParamKind::Count,
        default: "64",
        doc: "Requests that are worked on at once; others queue.",
    },
    Param {
        name: "queue",
        kind: ParamKind::OptionalCount,
        default: "none",
        doc: "Most requests in the queue; more are answered with 503.",
    },
    Param {
        name: "service_time",
        kind: ParamKind::Distribution,
        default: "5ms",
        doc: "How long a worker takes for a request.",
    },
    Param { name: "response", kind: ParamKind::Size, default: "100B", doc: "Size of an answer's body." },
    Param {
        name: "honour_deadline",
        kind: ParamKind::Bool,
        default: "false",
        doc: "A request whose caller has given up (by its `x-deadline-ms`) is not worked on.",
    },
];

/// An axum server with workers, a service time and a queue limit.
#[halfopen::client("upstream/http", params = PARAMS, upstream)]
pub async fn server(env: Env) -> Result<(), OpError> {
    let port = env.params().count("port") as u16;
    let shop = Arc::new(Shop::new(env.clone()));
    let mut condition = watch_condition(env);
    tokio::spawn(adjust_workers(Arc::clone(&shop), condition.clone()));
    let app = Router::new().route("/items/{id}", get(serve).post(serve)).with_state(shop);
    loop {
        let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
        let mut refused = condition.clone();
        let server = axum::serve(listener, app.clone()).into_future();
        tokio::select! {
            ended = server => ended?,
            _ = refused.wait_for(|condition| condition.refuse) => {}
        }
        // The listener is closed: connections are refused until the fault ends.
        if condition.wait_for(|condition| !condition.refuse).await.is_err() {
            return Ok(());
        }
    }
}

/// Follows what is wrong with this upstream.
fn watch_condition(env: Env) -> watch::Receiver<halfopen::Condition> {
    let (tell, told) = watch::channel(env.condition());
    std::thread::spawn(move || {
        let mut seen = 0;
        loop {
            seen = env.wait_condition(seen);
            if tell.send(env.condition()).is_err() {
                return;
            }
        }
    });
    told
}

struct Shop {
    env: Env,
    workers: Semaphore,
    queued: AtomicUsize,
}

impl Shop {
    fn new(env: Env) -> Shop {
        let workers = Semaphore::new(env.params().count("workers") as usize);
        Shop { env, workers, queued: AtomicUsize::new(0) }
    }
}

/// Keeps the number of workers at what the condition allows.
async fn adjust_workers(shop: Arc<Shop>, mut condition: watch::Receiver<halfopen::Condition>) {
    let usual = shop.env.params().count("workers") as usize;
    let mut present = usual;
    loop {
        let wanted = condition.borrow_and_update().capacity.map_or(usual, |workers| workers as usize);
        if wanted > present {
            shop.workers.add_permits(wanted - present);
        } else if let Ok(gone) = shop.workers.acquire_many((present - wanted) as u32).await {
            gone.forget();
        }
        present = wanted;
        if condition.changed().await.is_err() {
            return;
        }
    }
}

async fn serve(State(shop): State<Arc<Shop>>, headers: HeaderMap, _body: Bytes) -> Response {
    let number = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (op, deadline) = (number(OP_HEADER), number(DEADLINE_HEADER));
    let deadline = deadline.map(|left| tokio::time::Instant::now() + Duration::from_millis(left));
    // A backend goes on with work that its caller has given up: the request is a task of its own.
    let work = tokio::spawn(async move { work(&shop, op, deadline).await });
    work.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn work(shop: &Shop, op: Option<u64>, deadline: Option<tokio::time::Instant>) -> Response {
    let attempt = shop.env.attempt(op);
    let condition = shop.env.condition();
    if shop.env.chance(condition.hang) {
        std::future::pending::<()>().await;
    }
    if let Some((share, status)) = condition.error
        && shop.env.chance(share)
    {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    }
    let limit = shop.env.params().optional_count("queue").map_or(usize::MAX, |limit| limit as usize);
    let queued = shop.queued.fetch_add(1, Ordering::Relaxed);
    if shop.workers.available_permits() == 0 && queued >= limit {
        shop.queued.fetch_sub(1, Ordering::Relaxed);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let worker = shop.workers.acquire().await;
    shop.queued.fetch_sub(1, Ordering::Relaxed);
    if shop.env.params().flag("honour_deadline") && deadline.is_some_and(|at| at <= tokio::time::Instant::now()) {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    let mut span = shop.env.sample(shop.env.params().distribution("service_time"));
    // Asked again: the upstream may have become slow while this request queued.
    if let Some((by, share)) = shop.env.condition().slow
        && shop.env.chance(share)
    {
        span += shop.env.sample(by);
    }
    tokio::time::sleep(span).await;
    drop(worker);
    if let Some(op) = op {
        shop.env.effect(op);
    }
    attempt.succeed();
    vec![b'x'; shop.env.params().size("response") as usize].into_response()
}
