//! NATs and firewalls: boxes that know flows, and let pass what belongs to one.
//!
//! A firewall is a NAT whose translation changes nothing; the rest is one code. Decide, then do: a packet gets a
//! [`Verdict`], and only [`Middlebox::process`] edits the packet and the table.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{Direction, DropReason, EvictReason};
use halfopen_core::id::{ElementId, FaultId};
use halfopen_core::{Event, SimTime, Stream};

use crate::answer;
use crate::config::{FirewallConfig, LatePacket, NatConfig, OnExpiry, Opens, PortPolicy, Side, StrayPacket};
use crate::conntrack::Kind;
use crate::packet::{Body, IcmpError, IcmpMessage, Packet, Protocol, Quoted};
use crate::reassembly::Reassembler;
use crate::tracker::{Flow, FlowId, Opening, Tracker};

/// A box with a table of flows.
#[derive(Debug)]
pub(crate) struct Middlebox {
    id: ElementId,
    role: Role,
    tracker: Tracker,
    /// Ports are seen only in whole packets.
    reassembler: Reassembler,
    /// Faults by which it is switched off.
    down: BTreeSet<FaultId>,
    /// Faults by which it takes no new flows.
    refusing: BTreeSet<FaultId>,
}

#[derive(Debug)]
enum Role {
    Nat { addresses: Vec<IpAddr>, inner: Side, ports: PortPolicy, stream: Box<Stream> },
    Firewall { opens: Opens },
}

/// What a box decides about a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It goes on (translated).
    Pass,
    /// It is kept until its other fragments are there. Fragments that do not fit together are given up.
    Hold { given_up: Vec<Packet> },
    /// It goes no further; the answer, if there is one, goes back.
    Drop { reason: DropReason, answer: Option<Box<Packet>> },
}

/// An RST that a box sends of its own accord.
#[derive(Debug)]
pub(crate) struct Notice {
    pub route: usize,
    /// The direction in which it goes.
    pub direction: Direction,
    pub packet: Packet,
}

const fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop { reason, answer: None }
}

impl Middlebox {
    pub(crate) fn nat(id: ElementId, config: &NatConfig, stream: Stream) -> Middlebox {
        let NatConfig { addresses, inner, ports, tracking } = config;
        let role = Role::Nat { addresses: addresses.clone(), inner: *inner, ports: *ports, stream: Box::new(stream) };
        Middlebox::new(id, role, Tracker::new(*tracking))
    }

    pub(crate) fn firewall(id: ElementId, config: &FirewallConfig) -> Middlebox {
        let FirewallConfig { opens, tracking } = config;
        Middlebox::new(id, Role::Firewall { opens: *opens }, Tracker::new(*tracking))
    }

    fn new(id: ElementId, role: Role, tracker: Tracker) -> Middlebox {
        let reassembler = Reassembler::default();
        Middlebox { id, role, tracker, reassembler, down: BTreeSet::new(), refusing: BTreeSet::new() }
    }

    /// Its external addresses, if it translates.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        match &self.role {
            Role::Nat { addresses, .. } => addresses,
            Role::Firewall { .. } => &[],
        }
    }

    /// The direction that leads from its inner side out. A firewall's inner side is the first.
    pub(crate) fn outbound(&self) -> Direction {
        match self.role {
            Role::Nat { inner: Side::Second, .. } => Direction::Backward,
            Role::Nat { inner: Side::First, .. } | Role::Firewall { .. } => Direction::Forward,
        }
    }

    /// The inner end to which a packet from outside would go now, without letting it pass.
    pub(crate) fn peek_inner(&self, packet: &Packet) -> Option<IpAddr> {
        let id = match &packet.body {
            Body::Icmp(IcmpMessage::Error { quoted, .. }) => {
                self.tracker.find_by_outer(quoted.protocol, quoted.src, quoted.dst)?
            }
            _ => {
                let (remote, outer) = ends(packet)?;
                self.tracker.find_by_outer(packet.protocol(), outer, remote)?
            }
        };
        Some(self.tracker.flow(id).inner.ip())
    }

    pub(crate) fn next_deadline(&self) -> Option<SimTime> {
        match (self.tracker.next_deadline(), self.reassembler.next_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Forgets what is due: the RSTs to send, and fragments to count as dropped.
    pub(crate) fn on_timer(&mut self, now: SimTime, log: &mut VecDeque<Event>) -> (Vec<Notice>, Vec<Packet>) {
        let mut notices = Vec::new();
        while let Some(flow) = self.tracker.expire(now) {
            let reason = if flow.is_closing() { EvictReason::Closed } else { EvictReason::Idle };
            if reason == EvictReason::Idle {
                notices.extend(self.expiry_notices(&flow));
            }
            log.push_back(evicted(self.id, now, &flow, reason));
        }
        (notices, self.reassembler.expire(now))
    }

    /// The RSTs that go out when a connection expires, numbered so that the ends take them.
    fn expiry_notices(&self, flow: &Flow) -> Vec<Notice> {
        let Some(connection) = &flow.tcp else { return Vec::new() };
        let (to_inner, to_outer) = match self.tracker.config().on_expiry {
            OnExpiry::Silent => (false, false),
            OnExpiry::ResetInner => (true, false),
            OnExpiry::ResetBoth => (true, true),
        };
        let (inner, outer) = (connection.half(flow.opened_by_inner), connection.half(!flow.opened_by_inner));
        let notice = |direction, packet| Notice { route: flow.route, direction, packet };
        let mut notices = Vec::new();
        if to_inner {
            let packet = answer::rst(flow.remote, flow.inner, inner.ack, Some(inner.end));
            notices.push(notice(self.outbound().reverse(), packet));
        }
        if to_outer {
            let packet = answer::rst(flow.outer, flow.remote, outer.ack, Some(outer.end));
            notices.push(notice(self.outbound(), packet));
        }
        notices
    }

    /// A packet arrives at the box. What is due by `now` was done before.
    pub(crate) fn process(
        &mut self,
        now: SimTime,
        packet: &mut Packet,
        direction: Direction,
        route: usize,
        log: &mut VecDeque<Event>,
    ) -> Verdict {
        if !self.down.is_empty() {
            return dropped(DropReason::Fault);
        }
        if !self.handles(packet) {
            return Verdict::Pass;
        }
        if matches!(packet.body, Body::Fragment(_)) {
            match self.reassembler.push(now, packet.clone().into()) {
                Some(whole) => *packet = *whole,
                None => return Verdict::Hold { given_up: self.reassembler.expire(now) },
            }
        }
        let outbound = direction == self.outbound();
        if let Body::Icmp(IcmpMessage::Error { .. }) = packet.body {
            return self.relate(packet, outbound);
        }
        let Some((src, dst)) = ends(packet) else { return dropped(self.no_entry()) };
        let protocol = packet.protocol();
        let found = match outbound {
            true => self.tracker.find_by_inner(protocol, src, dst),
            false => self.tracker.find_by_outer(protocol, dst, src),
        };
        let id = match found {
            // What has a wrong checksum counts for nothing (Linux `net.netfilter.nf_conntrack_checksum`).
            Some(id) if packet.corrupt => id,
            None if packet.corrupt => return dropped(self.no_entry()),
            Some(id) => {
                self.tracker.on_packet(now, id, outbound, route, packet);
                id
            }
            None => match self.admit(now, packet, outbound, route, (src, dst)) {
                Ok(id) => {
                    log.extend(self.created(id));
                    id
                }
                Err(verdict) => return verdict,
            },
        };
        let flow = self.tracker.flow(id);
        if outbound {
            set_source(packet, flow.outer);
        } else {
            set_destination(packet, flow.inner);
        }
        Verdict::Pass
    }

    /// Whether packets of this family are any of its business.
    fn handles(&self, packet: &Packet) -> bool {
        match &self.role {
            Role::Nat { addresses, .. } => addresses.iter().any(|own| own.is_ipv4() == packet.src.is_ipv4()),
            Role::Firewall { .. } => true,
        }
    }

    fn no_entry(&self) -> DropReason {
        match self.role {
            Role::Nat { .. } => DropReason::NatNoEntry,
            Role::Firewall { .. } => DropReason::FirewallNoEntry,
        }
    }

    /// What the log says of a new entry: only translations.
    fn created(&self, id: FlowId) -> Option<Event> {
        match self.role {
            Role::Firewall { .. } => None,
            Role::Nat { .. } => {
                let &Flow { protocol, inner, outer, remote, .. } = self.tracker.flow(id);
                Some(Event::NatCreated { element: self.id, protocol, inner, outer, remote })
            }
        }
    }

    /// Decides about a packet for which there is no entry: a new one, or what becomes of the packet.
    fn admit(
        &mut self,
        now: SimTime,
        packet: &Packet,
        outbound: bool,
        route: usize,
        (src, dst): (SocketAddr, SocketAddr),
    ) -> Result<FlowId, Verdict> {
        let no_entry = self.no_entry();
        let may_open = match &self.role {
            // What is addressed to the NAT itself is for nobody behind it; the rest of the inner side is private.
            Role::Nat { addresses, .. } if addresses.contains(&dst.ip()) => return Err(self.stray(packet)),
            Role::Nat { .. } if !outbound => return Err(dropped(no_entry)),
            Role::Nat { .. } => true,
            Role::Firewall { opens: Opens::Both } => true,
            Role::Firewall { opens: Opens::First } => outbound,
            Role::Firewall { opens: Opens::Second } => !outbound,
        };
        if !may_open {
            return Err(self.stray(packet));
        }
        let new_port = self.may_begin(packet)?;
        if !self.refusing.is_empty() {
            return Err(dropped(DropReason::NatRefusing));
        }
        if self.tracker.is_full() {
            return Err(dropped(DropReason::NatFull));
        }
        let protocol = packet.protocol();
        let (inner, outer, remote) = match &self.role {
            Role::Firewall { .. } if outbound => (src, src, dst),
            Role::Firewall { .. } => (dst, dst, src),
            Role::Nat { .. } => {
                (src, self.allocate(protocol, src, dst, new_port).ok_or(dropped(DropReason::NatFull))?, dst)
            }
        };
        let opening = Opening { protocol, inner, outer, remote, by_inner: outbound, route };
        Ok(self.tracker.insert(now, opening, packet))
    }

    /// Whether a packet may begin a flow, and if so, whether it must have a new port.
    fn may_begin(&self, packet: &Packet) -> Result<bool, Verdict> {
        let no_entry = dropped(self.no_entry());
        let kind = match &packet.body {
            Body::Tcp(segment) => Kind::of(segment.flags),
            Body::Icmp(IcmpMessage::EchoReply { .. }) => return Err(no_entry),
            _ => return Ok(false),
        };
        let late = self.tracker.config().late;
        match (kind, late) {
            (Kind::Syn, _) => Ok(false),
            (Kind::Rst | Kind::Nothing, LatePacket::Drop | LatePacket::Reset) => Err(no_entry),
            (_, LatePacket::Drop) => Err(no_entry),
            (_, LatePacket::Reset) => {
                Err(Verdict::Drop { reason: self.no_entry(), answer: answer::rst_to(packet).map(Box::new) })
            }
            // conntrack picks up nothing but plain segments: a FIN, a SYN-ACK or an RST is INVALID.
            (Kind::Ack, LatePacket::PickUp) => Ok(false),
            (Kind::Ack, LatePacket::Remap) => Ok(true),
            (_, LatePacket::PickUp | LatePacket::Remap) => Err(no_entry),
            (_, LatePacket::ForwardUntranslated) => Err(Verdict::Pass),
        }
    }

    /// A packet that nobody asked for.
    fn stray(&self, packet: &Packet) -> Verdict {
        let answer = match (self.tracker.config().stray, &packet.body) {
            (StrayPacket::Reset, Body::Tcp(_)) => answer::rst_to(packet),
            (StrayPacket::Reset, Body::Udp(_)) => {
                answer::icmp_error(packet.dst, packet, IcmpError::Unreachable { code: 3 })
            }
            _ => None,
        };
        Verdict::Drop { reason: self.no_entry(), answer: answer.map(Box::new) }
    }

    /// An ICMP error passes if it is about a flow; what it quotes is translated too. It is no sign of life.
    fn relate(&mut self, packet: &mut Packet, outbound: bool) -> Verdict {
        let no_entry = dropped(self.no_entry());
        let Body::Icmp(IcmpMessage::Error { quoted, .. }) = &mut packet.body else { return no_entry };
        let Quoted { src, dst, protocol, .. } = *quoted;
        // An error that goes out is about a packet that came in, and the other way round.
        let found = match outbound {
            true => self.tracker.find_by_inner(protocol, dst, src),
            false => self.tracker.find_by_outer(protocol, src, dst),
        };
        let Some(id) = found else { return no_entry };
        let flow = self.tracker.flow(id);
        if outbound {
            quoted.dst = flow.outer;
            if matches!(self.role, Role::Nat { .. }) {
                packet.src = flow.outer.ip();
            }
        } else {
            quoted.src = flow.inner;
            packet.dst = flow.inner.ip();
        }
        Verdict::Pass
    }

    /// An external address and port for a new flow; `None` if all are taken. Always one draw.
    fn allocate(
        &mut self,
        protocol: Protocol,
        inner: SocketAddr,
        remote: SocketAddr,
        new_port: bool,
    ) -> Option<SocketAddr> {
        let Role::Nat { addresses, ports: PortPolicy { keep, first, last }, stream, .. } = &mut self.role else {
            unreachable!("only NATs have ports")
        };
        let draw = stream.below(u64::from(*last - *first) + 1);
        let mut own: Vec<IpAddr> = addresses.iter().copied().filter(|a| a.is_ipv4() == inner.is_ipv4()).collect();
        let start = favourite(inner.ip(), own.len());
        own.rotate_left(start);
        let range = u32::from(*last - *first) + 1;
        if self.tracker.count_to(protocol, remote) >= range.saturating_mul(own.len() as u32) {
            return None;
        }
        // ICMP identifiers are no ports: they are kept like them, but have the whole range.
        let kept = SocketAddr::new(own[0], inner.port());
        let in_range = protocol == Protocol::Icmp || (*first..=*last).contains(&inner.port());
        let is_free = |outer| self.tracker.find_by_outer(protocol, outer, remote).is_none();
        if *keep && !new_port && in_range && is_free(kept) {
            return Some(kept);
        }
        let from = *first + draw as u16;
        let avoid = new_port.then_some(inner.port());
        own.into_iter().find_map(|address| {
            let upper = free_port(&self.tracker, protocol, remote, address, (from, *last), avoid);
            upper.or_else(|| free_port(&self.tracker, protocol, remote, address, (*first, from), avoid))
        })
    }

    /// All flows, oldest first.
    pub(crate) fn flows(&self) -> impl Iterator<Item = (FlowId, &Flow)> {
        self.tracker.flows()
    }

    // ---- faults ----

    pub(crate) fn switch_off(&mut self, fault: FaultId) {
        self.down.insert(fault);
    }

    pub(crate) fn refuse(&mut self, fault: FaultId) {
        self.refusing.insert(fault);
    }

    pub(crate) fn restore(&mut self, fault: FaultId) {
        self.down.remove(&fault);
        self.refusing.remove(&fault);
    }

    /// Forgets all flows.
    pub(crate) fn flush(&mut self, now: SimTime, log: &mut VecDeque<Event>) {
        let all: Vec<FlowId> = self.tracker.flows().map(|(id, _)| id).collect();
        for id in all {
            self.forget(now, id, EvictReason::Flushed, log);
        }
    }

    /// Forgets the `count` flows, of those that are `meant`, that were idle longest; the older ones where that is equal.
    pub(crate) fn evict(&mut self, now: SimTime, count: u32, meant: &BTreeSet<FlowId>, log: &mut VecDeque<Event>) {
        let mut idle: Vec<(SimTime, FlowId)> = meant.iter().map(|&id| (self.tracker.flow(id).seen, id)).collect();
        idle.sort_unstable();
        for (_, id) in idle.into_iter().take(count as usize) {
            self.forget(now, id, EvictReason::Evicted, log);
        }
    }

    fn forget(&mut self, now: SimTime, id: FlowId, reason: EvictReason, log: &mut VecDeque<Event>) {
        let flow = self.tracker.remove(id).expect("a flow that was just listed");
        log.push_back(evicted(self.id, now, &flow, reason));
    }
}

/// Which of `count` addresses a host behind a NAT gets: always the same (RFC 4787, REQ-2: "paired").
fn favourite(inner: IpAddr, count: usize) -> usize {
    let number = match inner {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    (number % count as u128) as usize
}

/// The first port from `from` to `to` that is free towards this remote, other than `avoid`.
fn free_port(
    tracker: &Tracker,
    protocol: Protocol,
    remote: SocketAddr,
    address: IpAddr,
    (from, to): (u16, u16),
    avoid: Option<u16>,
) -> Option<SocketAddr> {
    let (lowest, highest) = (SocketAddr::new(address, from), SocketAddr::new(address, to));
    let mut used = tracker.outers_to(protocol, remote, lowest, highest).peekable();
    let free = (from..=to).find(|&port| {
        let taken = used.next_if(|outer| outer.port() == port).is_some();
        !taken && avoid != Some(port)
    });
    free.map(|port| SocketAddr::new(address, port))
}

fn evicted(element: ElementId, now: SimTime, flow: &Flow, reason: EvictReason) -> Event {
    let &Flow { protocol, inner, outer, remote, seen, .. } = flow;
    Event::NatEvicted { element, protocol, inner, outer, remote, reason, idle: now.since(seen) }
}

/// Source and destination of a packet that can belong to a flow. Echo has its identifier for the asking end's port.
fn ends(packet: &Packet) -> Option<(SocketAddr, SocketAddr)> {
    let (src_port, dst_port) = match &packet.body {
        Body::Icmp(IcmpMessage::EchoRequest { id, .. }) => (*id, 0),
        Body::Icmp(IcmpMessage::EchoReply { id, .. }) => (0, *id),
        Body::Icmp(IcmpMessage::Error { .. }) | Body::Fragment(_) => return None,
        Body::Tcp(_) | Body::Udp(_) => packet.ports(),
    };
    Some((SocketAddr::new(packet.src, src_port), SocketAddr::new(packet.dst, dst_port)))
}

fn set_source(packet: &mut Packet, to: SocketAddr) {
    packet.src = to.ip();
    match &mut packet.body {
        Body::Tcp(segment) => segment.src_port = to.port(),
        Body::Udp(datagram) => datagram.src_port = to.port(),
        Body::Icmp(IcmpMessage::EchoRequest { id, .. }) => *id = to.port(),
        Body::Icmp(_) | Body::Fragment(_) => {}
    }
}

fn set_destination(packet: &mut Packet, to: SocketAddr) {
    packet.dst = to.ip();
    match &mut packet.body {
        Body::Tcp(segment) => segment.dst_port = to.port(),
        Body::Udp(datagram) => datagram.dst_port = to.port(),
        Body::Icmp(IcmpMessage::EchoReply { id, .. }) => *id = to.port(),
        Body::Icmp(_) | Body::Fragment(_) => {}
    }
}
