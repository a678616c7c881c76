//! ureq: the blocking client, on plain threads.

use std::time::Duration;

use halfopen::{Env, Op, OpError, OpErrorKind, Param, ParamKind, Params};

use super::{OP_HEADER, OPS};

const PARAMS: &[Param] = &[
    Param { name: "url", kind: ParamKind::Url, default: "http://api:8080", doc: "Where the server is." },
    Param { name: "body", kind: ParamKind::Size, default: "100B", doc: "Size of a POST's body." },
    Param { name: "threads", kind: ParamKind::Count, default: "8", doc: "How many threads run ops." },
    Param {
        name: "timeout",
        kind: ParamKind::OptionalDuration,
        default: "none",
        doc: "For one attempt, from resolving to the end of the body (ureq has none by default).",
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
        doc: "For receiving the answer's head.",
    },
    Param { name: "retries", kind: ParamKind::Count, default: "0", doc: "Most retries of one op." },
    Param {
        name: "backoff",
        kind: ParamKind::Duration,
        default: "100ms",
        doc: "Before the first retry; doubles with each.",
    },
    Param {
        name: "propagate_deadline",
        kind: ParamKind::Bool,
        default: "false",
        doc: "No attempt outlives its op's deadline.",
    },
    Param {
        name: "pool_idle_timeout",
        kind: ParamKind::Duration,
        default: "15s",
        doc: "How long an idle connection is kept (ureq's default).",
    },
    Param {
        name: "pool_max_idle",
        kind: ParamKind::Count,
        default: "3",
        doc: "Most idle connections kept to one server (ureq's default); 0 opens one for each request.",
    },
];

/// ureq 3: blocking HTTP on threads.
#[halfopen::client("http/ureq", ops = OPS, params = PARAMS)]
pub fn client(env: Env) -> Result<(), OpError> {
    let settings = env.params().clone();
    let span = |name: &str| settings.optional_duration(name).map(Duration::from);
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(span("connect_timeout"))
            .timeout_recv_response(span("read_timeout"))
            .max_idle_age(settings.duration("pool_idle_timeout").into())
            .max_idle_connections_per_host(settings.count("pool_max_idle") as usize)
            .build(),
    );
    env.drive_blocking(settings.count("threads") as usize, |op| call(&agent, &settings, &op));
    Ok(())
}

fn call(agent: &ureq::Agent, settings: &Params, op: &Op) -> Result<(), OpError> {
    let retries = settings.count("retries");
    let mut backoff = Duration::from(settings.duration("backoff"));
    for _ in 0..retries {
        match attempt(agent, settings, op) {
            Err(_) if op.remaining() != Some(Duration::ZERO) => pause(backoff),
            result => return result,
        }
        backoff *= 2;
    }
    attempt(agent, settings, op)
}

#[expect(clippy::disallowed_methods, reason = "a workload waits as any program does")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

fn attempt(agent: &ureq::Agent, settings: &Params, op: &Op) -> Result<(), OpError> {
    let url = format!("{}/items/{}", settings.text("url").trim_end_matches('/'), op.id());
    let id = op.id().to_string();
    let timeout = attempt_timeout(settings, op);
    let mut response = match op.name() {
        "post" => {
            let request = agent.post(url).header(OP_HEADER, id).config().timeout_global(timeout).build();
            request.send(&vec![b'x'; settings.size("body") as usize][..])
        }
        _ => agent.get(url).header(OP_HEADER, id).config().timeout_global(timeout).build().call(),
    }
    .map_err(told_apart)?;
    response.body_mut().read_to_vec().map_err(told_apart)?;
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(OpError::new(OpErrorKind::Upstream, format!("HTTP {status}"))) }
}

/// The setting, or what is left of the op's deadline if that is less and counts.
fn attempt_timeout(settings: &Params, op: &Op) -> Option<Duration> {
    let own = settings.optional_duration("timeout").map(Duration::from);
    let left = op.remaining().filter(|_| settings.flag("propagate_deadline"));
    [own, left].into_iter().flatten().min()
}

/// ureq names the time-out that struck.
fn told_apart(error: ureq::Error) -> OpError {
    match &error {
        ureq::Error::Timeout(ureq::Timeout::Connect) => OpError::new(OpErrorKind::ConnectTimeout, error),
        ureq::Error::Timeout(ureq::Timeout::Resolve) | ureq::Error::HostNotFound => {
            OpError::new(OpErrorKind::Dns, error)
        }
        ureq::Error::Timeout(_) => OpError::new(OpErrorKind::ReadTimeout, error),
        _ => OpError::from(error),
    }
}
