//! Socket types, protocols and services: which triples a hint stands for, and the few names of /etc/services that
//! programs on a simulated network may use.

use super::numbers::*;
use super::{GaiError, Query};

/// One way to use an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    pub(super) socktype: i32,
    pub(super) protocol: i32,
    pub(super) port: u16,
}

/// A socket type with its protocol, as glibc lists them (sysdeps/posix/getaddrinfo.c).
struct Kind {
    socktype: i32,
    protocol: i32,
    /// The column of /etc/services; `None`: it has no services (raw sockets).
    column: Option<&'static str>,
    /// Whether hints without a type and a protocol stand for it.
    default: bool,
}

const KINDS: [Kind; 7] = [
    Kind { socktype: SOCK_STREAM, protocol: IPPROTO_TCP, column: Some("tcp"), default: true },
    Kind { socktype: SOCK_DGRAM, protocol: IPPROTO_UDP, column: Some("udp"), default: true },
    Kind { socktype: SOCK_DCCP, protocol: IPPROTO_DCCP, column: Some("dccp"), default: false },
    Kind { socktype: SOCK_DGRAM, protocol: IPPROTO_UDPLITE, column: Some("udplite"), default: false },
    Kind { socktype: SOCK_STREAM, protocol: IPPROTO_SCTP, column: Some("sctp"), default: false },
    Kind { socktype: SOCK_SEQPACKET, protocol: IPPROTO_SCTP, column: Some("sctp"), default: false },
    Kind { socktype: SOCK_RAW, protocol: IPPROTO_IP, column: None, default: true },
];

/// Name, port, whether over TCP, whether over UDP (IANA's registry).
const SERVICES: &[(&str, u16, bool, bool)] = &[
    ("echo", 7, true, true),
    ("discard", 9, true, true),
    ("ftp", 21, true, false),
    ("ssh", 22, true, false),
    ("telnet", 23, true, false),
    ("smtp", 25, true, false),
    ("domain", 53, true, true),
    ("tftp", 69, false, true),
    ("http", 80, true, false),
    ("kerberos", 88, true, true),
    ("ntp", 123, false, true),
    ("imap2", 143, true, false),
    ("snmp", 161, true, true),
    ("ldap", 389, true, true),
    ("https", 443, true, true),
    ("submission", 587, true, false),
    ("ldaps", 636, true, true),
    ("imaps", 993, true, false),
    ("mysql", 3306, true, false),
    ("postgresql", 5432, true, false),
    ("amqp", 5672, true, false),
    ("redis", 6379, true, false),
    ("http-alt", 8080, true, true),
];

/// /etc/services: the same table as text.
pub(crate) fn services_file() -> String {
    let lines = SERVICES.iter().flat_map(|&(name, port, tcp, udp)| {
        let line = move |there: bool, protocol| there.then(|| format!("{name}\t{port}/{protocol}\n"));
        [line(tcp, "tcp"), line(udp, "udp")].into_iter().flatten()
    });
    lines.collect()
}

/// The triples that the hints and the service leave; never empty.
pub(super) fn endpoints(service: Option<&str>, query: &Query<'_>) -> Result<Vec<Endpoint>, GaiError> {
    let service = match service {
        None => None,
        Some(text) => Some(Service::parse(text, query.flags)?),
    };
    let hinted = query.socktype != 0 || query.protocol != 0;
    let fits: Vec<&Kind> = match hinted {
        false => KINDS.iter().filter(|kind| kind.default).collect(),
        true => KINDS.iter().filter(|kind| kind.fits(query)).take(1).collect(),
    };
    let Some(first) = fits.first() else {
        return Err(if query.socktype != 0 { GaiError::SockType } else { GaiError::Service });
    };
    if hinted && service.is_some() && first.column.is_none() {
        return Err(GaiError::Service);
    }
    let endpoints: Vec<Endpoint> = fits
        .iter()
        .filter_map(|kind| {
            let port = match service {
                None => 0,
                Some(Service::Port(port)) => port,
                Some(Service::Named(name)) => port_of(name, kind.column?)?,
            };
            // Only a raw socket takes any protocol.
            let protocol = if kind.column.is_none() { query.protocol } else { kind.protocol };
            Some(Endpoint { socktype: kind.socktype, protocol, port })
        })
        .collect();
    if endpoints.is_empty() { Err(GaiError::Service) } else { Ok(endpoints) }
}

impl Kind {
    fn fits(&self, query: &Query<'_>) -> bool {
        (query.socktype == 0 || query.socktype == self.socktype)
            && (query.protocol == 0 || self.column.is_none() || query.protocol == self.protocol)
    }
}

#[derive(Clone, Copy)]
enum Service<'a> {
    Port(u16),
    Named(&'a str),
}

impl Service<'_> {
    /// glibc reads a number as `strtoul` does and keeps its low sixteen bits.
    fn parse(text: &str, flags: i32) -> Result<Service<'_>, GaiError> {
        match text.trim_ascii_start().parse::<u64>() {
            Ok(number) => Ok(Service::Port(number as u16)),
            Err(_) if text.is_empty() => Ok(Service::Port(0)),
            Err(_) if flags & AI_NUMERICSERV != 0 => Err(GaiError::NoName),
            Err(_) => Ok(Service::Named(text)),
        }
    }
}

fn port_of(name: &str, column: &str) -> Option<u16> {
    let offered = |tcp: bool, udp: bool| (column == "tcp" && tcp) || (column == "udp" && udp);
    SERVICES.iter().find(|(known, _, tcp, udp)| *known == name && offered(*tcp, *udp)).map(|(_, port, ..)| *port)
}

/// The name of a port, for getnameinfo.
pub(super) fn name_of(port: u16, datagram: bool) -> Option<&'static str> {
    SERVICES
        .iter()
        .find(|(_, known, tcp, udp)| *known == port && if datagram { *udp } else { *tcp })
        .map(|(name, ..)| *name)
}
