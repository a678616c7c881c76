//! What the network takes is exactly what packets and round trips demand, however many clients there are: the echo of the
//! benchmarks, over 10 ms each way, is one round trip for the handshake and one for each request.
#![forbid(unsafe_code)]

/// What the workload takes from the network: tokio's own.
mod net {
    pub use tokio::net::{TcpListener, TcpStream};

    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}
#[path = "../benches/workloads/echo.rs"]
mod echo;

use halfopen::program::{run_async, run_blocking};
use halfopen::{Env, OpError, Program, Scenario};

/// Where the server listens.
const PORT: u16 = 9000;
const SERVER: &str = "10.0.0.1:9000";
/// Requests of each client.
const REQUESTS: u64 = 100;

async fn server(_: Env) {
    echo::server(PORT).await;
}

async fn client(env: Env) {
    env.drive(|_| async {
        echo::client(SERVER, REQUESTS).await;
        Ok::<(), OpError>(())
    })
    .await;
}

/// On tokio's current-thread runtime.
fn alone<F: Future<Output = ()>>(main: impl Fn(Env) -> F + Send + Sync + 'static) -> Program {
    run_blocking(move |env| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(main(env));
    })
}

/// Asserts what the clients took, to the nanosecond: the slowest, all of them on average (so that none was quicker), and the
/// whole run.
#[track_caller]
fn check(scenario: Scenario, client: Program, server: Program, clients: f64) {
    let runs = scenario.program("client", client).program("server", server).run();
    Scenario::assert_pass(&runs);
    for (metric, figure) in [
        ("ops.ok", clients),
        ("ops.latency.max", 2.02),
        ("ops.latency.mean", 2.02),
        ("run.time", 2.02),
        ("tcp.connects", clients),
        ("tcp.retransmits", 0.0),
    ] {
        assert_eq!(runs[0].metric(metric), Some(figure), "{metric}\n{}", runs[0].report());
    }
}

#[test]
fn ten_clients() {
    check(halfopen::scenario!("scenarios/round-trips-10.yaml"), alone(client), alone(server), 10.0);
}

#[test]
fn a_hundred_clients() {
    check(halfopen::scenario!("scenarios/round-trips-100.yaml"), alone(client), alone(server), 100.0);
}

#[test]
fn a_hundred_clients_on_many_threads() {
    check(halfopen::scenario!("scenarios/round-trips-100.yaml"), run_async(client), run_async(server), 100.0);
}
