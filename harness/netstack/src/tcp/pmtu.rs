//! Segment sizes: the MSS, the path MTU that ICMP tells, and packetization-layer discovery for paths that tell nothing.
//!
//! Names follow Linux (`tcp_sync_mss`, `tcp_mtu_probing`); what they do is in the fidelity family mtu.

use halfopen_core::{SimDuration, SimTime};

/// Smallest segment size that is ever used (Linux tcp_min_snd_mss).
const MSS_FLOOR: u32 = 48;
/// A peer that sends no MSS option takes this (RFC 9293, Linux TCP_MSS_DEFAULT).
pub(super) const MSS_DEFAULT: u32 = 536;
const TCP_HEADER: u32 = 20;

/// An upward probe in flight: the MTU it tries, and where its data ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    pub mtu: u32,
    pub start: u64,
    pub end: u64,
}

/// What is known about sizes on this path.
#[derive(Clone, Debug)]
pub(super) struct SegmentSize {
    ip_header: u32,
    /// Bytes of options in every segment (timestamps).
    option_bytes: u32,
    /// The peer's MSS option, and the program's TCP_MAXSEG.
    pub clamp: u32,
    /// The path MTU in use.
    pub path_mtu: u32,
    /// Payload of a full segment now.
    pub mss: u32,
    /// Packetization-layer discovery is on.
    pub probing: bool,
    pub search_low: u32,
    pub search_high: u32,
    pub probe: Option<Probe>,
    pub searched_at: SimTime,
    base_mss: u32,
    floor_mss: u32,
    pub threshold: u32,
    pub interval: SimDuration,
}

impl SegmentSize {
    pub fn new(ip_header: u32, path_mtu: u32, sysctls: &crate::sysctl::Sysctls) -> SegmentSize {
        let mut size = SegmentSize {
            ip_header,
            option_bytes: 0,
            clamp: MSS_DEFAULT,
            path_mtu,
            mss: MSS_DEFAULT,
            probing: false,
            search_low: 0,
            search_high: 0,
            probe: None,
            searched_at: SimTime::ZERO,
            base_mss: sysctls.tcp_base_mss,
            floor_mss: sysctls.tcp_mtu_probe_floor.max(MSS_FLOOR),
            threshold: sysctls.tcp_probe_threshold,
            interval: sysctls.tcp_probe_interval,
        };
        size.sync(path_mtu, 0);
        size
    }

    /// The handshake is over: what both sides can take is known.
    pub fn establish(&mut self, now: SimTime, clamp: u32, option_bytes: u32, max_window: u64) {
        self.clamp = clamp.max(MSS_FLOOR);
        self.option_bytes = option_bytes;
        self.search_high = self.clamp + TCP_HEADER + self.ip_header;
        self.search_low = self.mtu_of(self.base_mss);
        self.searched_at = now;
        self.sync(self.path_mtu, max_window);
    }

    /// The packet size of a segment with this much payload.
    pub fn mtu_of(&self, mss: u32) -> u32 {
        mss + self.option_bytes + TCP_HEADER + self.ip_header
    }

    /// The payload that fits a packet of this size.
    pub fn mss_of(&self, mtu: u32) -> u32 {
        let mss = mtu.saturating_sub(self.ip_header + TCP_HEADER).min(self.clamp).max(MSS_FLOOR);
        mss - self.option_bytes
    }

    /// Takes a path MTU and works out the segment size (Linux tcp_sync_mss). Never more than half the largest window
    /// that the peer ever offered.
    pub fn sync(&mut self, path_mtu: u32, max_window: u64) {
        self.search_high = self.search_high.min(path_mtu);
        self.path_mtu = path_mtu;
        let mut mss = self.mss_of(path_mtu);
        let half = if max_window > u64::from(MSS_DEFAULT) { max_window / 2 } else { max_window };
        if half > 0 {
            mss = mss.min(u32::try_from(half).unwrap_or(u32::MAX).max(MSS_FLOOR));
        }
        if self.probing {
            mss = mss.min(self.mss_of(self.search_low));
        }
        self.mss = mss.max(1);
    }

    /// Retransmissions go unanswered: maybe full packets vanish without an ICMP error (Linux tcp_mtu_probing).
    pub fn suspect_black_hole(&mut self, now: SimTime, max_window: u64) {
        if self.probing {
            let halved = self.mss_of(self.search_low) / 2;
            let mss = halved.min(self.base_mss).max(self.floor_mss);
            self.search_low = self.mtu_of(mss);
        } else {
            self.probing = true;
            self.searched_at = now;
        }
        self.sync(self.path_mtu, max_window);
    }

    /// The probe in flight arrived.
    pub fn probe_succeeded(&mut self, max_window: u64) {
        if let Some(probe) = self.probe.take() {
            self.search_low = probe.mtu;
            self.sync(self.path_mtu, max_window);
        }
    }

    /// The probe in flight was lost while its neighbours arrived.
    pub fn probe_failed(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.search_high = probe.mtu - 1;
        }
    }

    /// Payload of the next upward probe, if there is still something to learn.
    pub fn next_probe(&mut self, now: SimTime) -> Option<u32> {
        let size = self.mss_of((self.search_high + self.search_low) / 2);
        let done = size > self.mss_of(self.search_high)
            || self.search_high.saturating_sub(self.search_low) < self.threshold.max(1);
        if !done {
            return Some(size);
        }
        if now.since(self.searched_at) >= self.interval {
            self.search_high = self.clamp + TCP_HEADER + self.ip_header;
            self.search_low = self.mtu_of(self.mss);
            self.searched_at = now;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysctl::Sysctls;

    fn established(path_mtu: u32) -> SegmentSize {
        let mut size = SegmentSize::new(20, path_mtu, &Sysctls::default());
        size.establish(SimTime::ZERO, 1460, 12, 65_535);
        size
    }

    #[test]
    fn sizes_follow_the_path() {
        for (mtu, mss) in [(1500, 1448), (1400, 1348), (552, 500)] {
            assert_eq!(established(mtu).mss, mss, "MTU {mtu}");
        }
    }

    #[test]
    fn a_black_hole_is_searched_downwards() {
        let mut size = established(1500);
        let mut seen = Vec::new();
        for _ in 0..6 {
            size.suspect_black_hole(SimTime::ZERO, 65_535);
            seen.push(size.mss);
        }
        assert_eq!(seen, [1024, 512, 256, 128, 64, 48]);
    }

    #[test]
    fn the_upward_search_ends() {
        let mut size = established(1500);
        size.suspect_black_hole(SimTime::ZERO, 65_535);
        let mut tried = Vec::new();
        while let Some(mss) = size.next_probe(SimTime::ZERO) {
            tried.push(mss);
            size.probe = Some(Probe { mtu: size.mtu_of(mss), start: 0, end: 0 });
            if size.mtu_of(mss) <= 1400 { size.probe_succeeded(65_535) } else { size.probe_failed() }
        }
        assert!(size.mss > 1330 && size.mss <= 1348, "{} by {tried:?}", size.mss);
    }
}
