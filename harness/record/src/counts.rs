//! Plain counters: one set for each host and segment.

use halfopen_core::HostId;
use halfopen_core::event::{DropReason, EvictReason, OpErrorKind, ProbeKind, RetransmitKind};

use crate::phase::View;

const RETRANSMIT_KINDS: [(RetransmitKind, &str); 5] = [
    (RetransmitKind::Handshake, "handshake"),
    (RetransmitKind::Timeout, "timeout"),
    (RetransmitKind::Fast, "fast"),
    (RetransmitKind::TailLossProbe, "tail-loss-probe"),
    (RetransmitKind::PathMtu, "path-mtu"),
];
const PROBE_KINDS: [(ProbeKind, &str); 2] =
    [(ProbeKind::Keepalive, "keepalive"), (ProbeKind::ZeroWindow, "zero-window")];
/// Evictions that count as forgetting: the flow had not closed.
const FORGOTTEN: [EvictReason; 3] = [EvictReason::Idle, EvictReason::Evicted, EvictReason::Flushed];

/// What one host (or nobody in particular) counted in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    dropped: [u64; DropReason::ALL.len()],
    retransmits: [u64; RETRANSMIT_KINDS.len()],
    probes: [u64; PROBE_KINDS.len()],
    evicted: [u64; 4],
    pub(crate) connects: u64,
    pub(crate) established: u64,
    pub(crate) tcp_failed: u64,
    pub(crate) listen_overflows: u64,
    pub(crate) nat_created: u64,
    pub(crate) mtu_learned: u64,
    pub(crate) lookups: u64,
    pub(crate) lookup_failures: u64,
    pub(crate) crashed: u64,
    pub(crate) restarted: u64,
    pub(crate) panicked: u64,
    pub(crate) unsupported: u64,
}

impl Counts {
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub(crate) fn retransmit(&mut self, kind: RetransmitKind) {
        self.retransmits[kind as usize] += 1;
    }

    pub(crate) fn probe(&mut self, kind: ProbeKind) {
        self.probes[kind as usize] += 1;
    }

    pub(crate) fn evicted(&mut self, reason: EvictReason) {
        self.evicted[reason as usize] += 1;
    }

    /// The count behind a metric, if this module keeps it.
    pub(crate) fn get(&self, metric: &str) -> Option<u64> {
        let dropped = |reason: DropReason| self.dropped[reason as usize];
        let evicted = |reason: EvictReason| self.evicted[reason as usize];
        if let Some(name) = metric.strip_prefix("packets.dropped.") {
            return DropReason::ALL.into_iter().find(|reason| reason.name() == name).map(dropped);
        }
        if let Some(name) = metric.strip_prefix("tcp.retransmits.") {
            return RETRANSMIT_KINDS.iter().position(|(_, kind)| *kind == name).map(|kind| self.retransmits[kind]);
        }
        if let Some(name) = metric.strip_prefix("tcp.probes.") {
            return PROBE_KINDS.iter().position(|(_, kind)| *kind == name).map(|kind| self.probes[kind]);
        }
        Some(match metric {
            "packets.sent" => self.sent,
            "packets.delivered" => self.delivered,
            "packets.duplicated" => self.duplicated,
            "packets.corrupted" => self.corrupted,
            "packets.dropped" => self.dropped.iter().sum(),
            "mtu.dropped" => dropped(DropReason::TooBig) + dropped(DropReason::TooBigSilent),
            "mtu.learned" => self.mtu_learned,
            "tcp.retransmits" => self.retransmits.iter().sum(),
            "tcp.probes" => self.probes.iter().sum(),
            "tcp.connects" => self.connects,
            "tcp.established" => self.established,
            "tcp.failed" => self.tcp_failed,
            "tcp.listen_overflows" => self.listen_overflows,
            "nat.created" => self.nat_created,
            "nat.evicted" => FORGOTTEN.into_iter().map(evicted).sum(),
            "nat.evicted.idle" => evicted(EvictReason::Idle),
            "dns.lookups" => self.lookups,
            "dns.failures" => self.lookup_failures,
            "hosts.crashed" => self.crashed,
            "hosts.restarted" => self.restarted,
            "hosts.panicked" => self.panicked,
            "calls.unsupported" => self.unsupported,
            _ => return None,
        })
    }
}

/// Counters by segment and host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// By segment, then by host: index 0 is for what belongs to no host, index n + 1 for host n.
    by_segment: Vec<Vec<Counts>>,
}

impl Counters {
    pub(crate) fn of(&mut self, segment: usize, host: Option<HostId>) -> &mut Counts {
        let slot = host.map_or(0, |host| host.index() + 1);
        grow(grow(&mut self.by_segment, segment), slot)
    }

    /// The total over a view, if this module counts that metric.
    pub(crate) fn total(&self, metric: &str, view: &View) -> Option<u64> {
        Counts::default().get(metric)?;
        let wanted = |slot: usize| match &view.hosts {
            None => true,
            Some(hosts) => hosts.iter().any(|host| host.index() + 1 == slot),
        };
        let segments = self.by_segment.iter().enumerate().filter(|(segment, _)| view.has_segment(*segment));
        let counts = segments.flat_map(|(_, hosts)| hosts.iter().enumerate()).filter(|(slot, _)| wanted(*slot));
        Some(counts.filter_map(|(_, counts)| counts.get(metric)).sum())
    }
}

fn grow<T: Default + Clone>(items: &mut Vec<T>, index: usize) -> &mut T {
    if items.len() <= index {
        items.resize(index + 1, T::default());
    }
    &mut items[index]
}

/// The kind of error behind an `errors.<kind>` metric.
pub(crate) fn error_kind(metric: &str) -> Option<OpErrorKind> {
    let name = metric.strip_prefix("errors.")?;
    OpErrorKind::ALL.into_iter().find(|kind| kind.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_declaration() {
        for (index, (kind, _)) in RETRANSMIT_KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        for (index, (kind, _)) in PROBE_KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
