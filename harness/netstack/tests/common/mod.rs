//! Two stacks joined by a wire that a test scripts.
#![allow(dead_code)] // Each test crate uses its own part of this.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::TcpFlags;
use halfopen_core::{Errno, Event, HostId, SimDuration, SimTime, Stream};
use halfopen_fabric::packet::{Body, IcmpError, IcmpMessage, Packet, Quoted, SeqNum};
use halfopen_netstack::socket::{Family, Kind, SocketId};
use halfopen_netstack::stack::{Received, StackConfig};
use halfopen_netstack::{Netstack, Readiness, Sysctls};

/// One of the two hosts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    A,
    B,
}

use Side::{A, B};

impl Side {
    pub fn other(self) -> Side {
        match self {
            A => B,
            B => A,
        }
    }
}

/// What the wire does with a packet.
#[derive(Clone, PartialEq, Debug)]
pub enum Fate {
    Pass,
    Drop,
    /// It arrives this much later than others.
    Delay(SimDuration),
    /// It arrives, and so does a copy, this much later.
    Twice(SimDuration),
    /// It is lost, and this comes back to its sender.
    Answer(Packet),
}

type Rule = Box<dyn FnMut(Side, &Packet) -> Fate>;

/// Two hosts and the wire between them.
pub struct Net {
    pub now: SimTime,
    stacks: [Netstack; 2],
    one_way: SimDuration,
    rule: Rule,
    in_flight: BTreeMap<(SimTime, u64), (Side, Packet)>,
    sequence: u64,
    /// Every packet that a host sent, as text.
    pub trace: Vec<String>,
    /// Every event of either host.
    pub events: Vec<(Side, Event)>,
    /// Every socket that was woken since the test last looked.
    pub woken: Vec<(Side, SocketId)>,
}

/// The addresses of both hosts: IPv4 and IPv6.
pub const A4: &str = "10.0.0.1";
pub const B4: &str = "10.0.0.2";
pub const A6: &str = "fd00::1";
pub const B6: &str = "fd00::2";

/// A span of milliseconds.
pub const fn ms(n: u64) -> SimDuration {
    SimDuration::from_millis(n)
}

/// An address and port from its text.
pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no address"))
}

/// A stack with these addresses.
pub fn stack(index: u32, addresses: &[&str], sysctls: Sysctls, seed: u64) -> Netstack {
    Netstack::new(StackConfig {
        host: HostId::new(index),
        addresses: addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect(),
        interface_mtu: 1500,
        sysctls,
        random: Stream::new(seed, "netstack", u64::from(index)),
    })
}

impl Net {
    /// Two hosts with default settings, 1 ms apart.
    pub fn new() -> Net {
        Net::with(Sysctls::default(), Sysctls::default())
    }

    pub fn with(a: Sysctls, b: Sysctls) -> Net {
        Net {
            now: SimTime::ZERO,
            stacks: [stack(0, &[A4, A6], a, 1), stack(1, &[B4, B6], b, 1)],
            one_way: ms(1),
            rule: Box::new(|_, _| Fate::Pass),
            in_flight: BTreeMap::new(),
            sequence: 0,
            trace: Vec::new(),
            events: Vec::new(),
            woken: Vec::new(),
        }
    }

    /// Latency one way.
    pub fn set_latency(&mut self, one_way: SimDuration) {
        self.one_way = one_way;
    }

    /// From now on the wire asks this about every packet.
    pub fn on_wire(&mut self, rule: impl FnMut(Side, &Packet) -> Fate + 'static) {
        self.rule = Box::new(rule);
    }

    pub fn stack(&mut self, side: Side) -> &mut Netstack {
        &mut self.stacks[side as usize]
    }

    /// Hands a packet to a host as if it came from the wire.
    pub fn inject(&mut self, to: Side, packet: Packet) {
        let now = self.now;
        self.stack(to).on_packet(now, packet);
        self.drain();
    }

    /// Collects what both stacks have to say now.
    pub fn drain(&mut self) {
        for side in [A, B] {
            while let Some(packet) = self.stacks[side as usize].poll_transmit(self.now) {
                let packet = *packet;
                self.trace.push(describe(self.now, &packet));
                match (self.rule)(side, &packet) {
                    Fate::Pass => self.put_on_wire(side.other(), packet, SimDuration::ZERO),
                    Fate::Drop => {}
                    Fate::Delay(more) => self.put_on_wire(side.other(), packet, more),
                    Fate::Twice(more) => {
                        self.put_on_wire(side.other(), packet.clone(), SimDuration::ZERO);
                        self.put_on_wire(side.other(), packet, more);
                    }
                    Fate::Answer(answer) => self.put_on_wire(side, answer, SimDuration::ZERO),
                }
            }
            while let Some(event) = self.stacks[side as usize].poll_event() {
                self.events.push((side, event));
            }
            while let Some(socket) = self.stacks[side as usize].poll_wakeup() {
                self.woken.push((side, socket));
            }
        }
    }

    fn put_on_wire(&mut self, to: Side, packet: Packet, more: SimDuration) {
        self.sequence += 1;
        self.in_flight.insert((self.now + self.one_way + more, self.sequence), (to, packet));
    }

    /// Lets this much time pass.
    pub fn run(&mut self, span: SimDuration) {
        let end = self.now + span;
        self.drain();
        while let Some(next) = self.next_instant()
            && next <= end
        {
            self.now = self.now.max(next);
            while let Some(entry) = self.in_flight.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, packet) = entry.remove();
                self.stacks[to as usize].on_packet(self.now, packet);
            }
            for stack in &mut self.stacks {
                if stack.next_deadline().is_some_and(|deadline| deadline <= self.now) {
                    stack.on_timer(self.now);
                }
            }
            self.drain();
        }
        self.now = end;
    }

    fn next_instant(&mut self) -> Option<SimTime> {
        let wire = self.in_flight.keys().next().map(|&(at, _)| at);
        self.stacks.iter_mut().filter_map(Netstack::next_deadline).chain(wire).min()
    }

    // ---- the program's calls, at the present time ----

    pub fn tcp(&mut self, side: Side) -> SocketId {
        self.stack(side).socket(Family::V4, Kind::Tcp).unwrap()
    }

    pub fn tcp6(&mut self, side: Side) -> SocketId {
        self.stack(side).socket(Family::V6, Kind::Tcp).unwrap()
    }

    pub fn udp(&mut self, side: Side) -> SocketId {
        self.stack(side).socket(Family::V4, Kind::Udp).unwrap()
    }

    pub fn udp6(&mut self, side: Side) -> SocketId {
        self.stack(side).socket(Family::V6, Kind::Udp).unwrap()
    }

    pub fn bind(&mut self, side: Side, socket: SocketId, to: &str) -> Result<(), Errno> {
        let now = self.now;
        self.stack(side).bind(now, socket, at(to))
    }

    pub fn listen(&mut self, side: Side, socket: SocketId, backlog: i32) -> Result<(), Errno> {
        let now = self.now;
        self.stack(side).listen(now, socket, backlog)
    }

    pub fn connect(&mut self, side: Side, socket: SocketId, to: &str) -> Result<(), Errno> {
        let now = self.now;
        let result = self.stack(side).connect(now, socket, Some(at(to)));
        self.drain();
        result
    }

    pub fn accept(&mut self, side: Side, socket: SocketId) -> Result<(SocketId, SocketAddr), Errno> {
        let now = self.now;
        self.stack(side).accept(now, socket)
    }

    pub fn send(&mut self, side: Side, socket: SocketId, data: &[u8]) -> Result<usize, Errno> {
        let now = self.now;
        let result = self.stack(side).send(now, socket, data, None);
        self.drain();
        result
    }

    pub fn send_to(&mut self, side: Side, socket: SocketId, data: &[u8], to: &str) -> Result<usize, Errno> {
        let now = self.now;
        let result = self.stack(side).send(now, socket, data, Some(at(to)));
        self.drain();
        result
    }

    /// Receives up to 64 KiB.
    pub fn recv(&mut self, side: Side, socket: SocketId) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; 1 << 16];
        let received = self.recv_into(side, socket, &mut buffer, false)?;
        buffer.truncate(received.len);
        Ok(buffer)
    }

    pub fn recv_into(
        &mut self,
        side: Side,
        socket: SocketId,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<Received, Errno> {
        let now = self.now;
        let result = self.stack(side).recv(now, socket, buffer, peek);
        self.drain();
        result
    }

    pub fn close(&mut self, side: Side, socket: SocketId) {
        let now = self.now;
        self.stack(side).close(now, socket);
        self.drain();
    }

    pub fn ready(&mut self, side: Side, socket: SocketId) -> String {
        bits(self.stack(side).readiness(socket))
    }

    /// A listener on this address.
    pub fn listener(&mut self, side: Side, address: &str, backlog: i32) -> SocketId {
        let socket = if at(address).is_ipv4() { self.tcp(side) } else { self.tcp6(side) };
        self.bind(side, socket, address).unwrap();
        self.listen(side, socket, backlog).unwrap();
        socket
    }

    /// A socket that has begun to connect.
    pub fn connecting(&mut self, side: Side, address: &str) -> SocketId {
        let socket = if at(address).is_ipv4() { self.tcp(side) } else { self.tcp6(side) };
        assert_eq!(self.connect(side, socket, address), Err(Errno::EINPROGRESS));
        socket
    }

    /// What was sent since the last call, and forgets it.
    pub fn take_trace(&mut self) -> String {
        std::mem::take(&mut self.trace).join("\n")
    }

    /// The errors of a host's events, by name of the event.
    pub fn count(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| of(event)).count()
    }
}

/// Readiness as poll's names.
pub fn bits(readiness: Readiness) -> String {
    let names = [
        (Readiness::IN, "IN"),
        (Readiness::OUT, "OUT"),
        (Readiness::ERR, "ERR"),
        (Readiness::HUP, "HUP"),
        (Readiness::RDHUP, "RDHUP"),
    ];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| readiness.contains(*bit)).map(|(_, name)| *name).collect();
    if set.is_empty() { "-".to_owned() } else { set.join("|") }
}

/// The ICMP error that a router would send back about this packet.
pub fn about(packet: &Packet, error: IcmpError) -> Packet {
    let info = packet.info();
    let quoted = Quoted {
        src: info.src,
        dst: info.dst,
        protocol: info.protocol,
        seq: SeqNum(info.seq),
        total_len: info.size as u16,
    };
    let router = if packet.src.is_ipv4() { "10.0.0.9" } else { "fd00::9" };
    Packet {
        src: router.parse().unwrap(),
        dst: packet.src,
        ttl: 64,
        id: 0,
        dont_fragment: false,
        ecn: 0,
        body: Body::Icmp(IcmpMessage::Error { error, quoted }),
        corrupt: false,
    }
}

struct Flags(TcpFlags);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (flag, letter) in [
            (TcpFlags::SYN, 'S'),
            (TcpFlags::FIN, 'F'),
            (TcpFlags::RST, 'R'),
            (TcpFlags::PSH, 'P'),
            (TcpFlags::ACK, 'A'),
        ] {
            if self.0.has(flag) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// A packet on one line, in the manner of tcpdump. Ephemeral ports are written `*`.
pub fn describe(now: SimTime, packet: &Packet) -> String {
    let info = packet.info();
    let end = |end: SocketAddr| match end.port() {
        0 => end.ip().to_string(),
        32_768.. => format!("{}:*", end.ip()),
        _ => end.to_string(),
    };
    let what = match &packet.body {
        Body::Tcp(segment) => format!("[{}] len {}", Flags(segment.flags), segment.payload.len()),
        Body::Udp(datagram) => format!("udp {}", datagram.payload.len()),
        Body::Icmp(IcmpMessage::EchoRequest { .. }) => "echo request".to_owned(),
        Body::Icmp(IcmpMessage::EchoReply { .. }) => "echo reply".to_owned(),
        Body::Icmp(IcmpMessage::Error { error, .. }) => format!("icmp {error:?}"),
        Body::Fragment(piece) => format!("fragment {}+{}", piece.offset, piece.data.len()),
    };
    let dont_fragment = if packet.dont_fragment { " DF" } else { "" };
    format!(
        "{}.{:03} {} > {} {what}{dont_fragment}",
        now.as_millis() / 1000,
        now.as_millis() % 1000,
        end(info.src),
        end(info.dst)
    )
}
