//! IP: where packets go, in pieces if they must, and what happens to those that arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::event::DropReason;
use halfopen_core::{Errno, SimTime};
use halfopen_fabric::packet::{Body, Packet};
use halfopen_fabric::reassembly;

use super::address::{self, LocalScope};
use super::pmtu::PathMtu;
use super::{Netstack, Timer};

/// What IP can use of the 65536 bytes that are the MTU of Linux's loopback interface (`IP_MAX_MTU`).
pub(super) const LOOPBACK_MTU: u32 = 65_535;

impl Netstack {
    /// Whether packets to this address stay inside the host.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        address::is_loopback(ip) || self.addresses.contains(&ip)
    }

    /// The source address of packets to `to` from a socket that is bound to `scope`.
    pub(super) fn source_address(&self, scope: LocalScope, to: IpAddr) -> Result<IpAddr, Errno> {
        if to.is_multicast() || address::is_broadcast(to) {
            return Err(Errno::ENETUNREACH);
        }
        // A socket bound to a group receives as the group but sends as the host (Linux `inet_saddr`).
        let own = !(scope.ip.is_unspecified() || scope.ip.is_multicast() || address::is_broadcast(scope.ip));
        if own {
            return match scope.ip {
                ip if ip.is_ipv4() != to.is_ipv4() => Err(Errno::ENETUNREACH),
                // A packet from 127.0.0.1 to elsewhere would be a martian.
                ip if address::is_loopback(ip) && !self.is_local(to) => Err(Errno::EINVAL),
                ip => Ok(ip),
            };
        }
        if scope.ip.is_ipv4() && to.is_ipv6() {
            return Err(Errno::ENETUNREACH);
        }
        match to {
            IpAddr::V4(v4) if v4.is_loopback() => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            IpAddr::V6(v6) if v6.is_loopback() => Ok(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            _ if self.addresses.contains(&to) => Ok(to),
            _ => {
                let first = self.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4());
                first.copied().ok_or(Errno::ENETUNREACH)
            }
        }
    }

    /// MTU of the interface through which packets to this address leave.
    pub(super) fn interface_mtu_towards(&self, to: IpAddr) -> u32 {
        if self.is_local(to) { LOOPBACK_MTU } else { self.interface_mtu }
    }

    /// What path-MTU discovery has found, if it is in use.
    pub(super) fn known_path_mtu(&self, now: SimTime, to: IpAddr) -> Option<PathMtu> {
        self.path_mtus.get(now, to)
    }

    /// The largest packet that the path to this address is known to carry.
    pub(super) fn path_mtu_towards(&self, now: SimTime, to: IpAddr) -> u32 {
        let interface = self.interface_mtu_towards(to);
        self.known_path_mtu(now, to).map_or(interface, |known| known.mtu.min(interface))
    }

    pub(super) fn default_ttl(&self) -> u8 {
        self.sysctls.ip_default_ttl.clamp(1, 255) as u8
    }

    pub(super) fn next_packet_id(&mut self) -> u32 {
        self.packet_id = self.packet_id.wrapping_add(1);
        // IPv4 has 16 bits for it; so have our IPv6 fragments.
        self.packet_id & 0xffff
    }

    /// Hands a packet to the network, or to the host itself; in pieces of `mtu` bytes if DF is clear.
    pub(super) fn send_packet(&mut self, now: SimTime, packet: Box<Packet>, mtu: u32) {
        self.told = now;
        if self.is_local(packet.dst) {
            self.loopback.push_back(packet);
        } else if self.neighbours.is_silent(packet.dst) {
            self.await_neighbour(now, *packet);
        } else if packet.wire_len() > mtu as usize && !packet.dont_fragment {
            self.outbox.extend(reassembly::split(*packet, mtu).into_iter().map(Box::new));
        } else {
            self.outbox.push_back(packet);
        }
    }

    /// A packet that came from the network, whole or a piece.
    pub(super) fn receive_from_network(&mut self, now: SimTime, packet: Box<Packet>) {
        // Linux drops what claims to come from the host itself ("martian"), and this host forwards nothing.
        if self.is_local(packet.src) || !self.addresses.contains(&packet.dst) {
            return self.report_drop(DropReason::NoRoute, packet.info());
        }
        let whole = self.reassembly.push(now, packet);
        // The bits that changed may be in any piece: only the checksum of the whole tells.
        match whole {
            Some(packet) if packet.corrupt => self.report_drop(DropReason::BadChecksum, packet.info()),
            Some(packet) => self.receive(now, &packet),
            None => {}
        }
    }

    /// A whole packet for this host.
    pub(super) fn receive(&mut self, now: SimTime, packet: &Packet) {
        match &packet.body {
            Body::Tcp(segment) => self.on_segment(now, packet.dst, packet.src, segment),
            Body::Udp(datagram) => self.on_datagram(now, packet, datagram),
            Body::Icmp(message) => self.on_icmp(now, packet, message),
            Body::Fragment(piece) => panic!("{piece:?} was not put together"),
        }
    }

    /// Gives up on packets whose other fragments did not come in time.
    pub(super) fn expire_fragments(&mut self, now: SimTime) {
        for fragment in self.reassembly.expire(now) {
            self.report_drop(DropReason::ReassemblyTimeout, fragment.info());
        }
    }

    /// The timer of an exception to the path MTU follows the exception.
    pub(super) fn move_path_mtu_timer(&mut self, remote: IpAddr, before: Option<SimTime>) {
        let after = self.path_mtus.expiry(remote);
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.timers.remove(&(before, Timer::PathMtu(remote)));
        }
        if let Some(after) = after {
            self.timers.insert((after, Timer::PathMtu(remote)));
        }
    }
}
