//! reqwest: the asynchronous client, with its own pool, and with retries by `reqwest-retry`, by `tower`, or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use failsafe::backoff::{self, Constant};
use failsafe::failure_policy::{ConsecutiveFailures, consecutive_failures};
use failsafe::{Instrument, StateMachine};
use halfopen::{Env, Op, OpError, OpErrorKind, Param, ParamKind, Params};
use http::StatusCode;
use reqwest_middleware::ClientWithMiddleware;
use reqwest_retry::policies::ExponentialBackoff;
use reqwest_retry::{Jitter, RetryTransientMiddleware};
use tokio::sync::Semaphore;
use tower::retry::Policy;
use tower::retry::backoff::{Backoff, ExponentialBackoff as TowerBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::retry::budget::{Budget, TpsBudget};
use tower::util::rng::HasherRng;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::{DEADLINE_HEADER, OP_HEADER, OPS};

const PARAMS: &[Param] = &[
    Param { name: "url", kind: ParamKind::Url, default: "http://api:8080", doc: "Where the server is." },
    Param { name: "body", kind: ParamKind::Size, default: "100B", doc: "Size of a POST's body." },
    Param {
        name: "timeout",
        kind: ParamKind::OptionalDuration,
        default: "2s",
        doc: "For one attempt, from connecting to the end of the body.",
    },
    Param {
        name: "connect_timeout",
        kind: ParamKind::OptionalDuration,
        default: "none",
        doc: "For establishing a connection.",
    },
    Param {
        name: "read_timeout",
        kind: ParamKind::OptionalDuration,
        default: "none",
        doc: "Longest silence while reading an answer.",
    },
    Param {
        name: "retry",
        kind: ParamKind::Choice(&["none", "middleware", "tower"]),
        default: "none",
        doc: "Who retries: nobody, `reqwest-retry`, or a `tower` retry layer.",
    },
    Param { name: "retries", kind: ParamKind::Count, default: "3", doc: "Most retries of one op." },
    Param {
        name: "backoff",
        kind: ParamKind::Duration,
        default: "100ms",
        doc: "Before the first retry; doubles with each.",
    },
    Param { name: "backoff_max", kind: ParamKind::Duration, default: "10s", doc: "Longest wait before a retry." },
    Param {
        name: "jitter",
        kind: ParamKind::Bool,
        default: "true",
        doc: "Waits are drawn at random between nothing and the backoff.",
    },
    Param {
        name: "retry_budget",
        kind: ParamKind::Bool,
        default: "false",
        doc: "`tower` only: retries may add at most a fifth to the requests.",
    },
    Param {
        name: "pool_size",
        kind: ParamKind::OptionalCount,
        default: "none",
        doc: "Most requests at once; others wait.",
    },
    Param {
        name: "pool_timeout",
        kind: ParamKind::OptionalDuration,
        default: "none",
        doc: "Longest wait for a place among them.",
    },
    Param {
        name: "pool_idle_timeout",
        kind: ParamKind::OptionalDuration,
        default: "90s",
        doc: "How long an idle connection is kept (reqwest's default).",
    },
    Param {
        name: "pool_max_idle",
        kind: ParamKind::OptionalCount,
        default: "none",
        doc: "Most idle connections kept; 0 opens one for each request.",
    },
    Param {
        name: "tcp_keepalive",
        kind: ParamKind::OptionalDuration,
        default: "15s",
        doc: "Idle time before the first TCP keepalive probe (reqwest's default).",
    },
    Param {
        name: "tcp_user_timeout",
        kind: ParamKind::OptionalDuration,
        default: "30s",
        doc: "TCP_USER_TIMEOUT (reqwest's default).",
    },
    Param {
        name: "breaker",
        kind: ParamKind::Bool,
        default: "false",
        doc: "A circuit breaker: after `breaker_failures` failures in a row, ops fail at once for a while.",
    },
    Param {
        name: "breaker_failures",
        kind: ParamKind::Count,
        default: "5",
        doc: "Failures in a row that open the breaker.",
    },
    Param {
        name: "breaker_open",
        kind: ParamKind::Duration,
        default: "5s",
        doc: "How long it stays open before one op may try again.",
    },
    Param {
        name: "propagate_deadline",
        kind: ParamKind::Bool,
        default: "false",
        doc: "No attempt outlives its op's deadline, and the server is told how long the caller waits.",
    },
    Param {
        name: "dns",
        kind: ParamKind::Choice(&["getaddrinfo", "hickory"]),
        default: "getaddrinfo",
        doc: "Who resolves names.",
    },
];

/// reqwest 0.13: async HTTP with a connection pool.
#[halfopen::client("http/reqwest", ops = OPS, params = PARAMS)]
pub async fn client(env: Env) -> Result<(), OpError> {
    let caller = Arc::new(Caller::new(&env)?);
    env.drive(|op| {
        let caller = Arc::clone(&caller);
        async move { caller.call(op).await }
    })
    .await;
    Ok(())
}

/// Who retries around the client.
enum Sender {
    Plain,
    Middleware(ClientWithMiddleware),
    Tower(Attempts),
}

struct Caller {
    client: reqwest::Client,
    sender: Sender,
    settings: Params,
    places: Option<Places>,
    breaker: Option<Breaker>,
}

/// A circuit breaker that opens after so many failures in a row, for a fixed time.
type Breaker = StateMachine<ConsecutiveFailures<Constant>, Lamp>;

/// Shows the breaker's state as a gauge.
struct Lamp(Env);

impl Instrument for Lamp {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.0.gauge("breaker.open", 1);
    }

    fn on_half_open(&self) {}

    fn on_closed(&self) {
        self.0.gauge("breaker.open", 0);
    }
}

/// A limit on requests at once, with its gauges.
struct Places {
    semaphore: Semaphore,
    waiting: AtomicI64,
    env: Env,
}

impl Caller {
    fn new(env: &Env) -> Result<Caller, OpError> {
        let settings = env.params().clone();
        let client = build(&settings)?;
        let retries = settings.count("retries") as u32;
        let (least, most) = (settings.duration("backoff").into(), settings.duration("backoff_max").into());
        let jitter = settings.flag("jitter");
        let sender = match settings.text("retry") {
            "middleware" => {
                let policy = ExponentialBackoff::builder()
                    .retry_bounds(least, most)
                    .jitter(if jitter { Jitter::Full } else { Jitter::None })
                    .build_with_max_retries(retries);
                let layer = RetryTransientMiddleware::new_with_policy(policy);
                Sender::Middleware(reqwest_middleware::ClientBuilder::new(client.clone()).with(layer).build())
            }
            "tower" => {
                let spread = if jitter { 1.0 } else { 0.0 };
                let mut maker = ExponentialBackoffMaker::new(least, most, spread, HasherRng::new())?;
                let budget = settings.flag("retry_budget").then(|| Arc::new(TpsBudget::default()));
                Sender::Tower(Attempts { left: retries, backoff: maker.make_backoff(), budget })
            }
            _ => Sender::Plain,
        };
        let places = settings.optional_count("pool_size").map(|size| {
            env.gauge("pool.size", size as i64);
            Places { semaphore: Semaphore::new(size as usize), waiting: AtomicI64::new(0), env: env.clone() }
        });
        let breaker = settings.flag("breaker").then(|| {
            let open = backoff::constant(settings.duration("breaker_open").into());
            let policy = consecutive_failures(settings.count("breaker_failures") as u32, open);
            StateMachine::new(policy, Lamp(env.clone()))
        });
        Ok(Caller { client, sender, settings, places, breaker })
    }

    async fn call(&self, op: Op) -> Result<(), OpError> {
        let Some(breaker) = &self.breaker else { return self.in_turn(op).await };
        if !breaker.is_call_permitted() {
            return Err(OpError::new(OpErrorKind::Rejected, "the circuit breaker is open"));
        }
        let result = self.in_turn(op).await;
        match result {
            Ok(()) => breaker.on_success(),
            Err(_) => breaker.on_error(),
        }
        result
    }

    async fn in_turn(&self, op: Op) -> Result<(), OpError> {
        let Some(places) = &self.places else { return self.send(op).await };
        let _place = places.enter(self.settings.optional_duration("pool_timeout").map(Duration::from)).await?;
        places.env.gauge_add("pool.in_use", 1);
        let _in_use = Leave(&places.env);
        self.send(op).await
    }

    async fn send(&self, op: Op) -> Result<(), OpError> {
        let request = self.request(&op)?;
        let response = match &self.sender {
            Sender::Plain => self.client.execute(request).await.map_err(told_apart)?,
            Sender::Middleware(client) => client.execute(request).await.map_err(|error| match error {
                reqwest_middleware::Error::Reqwest(error) => told_apart(error),
                reqwest_middleware::Error::Middleware(error) => middleware_error(&error),
            })?,
            Sender::Tower(attempts) => {
                let mut service = ServiceBuilder::new().retry(attempts.clone()).service(self.client.clone());
                service.ready().await.map_err(told_apart)?.call(request).await.map_err(told_apart)?
            }
        };
        let status = response.status();
        response.bytes().await.map_err(told_apart)?;
        if status.is_success() { Ok(()) } else { Err(OpError::new(OpErrorKind::Upstream, format!("HTTP {status}"))) }
    }

    fn request(&self, op: &Op) -> Result<reqwest::Request, OpError> {
        let url = format!("{}/items/{}", self.settings.text("url").trim_end_matches('/'), op.id());
        let mut request = match op.name() {
            "post" => self.client.post(url).body(vec![b'x'; self.settings.size("body") as usize]),
            _ => self.client.get(url),
        };
        request = request.header(OP_HEADER, op.id().to_string());
        if self.settings.flag("propagate_deadline")
            && let Some(left) = op.remaining()
        {
            let timeout = self.settings.optional_duration("timeout").map_or(left, |own| left.min(own.into()));
            request = request.timeout(timeout).header(DEADLINE_HEADER, left.as_millis().to_string());
        }
        Ok(request.build()?)
    }
}

fn build(settings: &Params) -> Result<reqwest::Client, OpError> {
    let span = |name: &str| settings.optional_duration(name).map(Duration::from);
    let mut builder = reqwest::Client::builder()
        .pool_idle_timeout(span("pool_idle_timeout"))
        .tcp_keepalive(span("tcp_keepalive"))
        .tcp_user_timeout(span("tcp_user_timeout"))
        .hickory_dns(settings.text("dns") == "hickory");
    if let Some(timeout) = span("timeout") {
        builder = builder.timeout(timeout);
    }
    if let Some(timeout) = span("connect_timeout") {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(timeout) = span("read_timeout") {
        builder = builder.read_timeout(timeout);
    }
    if let Some(most) = settings.optional_count("pool_max_idle") {
        builder = builder.pool_max_idle_per_host(most as usize);
    }
    Ok(builder.build()?)
}

impl Places {
    async fn enter(&self, longest: Option<Duration>) -> Result<tokio::sync::SemaphorePermit<'_>, OpError> {
        if let Ok(place) = self.semaphore.try_acquire() {
            self.env.pool_wait(Duration::ZERO);
            return Ok(place);
        }
        let began = tokio::time::Instant::now();
        self.env.gauge("pool.waiting", self.waiting.fetch_add(1, Ordering::Relaxed) + 1);
        let _waiting = Waiting(self);
        let acquired = match longest {
            None => self.semaphore.acquire().await,
            Some(longest) => match tokio::time::timeout(longest, self.semaphore.acquire()).await {
                Ok(acquired) => acquired,
                Err(_) => {
                    return Err(OpError::new(
                        OpErrorKind::PoolTimeout,
                        format!("no place in the pool within {longest:?}"),
                    ));
                }
            },
        };
        self.env.pool_wait(began.elapsed());
        acquired.map_err(|_| OpError::new(OpErrorKind::Other, "the pool is closed"))
    }
}

/// Counts somebody out of the queue, also when the op is dropped while it waits.
struct Waiting<'a>(&'a Places);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.env.gauge("pool.waiting", self.0.waiting.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}

struct Leave<'a>(&'a Env);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.gauge_add("pool.in_use", -1);
    }
}

/// A retry policy for tower: transport errors, time-outs and 5xx are tried again.
#[derive(Clone)]
struct Attempts {
    left: u32,
    backoff: TowerBackoff,
    budget: Option<Arc<TpsBudget>>,
}

impl Policy<reqwest::Request, reqwest::Response, reqwest::Error> for Attempts {
    type Future = <TowerBackoff as Backoff>::Future;

    fn retry(
        &mut self,
        _: &mut reqwest::Request,
        result: &mut Result<reqwest::Response, reqwest::Error>,
    ) -> Option<Self::Future> {
        let failed = match result {
            Ok(response) => response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS,
            Err(_) => true,
        };
        if !failed {
            self.budget.iter().for_each(|budget| budget.deposit());
            return None;
        }
        if self.left == 0 || self.budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
            return None;
        }
        self.left -= 1;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, request: &reqwest::Request) -> Option<reqwest::Request> {
        request.try_clone()
    }
}

/// reqwest tells time-outs of connecting and of the rest apart; the chain of causes tells the others.
fn told_apart(error: reqwest::Error) -> OpError {
    let kind = match (error.is_timeout(), error.is_connect()) {
        (true, true) => Some(OpErrorKind::ConnectTimeout),
        (true, false) => Some(OpErrorKind::ReadTimeout),
        _ => None,
    };
    let error = OpError::from(error);
    match kind {
        Some(kind) => error.with_kind(kind),
        None => error,
    }
}

/// `reqwest-retry` wraps the last error in one of its own.
fn middleware_error(error: &(impl std::fmt::Display + std::fmt::Debug)) -> OpError {
    let text = format!("{error:#}");
    let lower = text.to_lowercase();
    let kind = match lower.as_str() {
        text if text.contains("dns error") => OpErrorKind::Dns,
        text if text.contains("refused") => OpErrorKind::Refused,
        text if text.contains("reset") || text.contains("broken pipe") || text.contains("closed") => OpErrorKind::Reset,
        text if text.contains("unreachable") || text.contains("no route") => OpErrorKind::Unreachable,
        text if text.contains("timed out") && text.contains("connect") => OpErrorKind::ConnectTimeout,
        text if text.contains("timed out") => OpErrorKind::ReadTimeout,
        _ => OpErrorKind::Other,
    };
    OpError::new(kind, text)
}
