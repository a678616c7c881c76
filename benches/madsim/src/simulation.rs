//! The simulation.

#[path = "../../workloads/arguments.rs"]
mod arguments;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use arguments::Arguments;
use madsim::Config;
use madsim::net::NetSim;
use madsim::runtime::{Handle, Runtime};

use crate::workloads::{self, Work};

/// One-way latency of every path.
const LATENCY: Duration = Duration::from_millis(10);
/// How long clients wait for the server: madsim refuses at once who calls before a server listens.
const HEAD_START: Duration = Duration::from_millis(5);

fn address(host: usize) -> IpAddr {
    let [_, _, high, low] = (host as u32).to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

async fn run(work: Work, idle: usize, clients: usize) -> Duration {
    let handle = Handle::current();
    NetSim::current().add_dns_record("server", address(1));
    let node = |name: String, host: usize| handle.create_node().name(name).ip(address(host)).build();
    node("server".to_owned(), 1).spawn(workloads::server(work));
    for host in 0..idle {
        node(format!("idle-{host}"), 2 + host).spawn(workloads::idle_host());
    }
    madsim::time::sleep(HEAD_START).await;
    let start = |host: usize| {
        let client = node(format!("client-{host}"), 2 + idle + host);
        client.spawn(workloads::client(work, "server:9000"))
    };
    let clients: Vec<_> = (0..clients).map(start).collect();
    let mut slowest = Duration::ZERO;
    for client in clients {
        slowest = slowest.max(client.await.expect("the client does not panic"));
    }
    slowest
}

/// Does what the process's arguments say.
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub(crate) fn main() {
    let arguments = Arguments::read();
    let work = Work::named(&arguments.work, |figure| arguments.figure(figure)).expect("a work that madsim can do");
    let began = Instant::now();
    let mut config = Config::default();
    config.net.send_latency = LATENCY..LATENCY + Duration::from_nanos(1);
    let runtime = Runtime::with_seed_and_config(1, config);
    let slowest = runtime.block_on(run(work, arguments.figure("idle") as usize, arguments.figure("clients") as usize));
    arguments::report(slowest, began.elapsed());
}
