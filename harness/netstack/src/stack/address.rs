//! Addresses as a program sees them and as the stack keeps them.
//!
//! Inside the stack an address is *canonical*: an IPv4-mapped IPv6 address is the IPv4 address it stands for, and there
//! is no scope or flow label. A program with an AF_INET6 socket sees the mapped form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use halfopen_core::Errno;

use crate::socket::{Family, Kind};

/// The canonical form of an IP address: `::ffff:a.b.c.d` is `a.b.c.d`.
pub(super) fn canonical_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The canonical form of an address with its port.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical_ip(address.ip()), address.port())
}

/// The form in which a socket of this family shows a canonical address to its program.
pub(super) fn presented(family: Family, address: SocketAddr) -> SocketAddr {
    match (family, address.ip()) {
        (Family::V6, IpAddr::V4(v4)) => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), address.port()),
        _ => address,
    }
}

/// The wildcard address of a family.
pub(super) const fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Whether this address always means the host itself: 127.0.0.0/8 or ::1.
pub(super) const fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback(),
    }
}

/// Whether this is 255.255.255.255: the only broadcast address that a stack without netmasks knows.
pub(super) fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The destination that a program means: the wildcard address stands for the host itself (Linux
/// net/ipv4/route.c `ip_route_output_key_hash_rcu`, net/ipv6/tcp_ipv6.c `tcp_v6_connect`).
pub(super) fn destination(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Which system call hands over an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Bind,
    /// Connect or send.
    Reach,
}

/// The canonical form of an address that a program passed to a socket of this family and kind, or the errno that Linux
/// gives where the two do not fit (a `sockaddr_in` is shorter than an AF_INET6 socket wants: EINVAL).
pub(super) fn accepted(
    purpose: Purpose,
    family: Family,
    kind: Kind,
    only_v6: bool,
    address: SocketAddr,
) -> Result<SocketAddr, Errno> {
    match (family, address) {
        (Family::V4, SocketAddr::V6(_)) => Err(Errno::EAFNOSUPPORT),
        (Family::V4, SocketAddr::V4(_)) => Ok(canonical(address)),
        (Family::V6, SocketAddr::V4(_)) if purpose == Purpose::Reach && kind == Kind::Udp => {
            if only_v6 {
                Err(Errno::EAFNOSUPPORT)
            } else {
                Ok(address)
            }
        }
        (Family::V6, SocketAddr::V4(_)) => Err(Errno::EINVAL),
        (Family::V6, SocketAddr::V6(v6)) if only_v6 && v6.ip().to_ipv4_mapped().is_some() => match purpose {
            Purpose::Bind => Err(Errno::EINVAL),
            Purpose::Reach => Err(Errno::ENETUNREACH),
        },
        (Family::V6, SocketAddr::V6(_)) => Ok(canonical(address)),
    }
}

/// The local address that a socket holds, and how far it reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LocalScope {
    /// Canonical; a wildcard takes every address of its family.
    pub ip: IpAddr,
    /// An IPv6 wildcard that takes IPv4 too (IPV6_V6ONLY off).
    pub dual: bool,
}

impl LocalScope {
    /// All addresses that a socket of this family may have.
    pub fn any(family: Family, only_v6: bool) -> LocalScope {
        LocalScope { ip: wildcard(family), dual: family == Family::V6 && !only_v6 }
    }

    /// Whether a packet to `ip` is meant for this scope.
    pub fn accepts(self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(to)) => own.is_unspecified() || own == to,
            (IpAddr::V6(own), IpAddr::V6(to)) => own.is_unspecified() || own == to,
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && self.dual,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    /// Whether some packet is meant for both (Linux `inet_rcv_saddr_equal` with wildcards).
    pub fn overlaps(self, other: LocalScope) -> bool {
        self.accepts(other.ip)
            || other.accepts(self.ip)
            || self.ip.is_unspecified() && other.ip.is_unspecified() && (self.dual || other.dual)
    }

    /// How well a packet's destination fits, where it does: the more specific the better, and an IPv4 wildcard before
    /// an IPv6 one (Linux `compute_score`).
    pub fn fit(self, ip: IpAddr) -> Option<u8> {
        self.accepts(ip).then(|| match self.ip {
            own if own == ip => 2,
            own if own.is_ipv4() == ip.is_ipv4() => 1,
            _ => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> LocalScope {
        let (ip, dual) = text.strip_suffix("+dual").map_or((text, false), |ip| (ip, true));
        LocalScope { ip: ip.parse().unwrap(), dual }
    }

    #[test]
    fn scopes_overlap_as_on_linux() {
        for (a, b, overlap) in [
            ("0.0.0.0", "0.0.0.0", true),
            ("0.0.0.0", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::", "0.0.0.0", false),
            ("::+dual", "0.0.0.0", true),
            ("::+dual", "10.0.0.1", true),
            ("::", "10.0.0.1", false),
            ("::+dual", "::", true),
            ("::", "fd00::1", true),
            ("fd00::1", "10.0.0.1", false),
            ("fd00::1", "0.0.0.0", false),
            ("fd00::1", "fd00::2", false),
        ] {
            assert_eq!(scope(a).overlaps(scope(b)), overlap, "{a} and {b}");
            assert_eq!(scope(b).overlaps(scope(a)), overlap, "{b} and {a}");
        }
    }
}
