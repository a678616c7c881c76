//! A small run for operations that need a virtual kernel.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::config::FabricConfig;
use halfopen_fabric::fabric::Fabric;
use halfopen_interpose::{Handover, Main, Setup};
use halfopen_kernel::{HostConfig, Kernel, KernelConfig, Scheduling, Step};

/// A thread that is stepped through is slow; nothing here spins.
const WATCHDOG: Duration = Duration::from_secs(3600);

/// The address of the host with this number.
pub fn address(number: u32) -> IpAddr {
    let [_, _, high, low] = (number + 1).to_be_bytes();
    IpAddr::from([10, 0, high, low])
}

/// A kernel with so many hosts, all of which start at once. Nobody hears of events.
pub fn kernel(hosts: u32) -> Kernel {
    let config = KernelConfig {
        seed: 1,
        epoch_nanos: 1_767_225_600_000_000_000, // 2026-01-01T00:00:00Z
        cpus: 2,
        scheduling: Scheduling::Fifo,
        time_limit: SimTime::ZERO + SimDuration::from_secs(1_000_000),
    };
    let fabric = Fabric::new(&FabricConfig::default()).expect("a network without routes is sound");
    let mut kernel = Kernel::new(config, fabric, Box::new(()));
    for number in 0..hosts {
        let host = kernel.add_host(host(number));
        kernel.add_step(SimTime::ZERO, Step::StartHost(host));
    }
    kernel
}

/// Runs these, each on a host of its own.
pub fn run(mains: Vec<Main>) {
    let kernel = kernel(mains.len() as u32);
    let setup = Setup {
        kernel,
        mains,
        watchdog: WATCHDOG,
        on_stuck: Box::new(|report| panic!("stuck: {report:?}")),
        handover: Handover::UserSpace,
    };
    let finished = halfopen_interpose::run(setup);
    let reason = finished.kernel.end_reason();
    assert_eq!(reason, Some(&halfopen_core::event::EndReason::Done), "the run came to its end");
}

/// What one host runs.
pub fn main(body: impl Fn() + Send + Sync + 'static) -> Main {
    Arc::new(body)
}

fn host(number: u32) -> HostConfig {
    HostConfig::new(&format!("host-{number}"), vec![address(number)])
}
