//! Between the C functions of `resolve` and the resolver of the kernel, which speaks DNS over the simulated network: the
//! system calls that the resolver makes, made by the calling simulated thread.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use halfopen_core::id::Tid;
use halfopen_core::{Errno, Event, HostId, SimTime};
use halfopen_kernel::resolver::{self, GaiError, HostState, ResolverSystem, ThreadState};
use halfopen_kernel::{Address, Domain, Fd, MsgFlags, PollFd, ResolverConfig, SocketType};
use halfopen_netstack::Readiness;
use halfopen_netstack::socket::{Family, Kind};

use crate::calls::kernel;
use crate::world::{blocking, enter, me};

/// One question to `getaddrinfo`, in the terms of C.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) host: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) flags: c_int,
    pub(crate) family: c_int,
    pub(crate) socktype: c_int,
    pub(crate) protocol: c_int,
}

/// One entry of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) socktype: c_int,
    pub(crate) protocol: c_int,
    pub(crate) address: SocketAddr,
    pub(crate) canonical_name: Option<String>,
}

/// An `EAI_*` code, with `errno` for EAI_SYSTEM.
pub(crate) struct Failure {
    pub(crate) code: c_int,
    pub(crate) errno: Option<Errno>,
}

impl From<GaiError> for Failure {
    fn from(error: GaiError) -> Failure {
        let errno = match error {
            GaiError::System(errno) => Some(errno),
            _ => None,
        };
        Failure { code: error.code(), errno }
    }
}

/// `getaddrinfo`.
pub(crate) fn addresses(query: &Query) -> Result<Vec<Entry>, Failure> {
    let question = resolver::Query {
        host: query.host.as_deref(),
        service: query.service.as_deref(),
        flags: query.flags,
        family: query.family,
        socktype: query.socktype,
        protocol: query.protocol,
    };
    let found = with_system(|system| resolver::getaddrinfo(system, &question))?;
    let entry = |info: resolver::AddrInfo| Entry {
        socktype: info.socktype,
        protocol: info.protocol,
        address: info.address,
        canonical_name: info.canonical_name,
    };
    Ok(found.into_iter().map(entry).collect())
}

/// `getnameinfo`.
pub(crate) fn names(address: SocketAddr, flags: c_int) -> Result<(String, String), Failure> {
    Ok(with_system(|system| resolver::getnameinfo(system, address, flags))?)
}

/// What the hosts' C libraries remember of names.
#[derive(Default)]
pub(crate) struct Memory {
    hosts: BTreeMap<HostId, HostState>,
    threads: BTreeMap<Tid, ThreadState>,
}

impl Memory {
    /// The host starts anew.
    pub(crate) fn forget_host(&mut self, host: HostId) {
        self.hosts.remove(&host);
    }

    /// The thread has ended.
    pub(crate) fn forget_thread(&mut self, thread: Tid) {
        self.threads.remove(&thread);
    }
}

/// The virtual kernel, as the calling simulated thread reaches it.
struct System {
    thread: ThreadState,
}

/// Lends the system to `f`; what it remembers for the thread is kept for the thread's next lookup.
fn with_system<R>(f: impl FnOnce(&mut System) -> R) -> R {
    let tid = me().tid;
    let mut system = System { thread: enter(|world| world.names.threads.get(&tid).copied()).unwrap_or_default() };
    let result = f(&mut system);
    enter(|world| world.names.threads.insert(tid, system.thread));
    result
}

impl System {
    fn open(&mut self, kind: Kind, server: SocketAddr) -> Result<Fd, Errno> {
        let family = if server.is_ipv4() { Family::V4 } else { Family::V6 };
        let fd = kernel(|kernel| kernel.socket(SocketType::Inet(kind), Domain::Inet(family), false, true))?;
        let address = Address::Inet(server);
        let connected = blocking(|kernel, call| kernel.connect(fd, &address, call));
        if connected.is_err() {
            self.close(fd);
        }
        connected.map(|()| fd)
    }
}

impl ResolverSystem for System {
    fn now(&mut self) -> SimTime {
        kernel(|kernel| kernel.now())
    }

    fn host(&mut self) -> HostId {
        me().host
    }

    fn config(&mut self) -> ResolverConfig {
        kernel(|kernel| kernel.resolver(me().host).clone())
    }

    fn hosts_by_name(&mut self, name: &str) -> Vec<IpAddr> {
        kernel(|kernel| kernel.hosts_by_name(me().host, name))
    }

    fn hosts_by_address(&mut self, address: IpAddr) -> Option<String> {
        kernel(|kernel| kernel.hosts_by_address(me().host, address).map(str::to_owned))
    }

    fn local_addresses(&mut self) -> Vec<IpAddr> {
        let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        addresses.extend(kernel(|kernel| kernel.addresses(me().host).to_vec()));
        addresses
    }

    fn source_address(&mut self, destination: IpAddr) -> Option<IpAddr> {
        // Port 53, as glibc asks; nothing is sent.
        let fd = self.open(Kind::Udp, SocketAddr::new(destination, resolver::DNS_PORT)).ok()?;
        let name = kernel(|kernel| kernel.getsockname(fd));
        self.close(fd);
        match name {
            Ok(Address::Inet(address)) => Some(address.ip()),
            _ => None,
        }
    }

    fn open_datagram(&mut self, server: SocketAddr) -> Result<Fd, Errno> {
        self.open(Kind::Udp, server)
    }

    fn open_stream(&mut self, server: SocketAddr) -> Result<Fd, Errno> {
        self.open(Kind::Tcp, server)
    }

    fn send(&mut self, socket: Fd, bytes: &[u8]) -> Result<(), Errno> {
        let flags = MsgFlags { no_signal: true, ..MsgFlags::default() };
        let mut sent = 0;
        while sent < bytes.len() {
            sent += blocking(|kernel, call| kernel.send(socket, &bytes[sent..], None, &[], flags, call))?;
        }
        Ok(())
    }

    fn receive(&mut self, socket: Fd, buffer: &mut [u8], until: SimTime) -> Result<usize, Errno> {
        let flags = MsgFlags { dont_wait: true, ..MsgFlags::default() };
        loop {
            let left = until.since(self.now());
            let mut question = [PollFd { fd: Some(socket), events: Readiness::IN.0, revents: 0 }];
            let ready = blocking(|kernel, call| kernel.poll(&mut question, Some(left), call))?;
            if ready == 0 {
                return Err(Errno::EAGAIN);
            }
            match blocking(|kernel, call| kernel.recv(socket, buffer, flags, call)) {
                // Another thread or a bad checksum took it: wait on.
                Err(Errno::EAGAIN) if !left.is_zero() => {}
                result => return result.map(|message| message.len),
            }
        }
    }

    fn close(&mut self, socket: Fd) {
        // The descriptor is ours, and it does not linger.
        let _ = blocking(|kernel, call| kernel.close(socket, call));
    }

    fn random_u16(&mut self) -> u16 {
        let mut bytes = [0; 2];
        kernel(|kernel| kernel.getrandom(&mut bytes));
        u16::from_le_bytes(bytes)
    }

    fn with_host_state(&mut self, f: &mut dyn FnMut(&mut HostState)) {
        enter(|world| f(world.names.hosts.entry(me().host).or_default()));
    }

    fn thread_state(&mut self) -> &mut ThreadState {
        &mut self.thread
    }

    fn emit(&mut self, event: Event) {
        kernel(|kernel| kernel.emit(event));
    }
}
