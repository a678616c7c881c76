//! The workloads on the real loopback device: server and clients as tasks of one thread, without any latency.

mod net {
    //! What the workloads take from the network: tokio's own.

    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::time::{Instant, sleep};

    /// Runs a future on its own.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}
#[path = "../../workloads/arguments.rs"]
mod arguments;
#[path = "../../workloads/web.rs"]
mod web;
#[allow(dead_code, reason = "there are no idle hosts where there is one host")]
#[path = "../../workloads/mod.rs"]
mod workloads;

use std::time::{Duration, Instant};

use arguments::Arguments;
use workloads::{PORT, Work};

/// An address of 127.0.0.0/8 that the process before this one did not use: what is left of its connections (TIME-WAIT)
/// must not cost this one.
fn address() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{high}.{middle}.{}:{PORT}", low.max(1))
}

async fn run(arguments: Arguments) -> Duration {
    let address: &'static str = address().leak();
    let work = Work::named(&arguments.work, |figure| arguments.figure(figure));
    match work {
        Some(work) => net::spawn(workloads::server(work)),
        None => net::spawn(web::server(PORT)),
    }
    // The server listens before anybody calls.
    tokio::task::yield_now().await;
    let clients: Vec<_> = (0..arguments.figure("clients"))
        .map(|_| match work {
            Some(work) => tokio::spawn(workloads::client(work, address)),
            None => tokio::spawn(web::client(address, arguments.figure("requests"))),
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for client in clients {
        slowest = slowest.max(client.await.expect("the client does not panic"));
    }
    slowest
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
fn main() {
    let arguments = Arguments::read();
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let slowest = runtime.block_on(run(arguments));
    arguments::report(slowest, began.elapsed());
}
