//! The workloads on turmoil-net: its own socket types, segments and a fixed window, and a tick of 1 ms for every step of
//! time.

#[path = "../../workloads/arguments.rs"]
mod arguments;
mod net;
#[path = "../../workloads/mod.rs"]
mod workloads;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use arguments::Arguments;
use net::Host;
use tokio::sync::Semaphore;
use turmoil_net::fixture::ClientServer;
use turmoil_net::{KernelConfig, Latency, rule};
use workloads::Work;

/// One-way latency of every path.
const LATENCY: Duration = Duration::from_millis(10);
/// Ticks until a segment is sent again. With the default, 3, no connection survives this latency.
const RETRANSMIT_TICKS: u32 = 60;

/// What clients have found so far.
#[derive(Clone)]
struct Findings {
    slowest: Rc<Cell<Duration>>,
    done: Rc<Semaphore>,
}

async fn client(work: Work, findings: Findings) {
    let took = workloads::client(work, "server:9000").await;
    findings.slowest.set(findings.slowest.get().max(took));
    findings.done.add_permits(1);
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
fn main() {
    let arguments = Arguments::read();
    let work = Work::named(&arguments.work, |figure| arguments.figure(figure)).expect("a work that turmoil-net can do");
    let clients = u32::try_from(arguments.figure("clients")).expect("so many clients");
    let began = Instant::now();
    let config = KernelConfig::default().retx_threshold(RETRANSMIT_TICKS);
    let server = Host::new(async move {
        rule(Latency::fixed(LATENCY)).forget();
        workloads::server(work).await;
    });
    let mut fixture = ClientServer::with_config(config).server("server", server);
    for host in 0..arguments.figure("idle") {
        fixture = fixture.server(format!("idle-{host}").as_str(), Host::new(workloads::idle_host()));
    }
    let findings = Findings { slowest: Rc::default(), done: Rc::new(Semaphore::new(0)) };
    // The fixture has one client, whose end is the end of the run; the others are servers to it.
    for host in 1..clients {
        let findings = findings.clone();
        let other = Host::new(async move {
            client(work, findings).await;
            std::future::pending::<()>().await;
        });
        fixture = fixture.server(format!("client-{host}").as_str(), other);
    }
    let first = {
        let findings = findings.clone();
        Host::new(async move {
            client(work, findings.clone()).await;
            let _all = findings.done.acquire_many(clients).await.expect("the semaphore is never closed");
        })
    };
    fixture.run("client-0", first);
    arguments::report(findings.slowest.get(), began.elapsed());
}
