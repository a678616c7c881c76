//! How a network is described: routes of elements between groups of hosts, and what each element does.
//!
//! Plain values: nothing is checked here. [`Fabric::new`](crate::fabric::Fabric::new) checks, and says what is wrong
//! with a [`ConfigError`].

use std::fmt;
use std::net::IpAddr;

use halfopen_core::{HostId, Ratio, SimDuration};

/// The whole network between the hosts of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FabricConfig {
    /// The seed of the run: every random stream of the network comes from it.
    pub seed: u64,
    /// The link between two hosts for whom no route is given. Each pair has one of its own.
    pub default_link: LinkConfig,
    /// The routes. A pair of hosts lies on at most one.
    pub routes: Vec<RouteConfig>,
}

/// What lies between two groups of hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteConfig {
    /// Every host of the first group reaches every host of the second through the same elements. From first to second
    /// is [`Direction::Forward`](halfopen_core::event::Direction::Forward). Hosts within a group do not use the route
    /// among themselves.
    pub between: (Vec<HostId>, Vec<HostId>),
    /// The elements, from the first group's end to the second's. If no link is among them, one like
    /// [`FabricConfig::default_link`] follows the last.
    pub via: Vec<ElementConfig>,
}

/// One element of a route: one physical box or line, shared by all pairs of the route's hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementConfig {
    /// Its name. Elements of the same name on several routes are one and the same, and must be configured alike.
    pub name: Option<String>,
    /// What it is.
    pub kind: ElementKind,
}

/// What an element is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // A handful in a run.
pub enum ElementKind {
    /// A line: latency, loss, bandwidth, MTU.
    Link(LinkConfig),
    /// A source NAT.
    Nat(NatConfig),
    /// A stateful firewall, or any box that keeps a table of flows without translating them.
    Firewall(FirewallConfig),
}

/// A line between two boxes, the same in both directions; each direction has a queue and random streams of its own.
///
/// Packets in one direction arrive in the order in which they entered, whatever the jitter (netem lets jitter reorder;
/// a real line does not); only [`LinkConfig::reorder`] makes packets overtake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    /// One-way latency.
    pub latency: Delay,
    /// The latency of each packet moves by up to this much either way, uniformly (netem's jitter without a
    /// distribution). The sum is never negative.
    pub jitter: SimDuration,
    /// Share of packets lost, each on its own.
    pub loss: Ratio,
    /// Loss in bursts, besides `loss`.
    pub burst: Option<GilbertElliott>,
    /// Share of packets that arrive twice.
    pub duplicate: Ratio,
    /// Packets held back, so that later ones overtake them.
    pub reorder: Reorder,
    /// Share of packets in which bits flip: the receiver's checksum fails.
    pub corrupt: Ratio,
    /// Bits per second; `None`: without limit, and then nothing ever queues.
    pub bandwidth: Option<u64>,
    /// How much may wait (or be under way into the line) when bandwidth is limited; what comes on top is dropped.
    pub queue: QueueLimit,
    /// Largest packet in bytes, IP header included.
    pub mtu: u32,
    /// Whether the routers of this line send, and let through, ICMP errors.
    pub icmp: IcmpPolicy,
    /// Rewrites the MSS option of SYNs that pass.
    pub clamp_mss: ClampMss,
}

/// The latency that a link has when nothing is said about it.
pub const DEFAULT_LATENCY: SimDuration = SimDuration::from_millis(1);
/// The MTU that a link has when nothing is said about it: Ethernet's (RFC 894).
pub const DEFAULT_MTU: u32 = 1500;
/// The smallest MTU a link may have: what every IPv4 module must be able to forward (RFC 791, section 3.2).
pub const MTU_MIN: u32 = 68;
/// The largest MTU a link may have: an IP packet counts its bytes in 16 bits.
pub const MTU_MAX: u32 = 65_535;
/// How many packets wait at most when nothing is said: `pfifo`'s and netem's default limit (tc-netem(8)).
pub const DEFAULT_QUEUE_PACKETS: u32 = 1_000;

impl Default for LinkConfig {
    /// 1 ms, no loss, no limit of bandwidth, MTU 1500.
    fn default() -> LinkConfig {
        LinkConfig {
            latency: Delay::Fixed(DEFAULT_LATENCY),
            jitter: SimDuration::ZERO,
            loss: Ratio::ZERO,
            burst: None,
            duplicate: Ratio::ZERO,
            reorder: Reorder::default(),
            corrupt: Ratio::ZERO,
            bandwidth: None,
            queue: QueueLimit::Packets(DEFAULT_QUEUE_PACKETS),
            mtu: DEFAULT_MTU,
            icmp: IcmpPolicy::Allowed,
            clamp_mss: ClampMss::Off,
        }
    }
}

/// A latency, or a distribution of latencies.
///
/// Distributions are turned into tables of integers before the run begins (as netem does); a packet's latency is looked
/// up there, and no floating point stands between the seed and the packet. The tails end at the table's ends: 1 in
/// [`DELAY_TABLE_LEN`](crate::delay::DELAY_TABLE_LEN).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Delay {
    /// Always the same.
    Fixed(SimDuration),
    /// Anything between the two, all alike.
    Uniform { min: SimDuration, max: SimDuration },
    /// The normal distribution, cut off at zero.
    Normal { mean: SimDuration, deviation: SimDuration },
    /// The log-normal distribution with this mean and standard deviation.
    LogNormal { mean: SimDuration, deviation: SimDuration },
    /// The Pareto distribution (type I) with this mean and standard deviation: a heavy tail.
    Pareto { mean: SimDuration, deviation: SimDuration },
}

/// Loss in bursts: a line that is either good or bad, and changes by chance at each packet (Gilbert-Elliott; netem's
/// `loss gemodel`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GilbertElliott {
    /// Chance, at each packet, that a good line turns bad.
    pub to_bad: Ratio,
    /// Chance, at each packet, that a bad line turns good: bursts last 1 / `to_good` packets on average.
    pub to_good: Ratio,
    /// Share lost while bad.
    pub loss_bad: Ratio,
    /// Share lost while good.
    pub loss_good: Ratio,
}

/// Packets that are overtaken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reorder {
    /// Share of packets held back.
    pub share: Ratio,
    /// For how long: packets that enter within this time overtake them.
    pub by: SimDuration,
}

/// How much may wait at a link with limited bandwidth. A packet that finds the queue empty is always taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueLimit {
    /// This many bytes (netem's and tbf's `limit`).
    Bytes(u64),
    /// This many packets (`pfifo`'s limit).
    Packets(u32),
}

/// What happens to ICMP errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpPolicy {
    /// They are sent and carried, as they should be.
    Allowed,
    /// None is sent and none is carried: a packet too large vanishes without a word (a path-MTU black hole).
    Blocked,
}

/// Rewriting of the MSS option in SYNs, both ways (iptables' TCPMSS target).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClampMss {
    /// None.
    Off,
    /// To what the link's MTU allows (`--clamp-mss-to-pmtu`); never upwards.
    ToMtu,
    /// To this many bytes (`--set-mss`); never upwards.
    To(u16),
}

/// One of the two ends of a route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// The first-named group of hosts.
    First,
    /// The second-named group.
    Second,
}

/// A source NAT: sources of packets from the inner side become its own address, and what answers to that is
/// translated back.
///
/// Mapping and filtering go by address and port of the remote (RFC 4787 calls both "address and port-dependent"; Linux
/// does so): one external port serves many flows, as long as their remotes differ. Packets that come from the outer
/// side and are not addressed to the NAT are dropped: the inner addresses are private.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatConfig {
    /// Its external addresses, at most one hundred; flows of one inner address keep to one of them while it has ports
    /// free. Packets of a family (IPv4, IPv6) of which there is no address here pass untranslated.
    pub addresses: Vec<IpAddr>,
    /// On which side the private addresses are.
    pub inner: Side,
    /// Which ports it gives.
    pub ports: PortPolicy,
    /// How it keeps track of flows.
    pub tracking: Tracking,
}

/// Which external ports a NAT gives to flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortPolicy {
    /// Keep the inner port if it is free (and within the range); else, or if it is taken, one at random.
    pub keep: bool,
    /// The lowest port it gives.
    pub first: u16,
    /// The highest port it gives.
    pub last: u16,
}

impl Default for PortPolicy {
    /// Linux masquerading: the port is kept, and replaced by one from 1024 to 65535 if it is taken.
    fn default() -> PortPolicy {
        PortPolicy { keep: true, first: 1024, last: 65_535 }
    }
}

/// A box that keeps a table of flows and lets pass what belongs to one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirewallConfig {
    /// Which side may begin a flow.
    pub opens: Opens,
    /// How it keeps track of flows.
    pub tracking: Tracking,
}

/// From which side of a firewall a flow may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opens {
    /// From the first-named group only.
    First,
    /// From the second-named group only.
    Second,
    /// From both: the box only forgets.
    Both,
}

/// How a middlebox keeps track of flows: what NATs and firewalls have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracking {
    /// How long an entry lives without a packet, by protocol and state.
    pub timeouts: Timeouts,
    /// Which packets count as a sign of life.
    pub refresh: Refresh,
    /// What the box does at the moment at which an entry expires.
    pub on_expiry: OnExpiry,
    /// What becomes of a TCP packet in mid-stream (no SYN) for which there is no entry, from a side that may begin
    /// flows. A box that has forgotten a flow cannot tell it from one that never was.
    pub late: LatePacket,
    /// What becomes of any packet for which there is no entry, from a side that may not begin flows.
    pub stray: StrayPacket,
    /// Most entries at one time; a flow that would be one more is dropped.
    pub table_size: u32,
}

/// The most entries a table may have; also what a box has when nothing is said (Linux: `nf_conntrack_max` on a machine
/// with some memory).
pub const TABLE_SIZE_MAX: u32 = 262_144;

impl Default for Tracking {
    /// As Linux's nf_conntrack does it: flows are picked up in mid-stream, and the box's own stack answers strays.
    fn default() -> Tracking {
        Tracking {
            timeouts: Timeouts::LINUX,
            refresh: Refresh::Both,
            on_expiry: OnExpiry::Silent,
            late: LatePacket::PickUp,
            stray: StrayPacket::Reset,
            table_size: TABLE_SIZE_MAX,
        }
    }
}

/// How long an entry lives without a packet. The names are those of Linux's `nf_conntrack_*_timeout*` sysctls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// A SYN was seen.
    pub tcp_syn_sent: SimDuration,
    /// A SYN-ACK was seen.
    pub tcp_syn_recv: SimDuration,
    /// The handshake is complete.
    pub tcp_established: SimDuration,
    /// One FIN was seen.
    pub tcp_fin_wait: SimDuration,
    /// The FIN was acknowledged; the other side still sends.
    pub tcp_close_wait: SimDuration,
    /// Both FINs were seen.
    pub tcp_last_ack: SimDuration,
    /// Both FINs were acknowledged.
    pub tcp_time_wait: SimDuration,
    /// An RST was seen.
    pub tcp_close: SimDuration,
    /// Upper limit while the same segment has come three times in a row, or the window is closed.
    pub tcp_max_retrans: SimDuration,
    /// Upper limit while data is not acknowledged, or a flow picked up in mid-stream was not answered.
    pub tcp_unacknowledged: SimDuration,
    /// UDP without an answer so far.
    pub udp: SimDuration,
    /// UDP with packets both ways.
    pub udp_stream: SimDuration,
    /// ICMP echo.
    pub icmp: SimDuration,
}

impl Timeouts {
    /// The defaults of Linux (net/netfilter/nf_conntrack_proto_{tcp,udp,icmp}.c; sysctl net.netfilter).
    pub const LINUX: Timeouts = Timeouts {
        tcp_syn_sent: SimDuration::from_secs(120),
        tcp_syn_recv: SimDuration::from_secs(60),
        tcp_established: SimDuration::from_secs(432_000),
        tcp_fin_wait: SimDuration::from_secs(120),
        tcp_close_wait: SimDuration::from_secs(60),
        tcp_last_ack: SimDuration::from_secs(30),
        tcp_time_wait: SimDuration::from_secs(120),
        tcp_close: SimDuration::from_secs(10),
        tcp_max_retrans: SimDuration::from_secs(300),
        tcp_unacknowledged: SimDuration::from_secs(300),
        udp: SimDuration::from_secs(30),
        udp_stream: SimDuration::from_secs(120),
        icmp: SimDuration::from_secs(30),
    };
}

/// Which packets keep an entry alive (RFC 4787, REQ-6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresh {
    /// Those of both directions.
    Both,
    /// Only those from the inner side (a firewall's inner side is the first).
    Outbound,
    /// Only those from the outer side.
    Inbound,
}

/// What a box does when a TCP entry expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExpiry {
    /// Nothing: neither end hears of it.
    Silent,
    /// RST to the inner end (a firewall's inner side is the first).
    ResetInner,
    /// RST to both ends.
    ResetBoth,
}

/// What a box does with a TCP packet in mid-stream of which it knows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatePacket {
    /// Drops it.
    Drop,
    /// Drops it and answers with an RST to its sender.
    Reset,
    /// Makes an entry as if the flow had always been there (conntrack's `nf_conntrack_tcp_loose=1`); the port is kept
    /// where [`PortPolicy::keep`] says so and it is free, and then the connection survives.
    PickUp,
    /// Makes an entry, but with a new port: the remote knows no such connection. A firewall has no ports to change;
    /// there it is the same as [`LatePacket::PickUp`].
    Remap,
    /// Lets it pass as it is, with the private source address (Linux with `nf_conntrack_tcp_loose=0` and no rule that
    /// drops INVALID packets).
    ForwardUntranslated,
}

/// What a box does with a packet that nobody on the other side has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StrayPacket {
    /// Drops it.
    Drop,
    /// Drops it and answers: RST for TCP, ICMP port unreachable for UDP, as a box's own stack does when it takes the
    /// packet for its own.
    Reset,
}

/// What is wrong with a [`FabricConfig`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ConfigError {
    /// A group of hosts is empty.
    EmptyGroup { route: usize },
    /// A host stands on both sides of a route.
    HostOnBothSides { route: usize, host: HostId },
    /// Two routes lead from one host to another.
    TwoRoutes { first: usize, second: usize, pair: (HostId, HostId) },
    /// Two elements have one name but differ.
    NamesClash { name: String },
    /// One element comes twice on one route.
    ElementTwice { route: usize, name: String },
    /// An element has a setting out of range; `what` is the setting and its range.
    OutOfRange { route: Option<usize>, element: usize, what: &'static str },
    /// Two boxes have one address.
    AddressTaken { address: IpAddr },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::EmptyGroup { route } => write!(f, "route {route}: a group of hosts is empty"),
            ConfigError::HostOnBothSides { route, host } => write!(f, "route {route}: {host} stands on both sides"),
            ConfigError::TwoRoutes { first, second, pair: (a, b) } => {
                write!(f, "routes {first} and {second} both lead from {a} to {b}")
            }
            ConfigError::NamesClash { name } => write!(f, "two elements are named `{name}` but are not alike"),
            ConfigError::ElementTwice { route, name } => write!(f, "route {route}: element `{name}` comes twice"),
            ConfigError::OutOfRange { route: Some(route), element, what } => {
                write!(f, "route {route}, element {element}: {what}")
            }
            ConfigError::OutOfRange { route: None, what, .. } => write!(f, "default link: {what}"),
            ConfigError::AddressTaken { address } => write!(f, "two boxes have the address {address}"),
        }
    }
}

impl std::error::Error for ConfigError {}
