//! Name resolution as glibc 2.36 does it: `getaddrinfo` and `getnameinfo` as ordinary blocking code over a few calls
//! ([`ResolverSystem`]) that a front end serves from the virtual kernel's sockets. Real DNS messages go over the
//! simulated network; time-outs, fail-over and their errors are those of glibc's stub resolver.
//!
//! From top to bottom, each layer knows only the one below: this file (hints, fan-out over socket types), `lookup`
//! (hosts file, cache, then DNS), `search` (resolv.conf's search list), `exchange` (servers, datagrams, streams),
//! `answer` (what a message says). Beside them: `order` (RFC 6724), `numeric`, `services`, `cache`.
//!
//! **Invariant:** nothing here is a thread, a clock or a real socket: a test runs all of it in virtual time.
//!
//! Known gaps: no NSS modules but `files` and `dns`, no PTR queries, no DNSSEC, no EDNS0 (which glibc does not send by
//! default either), no IDN (names are sent as they are), and of the ten rules of RFC 6724 those six that the simulated
//! network can tell apart (see `order`).

mod answer;
mod cache;
mod exchange;
mod lookup;
mod numeric;
mod order;
mod search;
mod services;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use halfopen_core::event::DnsSource;
use halfopen_core::{Errno, Event, HostId, SimTime};

use crate::{Fd, ResolverConfig};

pub use cache::HostState;
pub(crate) use services::services_file;

/// The port of DNS servers (RFC 1035, section 4.2).
pub const DNS_PORT: u16 = 53;

/// What name resolution needs from the system. Calls block the calling (simulated) thread where they must.
pub trait ResolverSystem {
    /// The present instant.
    fn now(&mut self) -> SimTime;
    /// Whose names are resolved.
    fn host(&mut self) -> HostId;
    /// resolv.conf of the host.
    fn config(&mut self) -> ResolverConfig;
    /// The addresses of all lines of /etc/hosts that have this name, upper or lower case, in their order.
    fn hosts_by_name(&mut self, name: &str) -> Vec<IpAddr>;
    /// The first name of the first line of /etc/hosts with this address.
    fn hosts_by_address(&mut self, address: IpAddr) -> Option<String>;
    /// The addresses of the host's interfaces, loopback included.
    fn local_addresses(&mut self) -> Vec<IpAddr>;

    /// Which address a packet to `destination` would come from: what `connect` on a datagram socket and then
    /// `getsockname` say. `None`: there is no route. The default takes the interfaces of the same family for routed.
    fn source_address(&mut self, destination: IpAddr) -> Option<IpAddr> {
        order::likely_source(&self.local_addresses(), destination)
    }

    /// A datagram socket connected to `server`. [`Errno::EMFILE`], [`Errno::ENFILE`], [`Errno::ENOBUFS`] and
    /// [`Errno::ENOMEM`] mean that no socket could be made, and end the whole lookup; any other error means that this
    /// server cannot be reached.
    fn open_datagram(&mut self, server: SocketAddr) -> Result<Fd, Errno>;
    /// A stream connected to `server`; waits as long as `connect` does (glibc sets no time-out of its own). Errors as
    /// for [`ResolverSystem::open_datagram`].
    fn open_stream(&mut self, server: SocketAddr) -> Result<Fd, Errno>;
    /// Sends all of `bytes`: one datagram, or so much of the stream.
    fn send(&mut self, socket: Fd, bytes: &[u8]) -> Result<(), Errno>;
    /// Receives one datagram, or what there is of the stream (0 at its end). [`Errno::EAGAIN`] if nothing came before
    /// the instant `until`; what ICMP told as the socket's error.
    fn receive(&mut self, socket: Fd, buffer: &mut [u8], until: SimTime) -> Result<usize, Errno>;
    /// Closes a socket.
    fn close(&mut self, socket: Fd);

    /// Sixteen random bits, for the identity of a query.
    fn random_u16(&mut self) -> u16;
    /// Lends `f`, once, what the host's C library remembers between lookups. All threads of the host share it, and `f`
    /// does not block.
    fn with_host_state(&mut self, f: &mut dyn FnMut(&mut HostState));
    /// What the C library remembers for the calling thread (glibc's `_res`). A front end keeps it from lookup to lookup.
    fn thread_state(&mut self) -> &mut ThreadState;
    /// Takes an event for the log.
    fn emit(&mut self, event: Event);
}

/// What glibc remembers for each thread from lookup to lookup: a server that answered only one of two queries is asked
/// one query at a time from then on, and then from two sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadState {
    /// As if resolv.conf said `options single-request`.
    pub single_request: bool,
    /// As if resolv.conf said `options single-request-reopen`.
    pub single_request_reopen: bool,
}

/// The numbers of `<netdb.h>` and `<sys/socket.h>` of Linux and glibc, which are the same on x86-64 and aarch64.
#[allow(missing_docs)]
pub mod numbers {
    pub const AF_UNSPEC: i32 = 0;
    pub const AF_INET: i32 = 2;
    pub const AF_INET6: i32 = 10;
    pub const SOCK_STREAM: i32 = 1;
    pub const SOCK_DGRAM: i32 = 2;
    pub const SOCK_RAW: i32 = 3;
    pub const SOCK_SEQPACKET: i32 = 5;
    pub const SOCK_DCCP: i32 = 6;
    pub const IPPROTO_IP: i32 = 0;
    pub const IPPROTO_TCP: i32 = 6;
    pub const IPPROTO_UDP: i32 = 17;
    pub const IPPROTO_DCCP: i32 = 33;
    pub const IPPROTO_SCTP: i32 = 132;
    pub const IPPROTO_UDPLITE: i32 = 136;
    pub const AI_PASSIVE: i32 = 0x0001;
    pub const AI_CANONNAME: i32 = 0x0002;
    pub const AI_NUMERICHOST: i32 = 0x0004;
    pub const AI_V4MAPPED: i32 = 0x0008;
    pub const AI_ALL: i32 = 0x0010;
    pub const AI_ADDRCONFIG: i32 = 0x0020;
    pub const AI_IDN: i32 = 0x0040;
    pub const AI_CANONIDN: i32 = 0x0080;
    pub const AI_IDN_ALLOW_UNASSIGNED: i32 = 0x0100;
    pub const AI_IDN_USE_STD3_ASCII_RULES: i32 = 0x0200;
    pub const AI_NUMERICSERV: i32 = 0x0400;
    pub const NI_NUMERICHOST: i32 = 1;
    pub const NI_NUMERICSERV: i32 = 2;
    pub const NI_NOFQDN: i32 = 4;
    pub const NI_NAMEREQD: i32 = 8;
    pub const NI_DGRAM: i32 = 16;
}
use numbers::*;

const AI_KNOWN: i32 = 0x07ff;
const NI_KNOWN: i32 = 0x001f;

/// One question to [`getaddrinfo`], in the terms of C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// The host's name or number; `None` for a null pointer.
    pub host: Option<&'a str>,
    /// The service's name or port; `None` for a null pointer.
    pub service: Option<&'a str>,
    /// `AI_*`.
    pub flags: i32,
    /// `AF_*`.
    pub family: i32,
    /// `SOCK_*`, or 0 for any.
    pub socktype: i32,
    /// `IPPROTO_*`, or 0 for any.
    pub protocol: i32,
}

impl<'a> Query<'a> {
    /// The question that a null pointer for the hints stands for (glibc, against POSIX, sets two flags).
    pub const fn without_hints(host: Option<&'a str>, service: Option<&'a str>) -> Query<'a> {
        let flags = AI_V4MAPPED | AI_ADDRCONFIG;
        Query { host, service, flags, family: AF_UNSPEC, socktype: 0, protocol: 0 }
    }
}

/// One entry of the list that `getaddrinfo` makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddrInfo {
    /// [`AF_INET`] or [`AF_INET6`], as `address` has it.
    pub family: i32,
    /// `SOCK_*`.
    pub socktype: i32,
    /// `IPPROTO_*`.
    pub protocol: i32,
    /// The address and the port.
    pub address: SocketAddr,
    /// The official name, on the first entry only and if [`AI_CANONNAME`] asked for it.
    pub canonical_name: Option<String>,
}

/// Why a lookup failed: the `EAI_*` codes of `<netdb.h>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GaiError {
    /// The flags are unknown or contradict each other.
    BadFlags,
    /// The name is not known, and asking again will not help.
    NoName,
    /// No answer now; asking again may help.
    Again,
    /// A failure that asking again will not help.
    Fail,
    /// The name is known but has no address (of this family).
    NoData,
    /// The address family is not supported.
    Family,
    /// The socket type is not supported.
    SockType,
    /// The service is not known for this socket type.
    Service,
    /// The number is an address of another family.
    AddrFamily,
    /// A system call failed.
    System(Errno),
}

impl GaiError {
    /// The number in glibc's `<netdb.h>`.
    pub const fn code(self) -> i32 {
        match self {
            GaiError::BadFlags => -1,
            GaiError::NoName => -2,
            GaiError::Again => -3,
            GaiError::Fail => -4,
            GaiError::NoData => -5,
            GaiError::Family => -6,
            GaiError::SockType => -7,
            GaiError::Service => -8,
            GaiError::AddrFamily => -9,
            GaiError::System(_) => -11,
        }
    }

    /// The symbolic name, as in `<netdb.h>`.
    pub const fn name(self) -> &'static str {
        match self {
            GaiError::BadFlags => "EAI_BADFLAGS",
            GaiError::NoName => "EAI_NONAME",
            GaiError::Again => "EAI_AGAIN",
            GaiError::Fail => "EAI_FAIL",
            GaiError::NoData => "EAI_NODATA",
            GaiError::Family => "EAI_FAMILY",
            GaiError::SockType => "EAI_SOCKTYPE",
            GaiError::Service => "EAI_SERVICE",
            GaiError::AddrFamily => "EAI_ADDRFAMILY",
            GaiError::System(_) => "EAI_SYSTEM",
        }
    }

    /// What `gai_strerror` of glibc says of this number; `None` if it is none of those above.
    pub const fn message(code: i32) -> Option<&'static str> {
        Some(match code {
            -1 => "Bad value for ai_flags",
            -2 => "Name or service not known",
            -3 => "Temporary failure in name resolution",
            -4 => "Non-recoverable failure in name resolution",
            -5 => "No address associated with hostname",
            -6 => "ai_family not supported",
            -7 => "ai_socktype not supported",
            -8 => "Servname not supported for ai_socktype",
            -9 => "Address family for hostname not supported",
            -11 => "System error",
            _ => return None,
        })
    }
}

impl fmt::Display for GaiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for GaiError {}

/// The address families that a lookup wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wanted {
    V4,
    V6,
    Both,
}

impl Wanted {
    fn admits(self, address: IpAddr) -> bool {
        match self {
            Wanted::V4 => address.is_ipv4(),
            Wanted::V6 => address.is_ipv6(),
            Wanted::Both => true,
        }
    }
}

/// Addresses before they meet ports and socket types.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    addresses: Vec<Target>,
    canonical_name: String,
}

/// An address and its IPv6 zone (0: none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    ip: IpAddr,
    scope: u32,
}

impl From<IpAddr> for Target {
    fn from(ip: IpAddr) -> Target {
        Target { ip, scope: 0 }
    }
}

impl Target {
    fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }
}

/// getaddrinfo(3) of glibc 2.36: the addresses of a host, each with each fitting socket type, best first.
pub fn getaddrinfo(system: &mut dyn ResolverSystem, query: &Query<'_>) -> Result<Vec<AddrInfo>, GaiError> {
    let host = query.host.filter(|host| *host != "*");
    let service = query.service.filter(|service| *service != "*");
    if host.is_none() && service.is_none() {
        return Err(GaiError::NoName);
    }
    if query.flags & !AI_KNOWN != 0 || (query.flags & AI_CANONNAME != 0 && host.is_none()) {
        return Err(GaiError::BadFlags);
    }
    let wanted = wanted(system, query)?;
    let endpoints = services::endpoints(service, query)?;
    let found = match host {
        None => wildcard(system, wanted, query.flags),
        Some(host) => resolve_and_report(system, host, wanted, query.flags)?,
    };
    assert!(!found.addresses.is_empty() && !endpoints.is_empty(), "success means at least one entry");

    let mut entries = Vec::with_capacity(found.addresses.len() * endpoints.len());
    for target in found.addresses {
        for endpoint in &endpoints {
            entries.push(AddrInfo {
                family: if target.ip.is_ipv4() { AF_INET } else { AF_INET6 },
                socktype: endpoint.socktype,
                protocol: endpoint.protocol,
                address: target.with_port(endpoint.port),
                canonical_name: None,
            });
        }
    }
    if query.flags & AI_CANONNAME != 0 {
        entries[0].canonical_name = Some(found.canonical_name);
    }
    Ok(entries)
}

/// The families that the hints leave, after AI_ADDRCONFIG has looked at the host's interfaces. Loopback addresses do
/// not count for it.
fn wanted(system: &mut dyn ResolverSystem, query: &Query<'_>) -> Result<Wanted, GaiError> {
    let wanted = match query.family {
        AF_UNSPEC => Wanted::Both,
        AF_INET => Wanted::V4,
        AF_INET6 => Wanted::V6,
        _ => return Err(GaiError::Family),
    };
    if query.flags & AI_ADDRCONFIG == 0 {
        return Ok(wanted);
    }
    let locals = system.local_addresses();
    let seen_v4 = locals.iter().any(|local| local.is_ipv4() && *local != Ipv4Addr::LOCALHOST);
    let seen_v6 = locals.iter().any(|local| local.is_ipv6() && *local != Ipv6Addr::LOCALHOST);
    match wanted {
        Wanted::V4 if !seen_v4 => Err(GaiError::NoName),
        Wanted::V6 if !seen_v6 => Err(GaiError::NoName),
        Wanted::Both if seen_v4 && !seen_v6 => Ok(Wanted::V4),
        Wanted::Both if seen_v6 && !seen_v4 => Ok(Wanted::V6),
        _ => Ok(wanted),
    }
}

/// What a null host means: any address to listen on, or this very host.
fn wildcard(system: &mut dyn ResolverSystem, wanted: Wanted, flags: i32) -> Found {
    let pair: [IpAddr; 2] = match flags & AI_PASSIVE != 0 {
        true => [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        false => [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
    };
    let mut addresses = pair.into_iter().filter(|ip| wanted.admits(*ip)).map(Target::from).collect();
    order::sort(system, &mut addresses);
    Found { addresses, canonical_name: String::new() }
}

/// Resolves a name or a number, best address first, and tells the log.
fn resolve_and_report(
    system: &mut dyn ResolverSystem,
    host: &str,
    wanted: Wanted,
    flags: i32,
) -> Result<Found, GaiError> {
    let began = system.now();
    let (mut result, source) = match numeric::parse(host, wanted, flags) {
        Some(result) => {
            let found = |target| Found { addresses: vec![target], canonical_name: host.to_owned() };
            (result.map(found), DnsSource::Literal)
        }
        None if flags & AI_NUMERICHOST != 0 => (Err(GaiError::NoName), DnsSource::Literal),
        None => lookup::lookup(system, host, wanted, flags),
    };
    if let Ok(found) = &mut result {
        order::sort(system, &mut found.addresses);
    }
    let event = Event::NameResolved {
        host: system.host(),
        name: host.to_owned(),
        addresses: result.iter().flat_map(|found| &found.addresses).map(|target| target.ip).collect(),
        source,
        took: system.now().since(began),
        error: result.as_ref().err().map(|error| error.name()),
    };
    system.emit(event);
    result
}

/// getnameinfo(3): the name of an address from the hosts file, else its number (no PTR query is ever sent), and the
/// name of a port. `flags` is `NI_*`.
pub fn getnameinfo(
    system: &mut dyn ResolverSystem,
    address: SocketAddr,
    flags: i32,
) -> Result<(String, String), GaiError> {
    if flags & !NI_KNOWN != 0 || (flags & NI_NAMEREQD != 0 && flags & NI_NUMERICHOST != 0) {
        return Err(GaiError::BadFlags);
    }
    let named = match flags & NI_NUMERICHOST != 0 {
        true => None,
        false => system.hosts_by_address(address.ip()),
    };
    let host = match (named, address) {
        (Some(name), _) => name,
        (None, _) if flags & NI_NAMEREQD != 0 => return Err(GaiError::NoName),
        (None, SocketAddr::V6(v6)) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        (None, _) => address.ip().to_string(),
    };
    let datagram = flags & NI_DGRAM != 0;
    let service = match flags & NI_NUMERICSERV != 0 {
        true => None,
        false => services::name_of(address.port(), datagram),
    };
    Ok((host, service.map_or_else(|| address.port().to_string(), str::to_owned)))
}
