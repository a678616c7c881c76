//! The workloads on turmoil: its own socket types, messages instead of segments, and a tick for every step of time.

mod net {
    //! What the workloads take from the network.

    pub use tokio::time::{Instant, sleep};
    pub use turmoil::net::{TcpListener, TcpStream};

    /// Runs a future on its own.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}
#[path = "../../workloads/arguments.rs"]
mod arguments;
#[path = "../../workloads/mod.rs"]
mod workloads;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use arguments::Arguments;
use turmoil::{Builder, Sim};
use workloads::Work;

/// One-way latency of every path.
const LATENCY: Duration = Duration::from_millis(10);
/// Connections that can wait for `accept` at a time. With more clients than that (64 by default), turmoil panics.
const ACCEPT_QUEUE: usize = 128;
/// More virtual time than any workload takes.
const TIME_LIMIT: Duration = Duration::from_secs(1_000_000);

fn simulation(arguments: &Arguments) -> Sim<'static> {
    let mut builder = Builder::new();
    builder
        .simulation_duration(TIME_LIMIT)
        .tick_duration(Duration::from_millis(arguments.figure("tick_ms")))
        .min_message_latency(LATENCY)
        .max_message_latency(LATENCY)
        .rng_seed(1);
    // Elsewhere the default stays, since this is also the size of a connection's window, in messages.
    if arguments.figure("clients") > 64 {
        builder.tcp_capacity(ACCEPT_QUEUE);
    }
    builder.build()
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
fn main() {
    let arguments = Arguments::read();
    let work = Work::named(&arguments.work, |figure| arguments.figure(figure)).expect("a work that turmoil can do");
    let began = Instant::now();
    let mut simulation = simulation(&arguments);
    simulation.host("server", move || async move {
        workloads::server(work).await;
        Ok(())
    });
    for host in 0..arguments.figure("idle") {
        simulation.host(format!("idle-{host}"), || async {
            workloads::idle_host().await;
            Ok(())
        });
    }
    let slowest = Rc::new(Cell::new(Duration::ZERO));
    for host in 0..arguments.figure("clients") {
        let slowest = Rc::clone(&slowest);
        simulation.client(format!("client-{host}"), async move {
            let took = workloads::client(work, "server:9000").await;
            slowest.set(slowest.get().max(took));
            Ok(())
        });
    }
    simulation.run().expect("every client comes to its end");
    arguments::report(slowest.get(), began.elapsed());
}
