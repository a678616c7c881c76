//! The second back end: the real kernel's TCP, with our own fabric between the hosts, in real time.
//!
//! Each host is a network namespace whose only device is a TUN. What its kernel sends is read there, parsed, stamped
//! with the time that has passed since the start, and given to the [`Fabric`]; what
//! the fabric delivers is written to the TUN of the host that it is for. So the same routes, NAT, MTU and faults stand
//! between real kernels as between simulated ones.
//!
//! Suggested reading order: [`Setup`] and [`run`] (what a run is), `host` (a namespace and its devices), `netlink`
//! (what they are told), `pump` (the loop that feeds the fabric), `punctual` (how late a run was).
//!
//! A run needs a process of its own: without privileges it enters a user namespace, which only a process of one thread
//! can do; and a script that never returns stays where it is when the run is over.
//!
//! **Invariant:** no `unsafe` here: `nix`, `tun` and `netlink-sys` wrap the few system calls that would need it.
#![forbid(unsafe_code)]
// This room lives in real time.
#![allow(clippy::disallowed_methods)]

mod host;
mod netlink;
mod pump;
mod punctual;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use halfopen_core::{HostId, SimDuration, SimTime};
use halfopen_fabric::config::{ConfigError, FabricConfig};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::fault::NetFault;

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    /// The address of its interface. All of 10.0.0.0/8 lies behind that interface.
    pub address: Ipv4Addr,
    /// A second address of its interface. All of fd00::/16 lies behind that interface then.
    pub address_v6: Option<Ipv6Addr>,
    /// Its address on a second interface, an Ethernet on which nobody answers ARP: all of that address's /24.
    pub silent: Option<Ipv4Addr>,
    /// The interface's MTU in bytes.
    pub mtu: u16,
    /// Linux names (`net.ipv4.tcp_retries2`) and values, set before the script starts.
    pub sysctls: Vec<(String, String)>,
}

/// What a host runs, on a thread of its own inside the namespace. It is told the instant that is time zero of the run.
pub type Script = Box<dyn FnOnce(Instant) + Send>;

/// A change of the network on the timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A fault begins.
    Apply(NetFault),
    /// The fault that began with the change of this index ends.
    Lift(usize),
    /// A host loses its power: what was in its kernel is gone, and packets to it are lost.
    PowerOff(HostId),
    /// It has power again: a new kernel with the same address, which knows nothing of what was, and its next script.
    PowerOn(HostId),
}

/// What a run needs.
pub struct Setup {
    /// The network. Hosts are numbered in the order of `hosts`.
    pub fabric: FabricConfig,
    /// The hosts, and what each of them runs: the first script from the start, another each time it gets power again.
    pub hosts: Vec<(Host, Vec<Script>)>,
    /// Changes of the network, in the order of their times.
    pub changes: Vec<(SimTime, Change)>,
    /// When the run is over, whether scripts have returned or not.
    pub until: SimTime,
}

/// Why there was no run.
#[derive(Debug)]
pub enum LiveError {
    /// This machine does not let us make namespaces or TUN devices.
    NotAllowed(String),
    /// The network is not well described.
    Fabric(ConfigError),
    /// The kernel refused something that it should not.
    Broken(String),
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiveError::NotAllowed(what) => write!(f, "no network namespaces on this machine: {what}"),
            LiveError::Fabric(error) => write!(f, "{error}"),
            LiveError::Broken(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for LiveError {}

/// How long a host may take to come up.
const HOST_PATIENCE: Duration = Duration::from_secs(10);

/// Runs scripts and network until [`Setup::until`]. Each packet, as it leaves or enters a host's interface, goes to
/// `on_packet`: when, where, and its bytes from the IP header on.
///
/// The calling process must have one thread only (see the crate's documentation), and should end after the run. All of
/// its threads get a real-time priority where that is allowed.
///
/// Gives by how much the run was late at worst: what a machine that was late shows is the machine, not the kernel.
///
/// # Errors
/// If there was no run.
pub fn run(setup: Setup, on_packet: impl FnMut(SimTime, HostId, &[u8])) -> Result<SimDuration, LiveError> {
    let Setup { fabric, hosts, changes, until } = setup;
    punctual::hurry();
    let mut fabric = Fabric::new(&fabric).map_err(LiveError::Fabric)?;
    for (number, (host, _)) in hosts.iter().enumerate() {
        let addresses: Vec<IpAddr> =
            [Some(host.address.into()), host.address_v6.map(IpAddr::from)].into_iter().flatten().collect();
        fabric.add_host(HostId::new(number as u32), &addresses);
    }
    host::become_privileged()?;
    // Every life of a host is ready before the run begins: to make a namespace takes a while, to get power does not.
    let lives = |(host, scripts): (Host, Vec<Script>)| scripts.into_iter().map(|script| ready(&host, script)).collect();
    let hosts = hosts.into_iter().map(lives).collect::<Result<_, LiveError>>()?;
    let late = punctual::Late::default();
    late.watch_machine();
    pump::run(pump::Pump { fabric, hosts, changes, until, zero: Instant::now() }, &late, on_packet)?;
    Ok(late.worst())
}

/// A namespace and a thread in it, which waits to be told to run its script.
fn ready(host: &Host, script: Script) -> Result<pump::Life, LiveError> {
    let host = host.clone();
    let (ready, device) = mpsc::channel();
    let (start, told) = mpsc::channel::<Instant>();
    std::thread::spawn(move || {
        let device = host::enter(&host);
        let came_up = device.is_ok();
        let _ = ready.send(device);
        if let (true, Ok(zero)) = (came_up, told.recv()) {
            script(zero);
        }
    });
    let device = device.recv_timeout(HOST_PATIENCE);
    let device = device.map_err(|_| LiveError::Broken("a host does not come up".to_owned()))??;
    Ok(pump::Life { device: Arc::new(device), start })
}
