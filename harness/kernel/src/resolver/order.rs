//! The order of destination addresses (RFC 6724, section 6), with the default policy table of glibc.
//!
//! Rules 1 (usable), 2 (scope), 5 (label), 6 (precedence), 8 (smaller scope) and 10 (leave the order alone) are
//! followed. The simulated network has no deprecated or mobile addresses and no tunnels (rules 3, 4, 7), and no prefix
//! lengths, so the longest match (rule 9) is left out: the server's order stands among addresses of one kind.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use super::{ResolverSystem, Target};

/// Prefix, its length in bits, label, precedence: RFC 3484's policies as glibc ships them (gai.conf(5)), the first
/// that matches counts.
const POLICIES: [(Ipv6Addr, u32, u8, u8); 8] = [
    (Ipv6Addr::LOCALHOST, 128, 0, 50),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4, 10),
    (Ipv6Addr::UNSPECIFIED, 96, 3, 20),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 7, 40),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2, 30),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 5, 40),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 6, 40),
    (Ipv6Addr::UNSPECIFIED, 0, 1, 40),
];

/// Sorts destinations, best first. A single one is left alone: no socket is needed to know its place.
pub(super) fn sort(system: &mut dyn ResolverSystem, targets: &mut Vec<Target>) {
    if targets.len() < 2 {
        return;
    }
    let mut ranked: Vec<(Rank, Target)> =
        targets.iter().map(|target| (Rank::new(target.ip, system.source_address(target.ip)), *target)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    *targets = ranked.into_iter().map(|(_, target)| target).collect();
}

/// What the rules compare, in their order; less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unusable: bool,
    other_scope: bool,
    other_label: bool,
    precedence: Reverse<u8>,
    scope: u8,
}

impl Rank {
    fn new(destination: IpAddr, source: Option<IpAddr>) -> Rank {
        let (label, precedence) = policy(destination);
        Rank {
            unusable: source.is_none(),
            other_scope: source.is_none_or(|source| scope(source) != scope(destination)),
            other_label: source.is_none_or(|source| policy(source).0 != label),
            precedence: Reverse(precedence),
            scope: scope(destination),
        }
    }
}

/// Label and precedence.
fn policy(ip: IpAddr) -> (u8, u8) {
    let bits = u128::from(as_v6(ip));
    let matches = |prefix: &Ipv6Addr, length: u32| {
        let differ = bits ^ u128::from(*prefix);
        length == 0 || differ >> (128 - length) == 0
    };
    let (_, _, label, precedence) = POLICIES
        .into_iter()
        .find(|(prefix, length, ..)| matches(prefix, *length))
        .expect("the last policy matches everything");
    (label, precedence)
}

/// The scope, as multicast addresses number them (RFC 4291, section 2.7): 2 link-local, 5 site-local, 14 global.
/// Loopback counts as link-local (RFC 6724, section 3.1 and 3.2).
fn scope(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => 2,
        IpAddr::V4(_) => 14,
        IpAddr::V6(ip) if ip.is_multicast() => ip.octets()[1] & 0x0f,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unicast_link_local() => 2,
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfec0 => 5,
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => scope(v4.into()),
            None => 14,
        },
    }
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The source that a host with these addresses likely has for a destination, if every interface leads everywhere
/// within its family: the destination itself if it is local, else an address of the same scope, else any that is not
/// loopback.
pub(super) fn likely_source(locals: &[IpAddr], destination: IpAddr) -> Option<IpAddr> {
    // A mapped address goes out over IPv4.
    let destination = destination.to_canonical();
    // Linux sends to the unspecified address as to loopback.
    let loops = destination.is_loopback() || destination.is_unspecified();
    let same_family = || locals.iter().copied().filter(|local| local.is_ipv4() == destination.is_ipv4());
    if loops {
        return same_family().find(|local| local.is_loopback());
    }
    same_family()
        .find(|local| *local == destination)
        .or_else(|| same_family().find(|local| !local.is_loopback() && scope(*local) == scope(destination)))
        .or_else(|| same_family().find(|local| !local.is_loopback()))
}
