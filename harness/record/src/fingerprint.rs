//! The fingerprint of a run: xxh3 (64 bits) over a byte encoding of every event that is written out here by hand, so
//! that no derive and no reordering of a declaration changes it in silence. Whoever changes the encoding changes
//! [`VERSION`].
//!
//! An event is its time (8 bytes), its number and its fields in the order of their declaration. Integers are
//! little-endian; texts and lists come after their length (4 bytes); enumerations are their numbers below.
//! [`Event::Log`] is left out: what a log shows must not change what a run is.

use std::net::{IpAddr, SocketAddr};

use halfopen_core::event::{
    Direction, DnsSource, DropReason, EndReason, Event, EvictReason, OpErrorKind, OpOutcome, PacketInfo, ProbeKind,
    Protocol, RetransmitKind, TcpState,
};
use halfopen_core::id::{ElementId, FaultId};
use halfopen_core::{Errno, HostId, SimDuration, SimTime};
use xxhash_rust::xxh3::Xxh3;

/// The version of the encoding: the first bytes that are hashed.
pub const VERSION: &str = "halfopen-events/1";

/// Bytes of events that are gathered before they are hashed: long inputs cost less for each byte.
const CHUNK_BYTES: usize = 8 << 10;

/// A hash of events, as they come.
#[derive(Clone)]
pub struct Fingerprint {
    hash: Xxh3,
    /// What is not hashed yet.
    bytes: Encoding,
}

impl Fingerprint {
    /// Of no events.
    pub fn new() -> Fingerprint {
        let mut hash = Xxh3::new();
        hash.update(VERSION.as_bytes());
        Fingerprint { hash, bytes: Encoding(Vec::with_capacity(2 * CHUNK_BYTES)) }
    }

    /// Adds one event.
    pub fn update(&mut self, at: SimTime, event: &Event) {
        if matches!(event, Event::Log { .. }) {
            return;
        }
        self.bytes.u64(at.as_nanos());
        self.bytes.event(event);
        if self.bytes.0.len() >= CHUNK_BYTES {
            self.hash.update(&self.bytes.0);
            self.bytes.0.clear();
        }
    }

    /// The hash of all events so far.
    pub fn digest(&self) -> u64 {
        let mut hash = self.hash.clone();
        hash.update(&self.bytes.0);
        hash.digest()
    }
}

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint::new()
    }
}

#[derive(Clone)]
struct Encoding(Vec<u8>);

impl Encoding {
    fn u8(&mut self, value: u8) -> &mut Encoding {
        self.0.push(value);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Encoding {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Encoding {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn span(&mut self, span: SimDuration) -> &mut Encoding {
        self.u64(span.as_nanos())
    }

    fn text(&mut self, text: &str) -> &mut Encoding {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Encoding, &T)) -> &mut Encoding {
        self.u32(items.len() as u32);
        for item in items {
            each(self, item);
        }
        self
    }

    fn option<T>(&mut self, item: Option<T>, each: impl FnOnce(&mut Encoding, T)) -> &mut Encoding {
        self.u8(u8::from(item.is_some()));
        if let Some(item) = item {
            each(self, item);
        }
        self
    }

    fn host(&mut self, host: HostId) -> &mut Encoding {
        self.u32(host.index() as u32)
    }

    fn element(&mut self, element: ElementId) -> &mut Encoding {
        self.u32(element.index() as u32)
    }

    fn fault(&mut self, fault: FaultId) -> &mut Encoding {
        self.u32(fault.index() as u32)
    }

    fn ip(&mut self, ip: IpAddr) -> &mut Encoding {
        match ip {
            IpAddr::V4(ip) => self.u8(4).0.extend(ip.octets()),
            IpAddr::V6(ip) => self.u8(6).0.extend(ip.octets()),
        }
        self
    }

    fn address(&mut self, address: SocketAddr) -> &mut Encoding {
        self.ip(address.ip()).0.extend(address.port().to_le_bytes());
        self
    }

    fn errno(&mut self, errno: Errno) -> &mut Encoding {
        self.u32(errno.0.cast_unsigned())
    }

    fn packet(&mut self, packet: &PacketInfo) -> &mut Encoding {
        let PacketInfo { src, dst, protocol, size, flags, seq, ack, payload } = packet;
        // The bulk of all events: both addresses at once where they are IPv4, and the rest at once.
        match (src, dst) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                let mut both = [0; 14];
                for (place, end) in both.as_chunks_mut::<7>().0.iter_mut().zip([src, dst]) {
                    let ([a, b, c, d], [low, high]) = (end.ip().octets(), end.port().to_le_bytes());
                    *place = [4, a, b, c, d, low, high];
                }
                self.0.extend_from_slice(&both);
            }
            _ => _ = self.address(*src).address(*dst),
        }
        let mut rest = [0; 18];
        rest[0] = protocol_number(*protocol);
        rest[1..5].copy_from_slice(&size.to_le_bytes());
        rest[5] = flags.0;
        rest[6..10].copy_from_slice(&seq.to_le_bytes());
        rest[10..14].copy_from_slice(&ack.to_le_bytes());
        rest[14..18].copy_from_slice(&payload.to_le_bytes());
        self.0.extend_from_slice(&rest);
        self
    }

    /// The match names every event, so that a new one does not compile until it has its encoding.
    fn event(&mut self, event: &Event) {
        let before = self.0.len();
        match event {
            Event::PacketSent { .. }
            | Event::PacketDelivered { .. }
            | Event::PacketDropped { .. }
            | Event::PacketDuplicated { .. }
            | Event::PacketCorrupted { .. }
            | Event::NatCreated { .. }
            | Event::NatEvicted { .. }
            | Event::LinkClosed { .. } => self.network(event),
            Event::TcpStateChanged { .. }
            | Event::TcpRetransmit { .. }
            | Event::TcpProbe { .. }
            | Event::TcpFailed { .. }
            | Event::PathMtu { .. }
            | Event::Listening { .. }
            | Event::ListenOverflow { .. }
            | Event::NameResolved { .. }
            | Event::Unsupported { .. }
            | Event::HostStarted { .. }
            | Event::HostCrashed { .. }
            | Event::HostPaused { .. }
            | Event::HostResumed { .. }
            | Event::HostExited { .. }
            | Event::HostPanicked { .. } => self.inside(event),
            Event::HostDeclared { .. }
            | Event::DnsRecord { .. }
            | Event::DnsAnswered { .. }
            | Event::LoadPhase { .. }
            | Event::FaultStarted { .. }
            | Event::FaultEnded { .. }
            | Event::RunEnded { .. } => self.scenario(event),
            Event::OpStarted { .. }
            | Event::OpFinished { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptFinished { .. }
            | Event::Effect { .. }
            | Event::Gauge { .. }
            | Event::PoolWait { .. } => self.workload(event),
            Event::Log { .. } => return,
        }
        assert!(self.0.len() > before, "an event without an encoding");
    }

    fn network(&mut self, event: &Event) {
        match event {
            Event::PacketSent { host, packet } => self.u8(1).host(*host).packet(packet),
            Event::PacketDelivered { host, packet } => self.u8(2).host(*host).packet(packet),
            Event::PacketDropped { element, direction, reason, packet } => self
                .u8(3)
                .option(*element, |to, element| _ = to.element(element))
                .option(*direction, |to, direction| _ = to.u8(direction_number(direction)))
                .u8(drop_number(*reason))
                .packet(packet),
            Event::PacketDuplicated { element, packet } => self.u8(4).element(*element).packet(packet),
            Event::PacketCorrupted { element, packet } => self.u8(5).element(*element).packet(packet),
            Event::NatCreated { element, protocol, inner, outer, remote } => {
                self.u8(6).element(*element).u8(protocol_number(*protocol));
                self.address(*inner).address(*outer).address(*remote)
            }
            Event::NatEvicted { element, protocol, inner, outer, remote, reason, idle } => {
                self.u8(7).element(*element).u8(protocol_number(*protocol));
                self.address(*inner).address(*outer).address(*remote).u8(evict_number(*reason)).span(*idle)
            }
            Event::LinkClosed { element, route, direction, books } => {
                self.u8(8).element(*element).u32(route.index() as u32).u8(direction_number(*direction));
                self.u64(books.offered).u64(books.duplicated).u64(books.delivered).u64(books.in_flight);
                self.list(&books.dropped, |to, (reason, count)| _ = to.u8(drop_number(*reason)).u64(*count))
            }
            _ => self,
        };
    }

    fn inside(&mut self, event: &Event) {
        match event {
            Event::TcpStateChanged { host, local, remote, from, to } => {
                self.u8(20).host(*host).address(*local).address(*remote).u8(state_number(*from)).u8(state_number(*to))
            }
            Event::TcpRetransmit { host, local, remote, kind, seq, payload } => {
                self.u8(21).host(*host).address(*local).address(*remote);
                self.u8(retransmit_number(*kind)).u32(*seq).u32(*payload)
            }
            Event::TcpProbe { host, local, remote, kind } => {
                self.u8(22).host(*host).address(*local).address(*remote).u8(probe_number(*kind))
            }
            Event::TcpFailed { host, local, remote, errno } => {
                self.u8(23).host(*host).address(*local).address(*remote).errno(*errno)
            }
            Event::PathMtu { host, remote, mtu } => self.u8(24).host(*host).ip(*remote).u32(*mtu),
            Event::Listening { host, local } => self.u8(25).host(*host).address(*local),
            Event::ListenOverflow { host, local } => self.u8(26).host(*host).address(*local),
            Event::NameResolved { host, name, addresses, source, took, error } => {
                self.u8(27).host(*host).text(name).list(addresses, |to, ip| _ = to.ip(*ip));
                self.u8(source_number(*source)).span(*took).option(*error, |to, error| _ = to.text(error))
            }
            Event::Unsupported { host, call, errno } => self.u8(28).host(*host).text(call).errno(*errno),
            Event::HostStarted { host, restart } => self.u8(29).host(*host).u8(u8::from(*restart)),
            Event::HostCrashed { host, power_loss } => self.u8(30).host(*host).u8(u8::from(*power_loss)),
            Event::HostPaused { host } => self.u8(31).host(*host),
            Event::HostResumed { host } => self.u8(32).host(*host),
            Event::HostExited { host, error } => {
                self.u8(33).host(*host).option(error.as_deref(), |to, error| _ = to.text(error))
            }
            Event::HostPanicked { host, main, message } => self.u8(34).host(*host).u8(u8::from(*main)).text(message),
            _ => self,
        };
    }

    fn scenario(&mut self, event: &Event) {
        match event {
            Event::HostDeclared { host, name, addresses, upstream } => {
                self.u8(40).host(*host).text(name).list(addresses, |to, ip| _ = to.ip(*ip)).u8(u8::from(*upstream))
            }
            Event::DnsRecord { name, addresses, ttl } => {
                self.u8(41).text(name).list(addresses, |to, ip| _ = to.ip(*ip)).span(*ttl)
            }
            Event::DnsAnswered { host, name, code } => self.u8(42).host(*host).text(name).text(code),
            Event::LoadPhase { index, op } => self.u8(43).u32(*index).option(op.as_deref(), |to, op| _ = to.text(op)),
            Event::FaultStarted { fault, name } => self.u8(44).fault(*fault).text(name),
            Event::FaultEnded { fault, name } => self.u8(45).fault(*fault).text(name),
            Event::RunEnded { reason } => self.u8(80).end(reason),
            _ => self,
        };
    }

    fn workload(&mut self, event: &Event) {
        match event {
            Event::OpStarted { host, op, name, deadline } => {
                self.u8(60).host(*host).u64(op.0).text(name).option(*deadline, |to, span| _ = to.span(span))
            }
            Event::OpFinished { host, op, outcome } => self.u8(61).host(*host).u64(op.0).outcome(outcome),
            Event::AttemptStarted { host, attempt, op } => {
                self.u8(62).host(*host).u64(*attempt).option(*op, |to, op| _ = to.u64(op.0))
            }
            Event::AttemptFinished { host, attempt, ok } => self.u8(63).host(*host).u64(*attempt).u8(u8::from(*ok)),
            Event::Effect { host, op } => self.u8(64).host(*host).u64(op.0),
            Event::Gauge { host, name, value } => self.u8(65).host(*host).text(name).u64(value.cast_unsigned()),
            Event::PoolWait { host, waited } => self.u8(66).host(*host).span(*waited),
            _ => self,
        };
    }

    fn outcome(&mut self, outcome: &OpOutcome) -> &mut Encoding {
        match outcome {
            OpOutcome::Ok => self.u8(0),
            OpOutcome::Failed { kind, message } => self.u8(1).u8(error_number(*kind)).text(message),
            OpOutcome::FailedSilently => self.u8(2),
        }
    }

    fn end(&mut self, reason: &EndReason) -> &mut Encoding {
        match reason {
            EndReason::Done => self.u8(0),
            EndReason::TimeLimit => self.u8(1),
            EndReason::Deadlock { waiting } => self.u8(2).list(waiting, |to, line| _ = to.text(line)),
            EndReason::Aborted { message } => self.u8(3).text(message),
            EndReason::Limit { message } => self.u8(4).text(message),
        }
    }
}

fn protocol_number(protocol: Protocol) -> u8 {
    // The numbers of the IP header's protocol field (IANA).
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::Forward => 0,
        Direction::Backward => 1,
    }
}

fn drop_number(reason: DropReason) -> u8 {
    match reason {
        DropReason::Loss => 0,
        DropReason::BurstLoss => 1,
        DropReason::Fault => 2,
        DropReason::QueueFull => 3,
        DropReason::TooBig => 4,
        DropReason::TooBigSilent => 5,
        DropReason::IcmpBlocked => 6,
        DropReason::NatNoEntry => 7,
        DropReason::NatFull => 8,
        DropReason::NatRefusing => 9,
        DropReason::FirewallNoEntry => 10,
        DropReason::TtlExpired => 11,
        DropReason::NoRoute => 12,
        DropReason::HostDown => 13,
        DropReason::BadChecksum => 14,
        DropReason::ReassemblyTimeout => 15,
        DropReason::RouteChange => 16,
    }
}

fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::Closed => 0,
        TcpState::Listen => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::Established => 4,
        TcpState::FinWait1 => 5,
        TcpState::FinWait2 => 6,
        TcpState::CloseWait => 7,
        TcpState::Closing => 8,
        TcpState::LastAck => 9,
        TcpState::TimeWait => 10,
    }
}

fn retransmit_number(kind: RetransmitKind) -> u8 {
    match kind {
        RetransmitKind::Handshake => 0,
        RetransmitKind::Timeout => 1,
        RetransmitKind::Fast => 2,
        RetransmitKind::TailLossProbe => 3,
        RetransmitKind::PathMtu => 4,
    }
}

fn probe_number(kind: ProbeKind) -> u8 {
    match kind {
        ProbeKind::Keepalive => 0,
        ProbeKind::ZeroWindow => 1,
    }
}

fn error_number(kind: OpErrorKind) -> u8 {
    match kind {
        OpErrorKind::ConnectTimeout => 0,
        OpErrorKind::TlsTimeout => 1,
        OpErrorKind::ReadTimeout => 2,
        OpErrorKind::PoolTimeout => 3,
        OpErrorKind::Deadline => 4,
        OpErrorKind::Refused => 5,
        OpErrorKind::Reset => 6,
        OpErrorKind::Unreachable => 7,
        OpErrorKind::Dns => 8,
        OpErrorKind::Protocol => 9,
        OpErrorKind::Rejected => 10,
        OpErrorKind::Upstream => 11,
        OpErrorKind::Other => 12,
    }
}

fn evict_number(reason: EvictReason) -> u8 {
    match reason {
        EvictReason::Idle => 0,
        EvictReason::Closed => 1,
        EvictReason::Evicted => 2,
        EvictReason::Flushed => 3,
    }
}

fn source_number(source: DnsSource) -> u8 {
    match source {
        DnsSource::Server => 0,
        DnsSource::StubCache => 1,
        DnsSource::HostsFile => 2,
        DnsSource::Literal => 3,
    }
}
