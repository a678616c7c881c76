//! Who holds which local port of one protocol, and the order in which free ones are tried.

use std::collections::BTreeMap;

use halfopen_core::Index;

use super::flows::FlowId;
use crate::socket::SocketId;
use crate::sysctl::Sysctls;

/// What holds a port: a bound socket, or a connection (which may outlive its socket, or come before it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Holder {
    Socket(SocketId),
    Flow(FlowId),
}

/// How a holder came by its port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// `bind`, or `listen` without it: `connect` never picks this port for others.
    Bound,
    /// `connect` picked it: others may share it, towards other destinations.
    Picked,
}

#[derive(Debug, Default)]
struct Bucket {
    holders: BTreeMap<Holder, Claim>,
    bound: usize,
}

/// The ports of one protocol that are in use.
#[derive(Debug, Default)]
pub(super) struct Ports {
    in_use: Index<u16, Bucket>,
}

impl Ports {
    pub fn hold(&mut self, port: u16, holder: Holder, claim: Claim) {
        let bucket = self.in_use.get_or_insert_with(port, Bucket::default);
        bucket.bound += usize::from(claim == Claim::Bound);
        assert_eq!(bucket.holders.insert(holder, claim), None, "{holder:?} holds port {port} already");
    }

    pub fn release(&mut self, port: u16, holder: Holder) {
        let bucket = self.in_use.get_mut(&port).expect("a port that is released was held");
        let claim = bucket.holders.remove(&holder).expect("a holder releases what it held");
        bucket.bound -= usize::from(claim == Claim::Bound);
        if bucket.holders.is_empty() {
            self.in_use.remove(&port);
        }
    }

    /// All that hold this port.
    pub fn holders(&self, port: u16) -> impl Iterator<Item = Holder> {
        self.in_use.get(&port).into_iter().flat_map(|bucket| bucket.holders.keys().copied())
    }

    /// Whether `connect` may pick this port: nobody bound it (Linux `__inet_hash_connect`).
    pub fn may_be_picked(&self, port: u16) -> bool {
        self.in_use.get(&port).is_none_or(|bucket| bucket.bound == 0)
    }

    pub fn clear(&mut self) {
        self.in_use.clear();
    }
}

/// A span of ports: `count` from `low` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PortSpan {
    low: u32,
    count: u32,
}

impl PortSpan {
    /// The ephemeral ports, of an even number as Linux has it; empty if the sysctl is nonsense.
    pub fn ephemeral(sysctls: &Sysctls) -> PortSpan {
        let [low, high] = sysctls.ip_local_port_range;
        PortSpan::between(low.max(1), high.min(65_535) + 1)
    }

    fn between(low: u32, end: u32) -> PortSpan {
        let count = end.saturating_sub(low);
        PortSpan { low, count: if count > 1 { count & !1 } else { count } }
    }

    /// The lower half (and then the upper one): where Linux looks first for a reusable address.
    pub fn halves(self) -> [PortSpan; 2] {
        let half = self.low + ((self.count >> 2) << 1);
        [PortSpan::between(self.low, half), PortSpan::between(half, self.low + self.count)]
    }

    /// Every port once, from `start` on (counted from the lowest) and round: UDP has no preference for parity.
    pub fn rotate(self, start: u32) -> impl Iterator<Item = u16> {
        let PortSpan { low, count } = self;
        (0..count).map(move |step| {
            let port = low + (u64::from(start) + u64::from(step)).rem_euclid(u64::from(count)) as u32;
            u16::try_from(port).expect("a span ends at 65535")
        })
    }

    pub const fn len(self) -> u32 {
        self.count
    }

    /// Every port once: from `start` on (counted from the lowest, modulo the span) in steps of two, round to where it
    /// began, then those of the other parity. `connect` starts even, `bind` starts odd, so that they keep out of each
    /// other's way (Linux `__inet_hash_connect`, `inet_csk_find_open_port`).
    pub fn scan(self, start: u32) -> impl Iterator<Item = u16> {
        let PortSpan { low, count } = self;
        (0..count).map(move |step| {
            let parity_flip = u32::from(step >= count.div_ceil(2));
            let offset = u64::from(start ^ parity_flip) + 2 * u64::from(step % count.div_ceil(2));
            let port = low + (offset % u64::from(count)) as u32;
            u16::try_from(port).expect("a span ends at 65535")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_meets_every_port_once_and_one_parity_first() {
        for (low, high, start) in [(40_000, 40_009, 4), (40_000, 40_009, 7), (32_768, 60_999, 28_231), (1, 1, 0)] {
            let span = PortSpan::ephemeral(&Sysctls { ip_local_port_range: [low, high], ..Sysctls::default() });
            let ports: Vec<u16> = span.scan(start).collect();
            let mut sorted = ports.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (low as u16..=high as u16).collect::<Vec<_>>());
            let half = ports.len() / 2;
            assert!(ports[..half].windows(2).all(|pair| pair[0] % 2 == pair[1] % 2));
        }
    }

    #[test]
    fn a_span_that_is_upside_down_is_empty() {
        let span = PortSpan::ephemeral(&Sysctls { ip_local_port_range: [9, 8], ..Sysctls::default() });
        assert_eq!(span.scan(0).count(), 0);
    }
}
