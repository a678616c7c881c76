//! ICMP: echoes, errors that this host sends (within Linux's rate limits) and errors that it is told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use halfopen_core::event::{Protocol, TcpState};
use halfopen_core::{Event, SimDuration, SimTime};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet, Quoted, SeqNum};

use super::Netstack;
use super::flows::{FlowId, Owner, Tuple};
use crate::sysctl::Sysctls;
use crate::tcp::IcmpNotice;

/// How many errors may go to one destination at once (Linux `XRLIM_BURST_FACTOR`).
const PEER_BURST: u64 = 6;
/// The code of "host unreachable".
pub(super) const CODE_HOST: u8 = 1;
/// The code of "port unreachable".
const CODE_PORT: u8 = 3;

/// A token bucket in units of time: each message costs `interval`, and no more than `burst` of them are saved up.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    saved: SimDuration,
    last: SimTime,
}

impl Bucket {
    fn take(&mut self, now: SimTime, interval: SimDuration, burst: u64) -> bool {
        self.saved = (self.saved + now.since(self.last)).min(interval * burst);
        self.last = now;
        let allowed = self.saved >= interval;
        if allowed {
            self.saved = self.saved - interval;
        }
        allowed
    }
}

/// How many ICMP errors may still go out.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    /// `None` before the first.
    host: Option<Bucket>,
    peers: BTreeMap<IpAddr, Bucket>,
}

impl RateLimit {
    /// Linux `icmpv4_xrlim_allow`, then `icmp_global_allow`.
    fn allows(&mut self, now: SimTime, to: IpAddr, sysctls: &Sysctls) -> bool {
        let full = |interval: SimDuration, burst| Bucket { saved: interval * burst, last: now };
        let peer_interval = SimDuration::from_millis(u64::from(sysctls.icmp_ratelimit));
        let peer = self.peers.entry(to).or_insert(full(peer_interval, PEER_BURST));
        if !peer_interval.is_zero() && !peer.take(now, peer_interval, PEER_BURST) {
            return false;
        }
        let burst = u64::from(sysctls.icmp_msgs_burst);
        match u64::from(sysctls.icmp_msgs_per_sec) {
            0 => false,
            per_second => {
                let interval = SimDuration::from_secs(1) / per_second;
                self.host.get_or_insert(full(interval, burst)).take(now, interval, burst)
            }
        }
    }
}

/// What an ICMP error says of the packet that it is about.
pub(super) fn quote(packet: &Packet) -> Quoted {
    let info = packet.info();
    Quoted {
        src: info.src,
        dst: info.dst,
        protocol: info.protocol,
        seq: SeqNum(info.seq),
        total_len: packet.wire_len() as u16,
    }
}

impl Netstack {
    /// Nobody listens on the port of this datagram.
    pub(super) fn refuse_datagram(&mut self, now: SimTime, packet: &Packet) {
        if !self.is_local(packet.src) && !self.icmp_limit.allows(now, packet.src, &self.sysctls) {
            return;
        }
        let error = IcmpError::Unreachable { code: CODE_PORT };
        self.send_icmp(now, packet.dst, packet.src, IcmpMessage::Error { error, quoted: quote(packet) });
    }

    pub(super) fn on_icmp(&mut self, now: SimTime, packet: &Packet, message: &IcmpMessage) {
        match message {
            IcmpMessage::EchoRequest { id, seq, payload } => {
                let reply = IcmpMessage::EchoReply { id: *id, seq: *seq, payload: payload.clone() };
                self.send_icmp(now, packet.dst, packet.src, reply);
            }
            IcmpMessage::EchoReply { .. } => {}
            IcmpMessage::Error { error, quoted } => self.on_icmp_error(now, *error, quoted),
        }
    }

    pub(super) fn on_icmp_error(&mut self, now: SimTime, error: IcmpError, quoted: &Quoted) {
        let (local, remote) = (quoted.src, quoted.dst);
        match quoted.protocol {
            Protocol::Tcp => {
                let Some(flow) = self.flows.find(&Tuple { local, remote }) else { return };
                self.on_flow_error(now, flow, error, quoted.seq);
            }
            Protocol::Udp => {
                if let IcmpError::TooBig { mtu } = error
                    && self.find_udp(local, remote).is_some()
                    && self.learn_path_mtu(now, remote.ip(), mtu)
                {
                    self.tell_path_mtu(now, remote.ip());
                }
                self.on_udp_error(local, remote, error);
            }
            Protocol::Icmp => {}
        }
    }

    fn on_flow_error(&mut self, now: SimTime, flow: FlowId, error: IcmpError, quoted_seq: SeqNum) {
        let notice = match error {
            IcmpError::Unreachable { code } => IcmpNotice::Unreachable { code, quoted_seq },
            IcmpError::TimeExceeded => IcmpNotice::TimeExceeded { quoted_seq },
            IcmpError::TooBig { mtu } => {
                let remote = self.flows.get(flow).tuple.remote.ip();
                let news = self.learn_path_mtu(now, remote, mtu);
                let notice = IcmpNotice::TooBig { path_mtu: self.path_mtu_towards(now, remote), quoted_seq };
                // This connection first: it must send again what was too large.
                self.with_flow(now, flow, |connection| connection.on_icmp(now, notice));
                if news {
                    self.tell_path_mtu(now, remote);
                }
                return;
            }
        };
        let owner = self.flows.get(flow).owner;
        let failed = self.with_flow(now, flow, |connection| {
            let opening = matches!(connection.state(), TcpState::SynSent | TcpState::SynReceived);
            connection.on_icmp(now, notice);
            opening && connection.state() == TcpState::Closed
        });
        // Linux `tcp_v4_err` queues it whether the program asked for it or not, `tcp_v6_err` only if it did.
        let queued = failed && self.flows.get(flow).tuple.remote.is_ipv4();
        if let (true, Owner::Socket(socket)) = (queued, owner) {
            self.socket_mut(socket).icmp_queued = true;
        }
    }

    /// A router told the MTU of a path. Gives whether it was news.
    fn learn_path_mtu(&mut self, now: SimTime, remote: IpAddr, claimed: u32) -> bool {
        if self.is_local(remote) {
            return false;
        }
        let before = self.path_mtus.expiry(remote);
        let news = self.path_mtus.learn(now, remote, claimed, self.interface_mtu, &self.sysctls);
        self.move_path_mtu_timer(remote, before);
        if let Some(known) = news {
            self.events.push_back(Event::PathMtu { host: self.host, remote, mtu: known.mtu });
        }
        news.is_some()
    }

    /// What was learned of a path is too old: packets may be as large as the interface allows, until a router objects.
    pub(super) fn forget_path_mtu(&mut self, now: SimTime, remote: IpAddr) {
        self.path_mtus.expire(now, remote);
        self.tell_path_mtu(now, remote);
    }

    /// All connections over a path learn its MTU, as Linux's do when they next look at their route.
    fn tell_path_mtu(&mut self, now: SimTime, remote: IpAddr) {
        let path_mtu = self.path_mtu_towards(now, remote);
        for id in self.flows.with_remote(Some(remote)) {
            self.flows.get_mut(id).connection.set_path_mtu(path_mtu);
        }
    }

    fn send_icmp(&mut self, now: SimTime, src: IpAddr, dst: IpAddr, message: IcmpMessage) {
        let packet = Packet {
            src,
            dst,
            ttl: self.default_ttl(),
            id: self.next_packet_id(),
            dont_fragment: false,
            ecn: 0,
            body: Body::Icmp(message),
            corrupt: false,
        };
        let mtu = self.interface_mtu_towards(dst);
        self.send_packet(now, packet.into(), mtu);
    }
}
