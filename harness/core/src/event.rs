//! The vocabulary of the event log: everything that can happen in a run.
//!
//! Every room reports through one [`EventSink`]; verdicts, metrics, reports and captures are views of what it saw.
//! Strings here name things of the scenario (hosts, faults, ops); anything in a packet is in [`PacketInfo`].

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::errno::Errno;
use crate::id::{ElementId, FaultId, HostId, OpId, RouteId};
use crate::time::{SimDuration, SimTime};

/// Where events go. The kernel owns one for each run and stamps every event with virtual time.
pub trait EventSink: Send {
    /// Takes one event. Events come in the order in which they happen; `at` never goes back.
    fn event(&mut self, at: SimTime, event: &Event);

    /// Whether it can take no more: the run may as well end. Only an event changes that.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether [`EventSink::packet`] wants the bytes of packets (for a capture). Asked for every packet.
    fn wants_packets(&self) -> bool {
        false
    }

    /// One packet as it passes a host's interface, whole, from the IP header on. Only called where
    /// [`EventSink::wants_packets`] says so.
    fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        let _ = (at, host, bytes);
    }
}

/// A sink that forgets everything.
impl EventSink for () {
    fn event(&mut self, _: SimTime, _: &Event) {}
}

/// The transport protocol of a packet or a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// TCP control bits, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push: hand the data to the reader at once.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement number counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits and those of `other`.
    pub const fn with(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

/// What the log keeps of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PacketInfo {
    /// Source address and port (port 0 where there is none).
    pub src: SocketAddr,
    /// Destination address and port (port 0 where there is none).
    pub dst: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Bytes on the wire from the IP header on.
    pub size: u32,
    /// TCP only: control bits.
    pub flags: TcpFlags,
    /// TCP only: sequence number.
    pub seq: u32,
    /// TCP only: acknowledgement number.
    pub ack: u32,
    /// Bytes of payload.
    pub payload: u32,
}

/// Why a packet went no further. Each has a counter; there is no silent drop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DropReason {
    /// Independent random loss of a link.
    Loss,
    /// Burst (Gilbert-Elliott) loss of a link.
    BurstLoss,
    /// A `blip`, `partition` or `loss` fault.
    Fault,
    /// The link's queue was full.
    QueueFull,
    /// Larger than the link's MTU with DF set, and an ICMP error went back.
    TooBig,
    /// Larger than the link's MTU with DF set, and ICMP is blocked: a black hole.
    TooBigSilent,
    /// An ICMP error that a link with `icmp: blocked` refuses to carry.
    IcmpBlocked,
    /// A NAT has no entry for it.
    NatNoEntry,
    /// A NAT has no free port or no room in its table.
    NatFull,
    /// A NAT that refuses new flows for a while (`nat.full`).
    NatRefusing,
    /// A firewall has no entry for it.
    FirewallNoEntry,
    /// The time to live ran out.
    TtlExpired,
    /// No route leads to the address.
    NoRoute,
    /// The host is crashed or not yet started.
    HostDown,
    /// The receiver found a wrong checksum (the packet was corrupted on the way).
    BadChecksum,
    /// A fragment whose other fragments never came.
    ReassemblyTimeout,
    /// The route was changed under it (`route` fault with a gap).
    RouteChange,
}

impl DropReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [DropReason; 17] = [
        DropReason::Loss,
        DropReason::BurstLoss,
        DropReason::Fault,
        DropReason::QueueFull,
        DropReason::TooBig,
        DropReason::TooBigSilent,
        DropReason::IcmpBlocked,
        DropReason::NatNoEntry,
        DropReason::NatFull,
        DropReason::NatRefusing,
        DropReason::FirewallNoEntry,
        DropReason::TtlExpired,
        DropReason::NoRoute,
        DropReason::HostDown,
        DropReason::BadChecksum,
        DropReason::ReassemblyTimeout,
        DropReason::RouteChange,
    ];

    /// The name in metrics (`packets.dropped.<name>`) and reports.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Loss => "loss",
            DropReason::BurstLoss => "burst-loss",
            DropReason::Fault => "fault",
            DropReason::QueueFull => "queue-full",
            DropReason::TooBig => "too-big",
            DropReason::TooBigSilent => "too-big-silent",
            DropReason::IcmpBlocked => "icmp-blocked",
            DropReason::NatNoEntry => "nat-no-entry",
            DropReason::NatFull => "nat-full",
            DropReason::NatRefusing => "nat-refusing",
            DropReason::FirewallNoEntry => "firewall-no-entry",
            DropReason::TtlExpired => "ttl-expired",
            DropReason::NoRoute => "no-route",
            DropReason::HostDown => "host-down",
            DropReason::BadChecksum => "bad-checksum",
            DropReason::ReassemblyTimeout => "reassembly-timeout",
            DropReason::RouteChange => "route-change",
        }
    }
}

/// Which way along a route: from the first-named group of hosts to the second, or back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Direction {
    Forward,
    Backward,
}

impl Direction {
    /// The other way.
    pub const fn reverse(self) -> Direction {
        match self {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        }
    }
}

/// The books of one direction of one link at the end of a run:
/// offered + duplicated = delivered + dropped (by reason) + in flight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct LinkBooks {
    pub offered: u64,
    pub duplicated: u64,
    pub delivered: u64,
    /// By reason, in the order of [`DropReason::ALL`]; absent where zero.
    pub dropped: Vec<(DropReason, u64)>,
    pub in_flight: u64,
}

impl LinkBooks {
    /// Whether the books balance. If they don't, halfopen itself has failed.
    pub fn balance(&self) -> bool {
        let dropped: u64 = self.dropped.iter().map(|(_, count)| count).sum();
        self.offered + self.duplicated == self.delivered + dropped + self.in_flight
    }
}

/// The states of a TCP connection (RFC 9293, section 3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum TcpState {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// What made a segment go out a second time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RetransmitKind {
    /// A SYN or SYN-ACK that was not answered.
    Handshake,
    /// The retransmission timer.
    Timeout,
    /// Fast retransmit (duplicate ACKs, SACK, RACK).
    Fast,
    /// A tail loss probe.
    TailLossProbe,
    /// A smaller copy after path-MTU discovery.
    PathMtu,
}

/// A TCP probe that carries no new data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum ProbeKind {
    Keepalive,
    ZeroWindow,
}

/// How an op ended. The kinds are told apart, always (they are the `errors.<kind>` metrics).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum OpErrorKind {
    ConnectTimeout,
    TlsTimeout,
    ReadTimeout,
    PoolTimeout,
    Deadline,
    Refused,
    Reset,
    Unreachable,
    Dns,
    Protocol,
    /// A breaker or limiter turned the op away before any attempt.
    Rejected,
    /// The upstream answered with an error (HTTP 5xx, SQL error).
    Upstream,
    Other,
}

impl OpErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [OpErrorKind; 13] = [
        OpErrorKind::ConnectTimeout,
        OpErrorKind::TlsTimeout,
        OpErrorKind::ReadTimeout,
        OpErrorKind::PoolTimeout,
        OpErrorKind::Deadline,
        OpErrorKind::Refused,
        OpErrorKind::Reset,
        OpErrorKind::Unreachable,
        OpErrorKind::Dns,
        OpErrorKind::Protocol,
        OpErrorKind::Rejected,
        OpErrorKind::Upstream,
        OpErrorKind::Other,
    ];

    /// The name in metrics: `errors.<name>`.
    pub const fn name(self) -> &'static str {
        match self {
            OpErrorKind::ConnectTimeout => "connect-timeout",
            OpErrorKind::TlsTimeout => "tls-timeout",
            OpErrorKind::ReadTimeout => "read-timeout",
            OpErrorKind::PoolTimeout => "pool-timeout",
            OpErrorKind::Deadline => "deadline",
            OpErrorKind::Refused => "refused",
            OpErrorKind::Reset => "reset",
            OpErrorKind::Unreachable => "unreachable",
            OpErrorKind::Dns => "dns",
            OpErrorKind::Protocol => "protocol",
            OpErrorKind::Rejected => "rejected",
            OpErrorKind::Upstream => "upstream",
            OpErrorKind::Other => "other",
        }
    }
}

/// The result of an op as its workload reported it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum OpOutcome {
    Ok,
    Failed {
        kind: OpErrorKind,
        message: String,
    },
    /// The client gave up without telling anybody (an upload script that dies before it logs).
    FailedSilently,
}

/// Why a NAT or firewall entry went away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EvictReason {
    /// It was idle for longer than its timeout.
    Idle,
    /// The connection closed and its closing timeout passed.
    Closed,
    /// A `nat.evict` fault.
    Evicted,
    /// A `nat.flush` or `nat.reboot` fault.
    Flushed,
}

/// Where an answer to a name came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum DnsSource {
    Server,
    StubCache,
    HostsFile,
    Literal,
}

/// Something that happened. Field names are the documentation where they say all there is to say.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Event {
    // ---- the network ----
    /// A host's stack handed a packet to the network.
    PacketSent { host: HostId, packet: PacketInfo },
    /// The network handed a packet to a host's stack.
    PacketDelivered { host: HostId, packet: PacketInfo },
    /// A packet went no further. `element` is where; `None` between elements and at hosts.
    PacketDropped { element: Option<ElementId>, direction: Option<Direction>, reason: DropReason, packet: PacketInfo },
    /// A link made a second copy.
    PacketDuplicated { element: ElementId, packet: PacketInfo },
    /// A link changed bits; the receiver's checksum will show it.
    PacketCorrupted { element: ElementId, packet: PacketInfo },
    /// A NAT made an entry: `inner` is now seen outside as `outer`.
    NatCreated { element: ElementId, protocol: Protocol, inner: SocketAddr, outer: SocketAddr, remote: SocketAddr },
    /// A NAT or firewall forgot an entry. `idle` is how long nothing had passed.
    NatEvicted {
        element: ElementId,
        protocol: Protocol,
        inner: SocketAddr,
        outer: SocketAddr,
        remote: SocketAddr,
        reason: EvictReason,
        idle: SimDuration,
    },
    /// The end of a run: the books of one direction of one link.
    LinkClosed { element: ElementId, route: RouteId, direction: Direction, books: LinkBooks },

    // ---- inside a host ----
    /// A TCP connection changed state. `local` and `remote` are as this host sees them.
    TcpStateChanged { host: HostId, local: SocketAddr, remote: SocketAddr, from: TcpState, to: TcpState },
    /// A segment went out again.
    TcpRetransmit { host: HostId, local: SocketAddr, remote: SocketAddr, kind: RetransmitKind, seq: u32, payload: u32 },
    /// A probe went out.
    TcpProbe { host: HostId, local: SocketAddr, remote: SocketAddr, kind: ProbeKind },
    /// A connection ended with an error that its program will see (or would, if it looked).
    TcpFailed { host: HostId, local: SocketAddr, remote: SocketAddr, errno: Errno },
    /// Path-MTU discovery learned a smaller MTU.
    PathMtu { host: HostId, remote: IpAddr, mtu: u32 },
    /// A host began to listen.
    Listening { host: HostId, local: SocketAddr },
    /// A connection waited in vain for room in a full accept queue.
    ListenOverflow { host: HostId, local: SocketAddr },
    /// `getaddrinfo` or the like ended: with addresses, or with the reason why not.
    NameResolved {
        host: HostId,
        name: String,
        addresses: Vec<IpAddr>,
        source: DnsSource,
        took: SimDuration,
        error: Option<&'static str>,
    },
    /// A system call that halfopen does not support was refused with this errno.
    Unsupported { host: HostId, call: Cow<'static, str>, errno: Errno },
    /// A host's main began to run (again: `restart`).
    HostStarted { host: HostId, restart: bool },
    /// A host stopped for ever. `power_loss` tells a silent death from a killed process.
    HostCrashed { host: HostId, power_loss: bool },
    /// A host is not scheduled from now on.
    HostPaused { host: HostId },
    /// A paused host runs again.
    HostResumed { host: HostId },
    /// A host's main returned; `error` is what it returned, if it failed.
    HostExited { host: HostId, error: Option<String> },
    /// A thread of a host panicked; `main` if it was the host's main.
    HostPanicked { host: HostId, main: bool, message: String },
    /// A line of a log (`tracing`).
    Log { host: HostId, level: &'static str, target: String, message: String },

    // ---- the scenario ----
    /// A host of the scenario and its addresses: sent once for each, before anything else.
    HostDeclared { host: HostId, name: String, addresses: Vec<IpAddr>, upstream: bool },
    /// A DNS record of the zone, now and after each change. `addresses` is empty where the name was removed.
    DnsRecord { name: String, addresses: Vec<IpAddr>, ttl: SimDuration },
    /// A server on the simulated network answered (or refused) a question: `code` is NOERROR, SERVFAIL, ...
    DnsAnswered { host: HostId, name: String, code: &'static str },
    /// A phase of the load began. `None` is idling; the number counts from 0.
    LoadPhase { index: u32, op: Option<String> },
    /// A fault of the timeline began.
    FaultStarted { fault: FaultId, name: String },
    /// A fault of the timeline ended.
    FaultEnded { fault: FaultId, name: String },

    // ---- what workloads tell ----
    /// An op began.
    OpStarted { host: HostId, op: OpId, name: String, deadline: Option<SimDuration> },
    /// An op ended.
    OpFinished { host: HostId, op: OpId, outcome: OpOutcome },
    /// A request reached an upstream. `op` where the request says which op it serves.
    AttemptStarted { host: HostId, attempt: u64, op: Option<OpId> },
    /// The upstream is done with a request: `ok` if it answered with success.
    AttemptFinished { host: HostId, attempt: u64, ok: bool },
    /// The upstream did (committed, stored) what the op asked for. Twice for one op is a duplicate.
    Effect { host: HostId, op: OpId },
    /// A gauge changed: `pool.in_use`, `pool.idle`, `pool.waiting`, `pool.size`, `breaker.open`, `transfer.progress`.
    Gauge { host: HostId, name: Cow<'static, str>, value: i64 },
    /// Somebody waited this long for a pool.
    PoolWait { host: HostId, waited: SimDuration },

    /// The run is over.
    RunEnded { reason: EndReason },
}

/// Why a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum EndReason {
    /// All load was offered and every client's main returned.
    Done,
    /// The scenario's `time_limit`.
    TimeLimit,
    /// Nobody can ever run again: who waits for what, a line each.
    Deadlock { waiting: Vec<String> },
    /// A host's main panicked, or a program asked the process to exit: the run is an error.
    Aborted { message: String },
    /// A named limit of halfopen was reached (steps in one instant, events in a log).
    Limit { message: String },
}
