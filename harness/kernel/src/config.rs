//! What a run and each of its hosts are told at the start.

use std::net::IpAddr;

use halfopen_core::{ResolverConfig, SimTime};
use halfopen_netstack::Sysctls;
use halfopen_netstack::stack::SilentLink;

use crate::hosts_file::HostsFile;

/// How the next thread is chosen among those that are ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheduling {
    /// Threads run in the order in which they became ready.
    Fifo,
    /// A seeded choice among the ready threads.
    Shuffle,
}

/// What holds for the whole run.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// The scenario's seed: every random stream depends on it.
    pub seed: u64,
    /// The wall clock at the start of the run: nanoseconds since 1970.
    pub epoch_nanos: u64,
    /// What CPU counts say.
    pub cpus: u32,
    /// How the next thread is chosen.
    pub scheduling: Scheduling,
    /// Nothing happens at this instant or later: the run ends with
    /// [`EndReason::TimeLimit`](halfopen_core::event::EndReason::TimeLimit).
    pub time_limit: SimTime,
}

/// One host: a process, its kernel and its one interface.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Its name; also its host name.
    pub name: String,
    /// The addresses of its interface.
    pub addresses: Vec<IpAddr>,
    /// The interface's MTU in bytes.
    pub interface_mtu: u32,
    /// A part of its link in which nobody answers ARP.
    pub silent_link: Option<SilentLink>,
    /// The settings of its kernel.
    pub sysctls: Sysctls,
    /// Its C library's resolver.
    pub resolver: ResolverConfig,
    /// /etc/hosts besides localhost and itself.
    pub hosts_file: HostsFile,
    /// How far this host's wall clock is off, in nanoseconds.
    pub clock_offset_nanos: i64,
    /// Descriptors a process may have (RLIMIT_NOFILE).
    pub fd_limit: u32,
}

impl HostConfig {
    /// A host with a name and addresses, and all else as Linux has it: an Ethernet's MTU, 1024 descriptors.
    pub fn new(name: &str, addresses: Vec<IpAddr>) -> HostConfig {
        HostConfig {
            name: name.to_owned(),
            addresses,
            interface_mtu: 1500,
            silent_link: None,
            sysctls: Sysctls::default(),
            resolver: ResolverConfig::default(),
            hosts_file: [].into(),
            clock_offset_nanos: 0,
            fd_limit: 1024,
        }
    }
}
