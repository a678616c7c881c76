//! The workloads on halfopen. The command line is halfopen's own (`bench-halfopen run benches/scenarios/echo-100.yaml`), and
//! so is what a run costs: a warm process is started, which copies itself for the run, and every event is recorded.
//!
//! The work is one op of each client, so that `ops.latency.max` is what the slowest client's clock says.

mod net {
    //! What the workloads take from the network: tokio's own.

    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::time::{Instant, sleep};

    /// Runs a future on its own.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}
#[path = "../../workloads/web.rs"]
mod web;
#[path = "../../workloads/mod.rs"]
mod workloads;

use std::process::ExitCode;

use halfopen::{Env, OpError, OpSpec, Param, ParamKind};
use workloads::{PORT, Work};

/// The name of the work that is not everybody's.
const WEB: &str = "web";

const fn work(name: &'static str, doc: &'static str) -> OpSpec {
    OpSpec { name, doc, effect: false }
}

const OPS: &[OpSpec] = &[
    work("echo", "W1: request-response pairs over one connection."),
    work("http", "W2: hyper against axum's router."),
    work(WEB, "W2r: reqwest against axum::serve."),
    work("idle", "W3: a request-response pair, a silence, and another."),
    work("bulk", "W4: a transfer."),
    work("churn", "W5: connections, one after another."),
    work("scale", "W6: a request-response pair a second."),
];

const fn count(name: &'static str, default: &'static str, doc: &'static str) -> Param {
    Param { name, kind: ParamKind::Count, default, doc }
}

const CLIENT: &[Param] = &[
    Param { name: "server", kind: ParamKind::Text, default: "10.0.0.1:9000", doc: "The server's address and port." },
    count("requests", "1", "Requests, connections or beats of each client."),
    count("gap_s", "7200", "The silence of W3, in seconds."),
    count("mib", "64", "What W4 sends, in MiB."),
    count("chunk", "32768", "What W4 sends with one write, in bytes."),
];

const SERVER: &[Param] = &[Param {
    name: "work",
    kind: ParamKind::Choice(&["echo", "http", WEB, "idle", "bulk", "churn", "scale"]),
    default: "echo",
    doc: "The work that it serves.",
}];

/// Runs a host's program on a runtime with one thread, as the other peers do.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Does the work that is one op.
#[halfopen::client("client", ops = OPS, params = CLIENT)]
fn client(env: Env) {
    let params = env.params();
    block_on(env.drive(|op| async move {
        let server = params.text("server");
        match Work::named(op.name(), |figure| params.count(figure)) {
            Some(work) => workloads::client(work, server).await,
            None => web::client(server, params.count("requests")).await,
        };
        Ok::<(), OpError>(())
    }));
}

/// Serves the work that clients do.
#[halfopen::client("server", params = SERVER, upstream)]
fn server(env: Env) {
    // A server needs no figures.
    match Work::named(env.params().text("work"), |_| 0) {
        Some(work) => block_on(workloads::server(work)),
        None => block_on(web::server(PORT)),
    }
}

/// Listens, and is never called.
#[halfopen::client("idle", upstream)]
fn idle(_: Env) {
    block_on(workloads::idle_host());
}

fn main() -> ExitCode {
    halfopen::cli::main(vec![client(), server(), idle()])
}
