//! A network under test: hosts, packets in a line, and what came of them.
#![allow(dead_code)] // Each test file uses its part.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use halfopen_core::event::{Direction, DropReason, LinkBooks};
use halfopen_core::id::{ElementId, FaultId};
use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_fabric::config::{ElementConfig, ElementKind, FabricConfig, LinkConfig, NatConfig, RouteConfig};
use halfopen_fabric::fabric::{Delivery, Fabric};
use halfopen_fabric::fault::{FaultKind, NetFault, Scope, Target};
use halfopen_fabric::packet::{Body, Packet, SeqNum, TcpFlags, TcpOptions, TcpSegment, UdpDatagram};

pub const SYN: TcpFlags = TcpFlags::SYN;
pub const ACK: TcpFlags = TcpFlags::ACK;
pub const SYN_ACK: TcpFlags = TcpFlags::SYN.with(TcpFlags::ACK);
pub const FIN_ACK: TcpFlags = TcpFlags::FIN.with(TcpFlags::ACK);
pub const RST: TcpFlags = TcpFlags::RST;
pub const RST_ACK: TcpFlags = TcpFlags::RST.with(TcpFlags::ACK);

/// The host with this number: 10.0.0.(number + 1), fd00::(number + 1).
pub fn host(number: u32) -> HostId {
    HostId::new(number)
}

pub fn ip(number: u32) -> IpAddr {
    IpAddr::from([10, 0, 0, number as u8 + 1])
}

pub fn ip6(number: u32) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number as u16 + 1])
}

/// The external address of the NAT in these tests.
pub fn nat_ip() -> IpAddr {
    IpAddr::from([203, 0, 113, 1])
}

pub fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

pub const fn ms(n: u64) -> SimDuration {
    SimDuration::from_millis(n)
}

pub const fn secs(n: u64) -> SimDuration {
    SimDuration::from_secs(n)
}

pub const fn t(millis: u64) -> SimTime {
    SimTime::from_nanos(millis * 1_000_000)
}

fn packet(src: SocketAddr, dst: SocketAddr, body: Body) -> Packet {
    Packet { src: src.ip(), dst: dst.ip(), ttl: 64, id: 7, dont_fragment: true, ecn: 0, body, corrupt: false }
}

/// A TCP segment with sequence number 1000 and acknowledgement number 2000 (none if it is a pure SYN).
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: TcpFlags, payload: usize) -> Packet {
    let segment = TcpSegment {
        src_port: src.port(),
        dst_port: dst.port(),
        seq: SeqNum(1000),
        ack: SeqNum(if flags.has(ACK) { 2000 } else { 0 }),
        flags,
        window: 64_240,
        options: TcpOptions { mss: flags.has(SYN).then_some(1460), ..TcpOptions::default() },
        payload: Bytes::from(vec![b'x'; payload]),
    };
    packet(src, dst, Body::Tcp(segment))
}

pub fn udp(src: SocketAddr, dst: SocketAddr, payload: usize) -> Packet {
    let payload = Bytes::from((0..payload).map(|n| n as u8).collect::<Vec<u8>>());
    packet(src, dst, Body::Udp(UdpDatagram { src_port: src.port(), dst_port: dst.port(), payload }))
}

/// A datagram of `size` bytes on the wire from host 0 to host 1, numbered by its destination port.
pub fn numbered(number: u16, size: usize) -> Packet {
    udp(at(ip(0), 4000), at(ip(1), number), size - 28)
}

/// Its number.
pub fn number_of(packet: &Packet) -> u16 {
    packet.ports().1
}

pub fn link(config: LinkConfig) -> ElementConfig {
    ElementConfig { name: None, kind: ElementKind::Link(config) }
}

pub fn named(name: &str, mut element: ElementConfig) -> ElementConfig {
    element.name = Some(name.to_owned());
    element
}

pub fn nat(config: NatConfig) -> ElementConfig {
    ElementConfig { name: None, kind: ElementKind::Nat(config) }
}

/// A link of exactly 1 ms and nothing else.
pub fn plain() -> ElementConfig {
    link(LinkConfig::default())
}

/// A route between host 0 and host 1.
pub fn route(via: Vec<ElementConfig>) -> RouteConfig {
    RouteConfig { between: (vec![host(0)], vec![host(1)]), via }
}

/// Between host 0 and host 1 lies just this link.
pub fn one_link(config: LinkConfig) -> Net {
    net(vec![route(vec![link(config)])])
}

pub fn net(routes: Vec<RouteConfig>) -> Net {
    Net::new(FabricConfig { seed: 1, default_link: LinkConfig::default(), routes })
}

/// The books of a link with nothing in them but this.
pub fn books(offered: u64, delivered: u64, dropped: &[(DropReason, u64)]) -> LinkBooks {
    LinkBooks { offered, duplicated: 0, delivered, dropped: dropped.to_vec(), in_flight: 0 }
}

pub fn everywhere(kind: FaultKind) -> NetFault {
    NetFault { scope: Scope { target: Target::Everything, direction: None }, kind }
}

pub fn pairs(first: &[u32], second: &[u32], direction: Option<Direction>, kind: FaultKind) -> NetFault {
    let group = |numbers: &[u32]| numbers.iter().map(|&number| host(number)).collect();
    NetFault { scope: Scope { target: Target::Pairs(group(first), group(second)), direction }, kind }
}

/// A fabric with four hosts, and all it said.
pub struct Net {
    pub fabric: Fabric,
    pub now: SimTime,
    pub events: Vec<Event>,
    /// With the time of arrival.
    pub delivered: Vec<(SimTime, Delivery)>,
}

impl Net {
    pub fn new(config: FabricConfig) -> Net {
        let mut fabric = Fabric::new(&config).expect("a good configuration");
        for number in 0..4 {
            fabric.add_host(host(number), &[ip(number), ip6(number)]);
        }
        Net { fabric, now: SimTime::ZERO, events: Vec::new(), delivered: Vec::new() }
    }

    fn collect(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.fabric.poll_event()));
        let now = self.now;
        self.delivered.extend(std::iter::from_fn(|| self.fabric.poll_delivery()).map(|delivery| (now, delivery)));
    }

    /// Lets time pass until `until`, step by step.
    pub fn run_until(&mut self, until: SimTime) {
        while let Some(next) = self.fabric.next_deadline()
            && next <= until
        {
            assert!(next >= self.now, "a deadline lies in the past");
            self.now = next;
            self.fabric.on_timer(next);
            self.collect();
        }
        self.now = until;
    }

    pub fn run_for(&mut self, span: SimDuration) {
        self.run_until(self.now + span);
    }

    /// Sends from the host that has the source address.
    pub fn send(&mut self, packet: Packet) {
        let from = (0..4).find(|&number| packet.src == ip(number) || packet.src == ip6(number)).expect("a host's");
        self.fabric.send(self.now, host(from), packet);
        self.collect();
    }

    pub fn apply(&mut self, fault: u32, what: &NetFault) {
        self.fabric.apply(self.now, FaultId::new(fault), what);
        self.collect();
    }

    pub fn lift(&mut self, fault: u32) {
        self.fabric.lift(self.now, FaultId::new(fault));
        self.collect();
    }

    /// Sends a packet, waits a second, and gives what arrived.
    pub fn exchange(&mut self, packet: Packet) -> Vec<Delivery> {
        let before = self.delivered.len();
        self.send(packet);
        self.run_for(secs(1));
        self.delivered[before..].iter().map(|(_, delivery)| delivery.clone()).collect()
    }

    /// The numbers of the datagrams that arrived at host 1, with the time in microseconds.
    pub fn arrivals(&self) -> Vec<(u64, u16)> {
        let at_1 = self.delivered.iter().filter(|(_, delivery)| delivery.host == host(1));
        at_1.map(|(time, delivery)| (time.as_micros(), number_of(&delivery.packet))).collect()
    }

    /// Drops since the last call, with their reasons.
    pub fn take_drops(&mut self) -> Vec<DropReason> {
        let drops = self.events.iter().filter_map(|event| match event {
            Event::PacketDropped { reason, .. } => Some(*reason),
            _ => None,
        });
        let drops = drops.collect();
        self.events.clear();
        drops
    }

    /// Ends the run and gives the books of every link, by element and direction.
    pub fn close(&mut self) -> Vec<(ElementId, Direction, LinkBooks)> {
        self.fabric.close(self.now);
        self.collect();
        let closed = self.events.iter().filter_map(|event| match event {
            Event::LinkClosed { element, direction, books, .. } => Some((*element, *direction, books.clone())),
            _ => None,
        });
        closed.collect()
    }

    /// The books of the only link, forward.
    pub fn forward_books(&mut self) -> LinkBooks {
        self.close().into_iter().find(|(_, direction, _)| *direction == Direction::Forward).expect("a link").2
    }
}
