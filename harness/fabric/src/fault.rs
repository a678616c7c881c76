//! Faults of the network, which a timeline applies and lifts.
//!
//! A fault is a value: what is hit ([`Scope`]) and what happens there ([`FaultKind`]). Each has random streams of its
//! own, so that one more fault moves no other fault's luck and no link's.

use halfopen_core::event::Direction;
use halfopen_core::id::RouteId;
use halfopen_core::{HostId, Ratio, SimDuration};

use crate::config::{Delay, IcmpPolicy};

/// A fault of the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetFault {
    /// What is hit.
    pub scope: Scope,
    /// What happens there.
    pub kind: FaultKind,
}

/// Which packets and boxes a fault hits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Where.
    pub target: Target,
    /// Only packets going this way; `None`: both ways. For [`Target::Pairs`], `Forward` is from the first-named group
    /// to the second; else it is the route's own. Has no meaning for faults of boxes (`Nat…`) and for
    /// [`Target::Everything`].
    pub direction: Option<Direction>,
}

/// Where a fault strikes.
///
/// A fault of the line strikes a packet once on its way: at the first link that it meets (so that the link's books
/// show it), or at the link that is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The whole network.
    Everything,
    /// All that goes between a host of the first group and a host of the second, whichever way it takes. A host behind
    /// a NAT counts as itself.
    Pairs(Vec<HostId>, Vec<HostId>),
    /// One route; they are numbered as in [`FabricConfig::routes`](crate::config::FabricConfig::routes).
    Route(RouteId),
    /// The element of this name. One that there is not, or of another kind than the fault is made for, is not hit.
    Element(String),
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum FaultKind {
    /// This share of the packets is lost (`blip`, `partition` and `loss`), each on its own.
    Loss { share: Ratio },
    /// This much more latency.
    Latency { add: Delay },
    /// No more than this many bits per second.
    Bandwidth { bits_per_second: u64 },
    /// This share of the packets arrives twice.
    Duplicate { share: Ratio },
    /// This share of the packets is held back by so long, and overtaken.
    Reorder { share: Ratio, by: SimDuration },
    /// Bits flip in this share of the packets.
    Corrupt { share: Ratio },
    /// Larger packets no longer fit. `icmp` says whether the sender is told. Never less than
    /// [`MTU_MIN`](crate::config::MTU_MIN).
    Mtu { mtu: u32, icmp: IcmpPolicy },
    /// A router knows no way on, or forbids it: every packet is dropped, and its sender told so at once with this code
    /// of ICMP "destination unreachable" (RFC 792, RFC 1812 section 5.2.7: 0 network, 1 host, 13 prohibited, ...), for
    /// IPv6 with the one of the same meaning ([`IcmpError::Unreachable`](crate::packet::IcmpError::Unreachable)).
    Unreachable { code: u8 },
    /// The path changes: nothing passes for `gap`, then everything takes `latency` (where it took a link's own
    /// before). Packets under way stay on the old path, and may be overtaken.
    RouteChange { latency: Delay, gap: SimDuration },
    /// The `flows` entries that were idle longest are forgotten, at once.
    NatEvict { flows: u32 },
    /// All entries are forgotten, at once.
    NatFlush,
    /// All entries are forgotten, and nothing passes the box until the fault is lifted.
    NatReboot,
    /// No new entries until the fault is lifted.
    NatFull,
}
