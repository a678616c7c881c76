//! TCP options: what is offered, what is agreed on, and what stands in each segment.

use halfopen_core::SimTime;
use halfopen_fabric::packet::{TcpOptions, TcpSegment};

use super::connection::Connection;

/// Bytes of the timestamp option, padded.
pub(super) const TIMESTAMP_BYTES: u32 = 12;
/// Bytes of TCP header without options.
const TCP_HEADER: u32 = 20;
/// SACK blocks that fit beside timestamps, and without them.
const SACK_BLOCKS_WITH_TIMESTAMPS: usize = 3;
const SACK_BLOCKS_MAX: usize = 4;
/// Largest window scale that is obeyed (RFC 7323, 2.3).
const WINDOW_SCALE_MAX: u8 = 14;
/// PAWS: a timestamp older than this (24 days) says nothing.
const PAWS_EXPIRY_SECONDS: u64 = 24 * 24 * 3600;

impl Connection {
    /// The timestamp clock: milliseconds, shifted for this connection.
    pub(super) fn clock(&self, now: SimTime) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.endpoint.timestamp_offset)
    }

    /// The MSS that we advertise: what the path is known to take (Linux ipv4_default_advmss), or less if the program
    /// wants.
    pub(super) fn advertised_mss(
        endpoint: &super::Endpoint,
        sysctls: &crate::sysctl::Sysctls,
        user: Option<u16>,
    ) -> u32 {
        let ip_header = halfopen_fabric::packet::ip_header_len(endpoint.remote.ip()) as u32;
        let mss = endpoint.path_mtu.saturating_sub(ip_header + TCP_HEADER);
        let mss = mss.max(sysctls.min_adv_mss).min(u32::from(u16::MAX));
        user.filter(|&user| user > 0).map_or(mss, |user| mss.min(u32::from(user)))
    }

    /// Options of our SYN.
    pub(super) fn syn_options(&self, now: SimTime) -> TcpOptions {
        TcpOptions {
            mss: Some(self.own_mss()),
            window_scale: self.sysctls.tcp_window_scaling.then_some(self.rcv.scale),
            sack_permitted: self.sysctls.tcp_sack,
            timestamps: self.sysctls.tcp_timestamps.then(|| (self.clock(now), self.echo())),
            ..TcpOptions::default()
        }
    }

    /// Options of a SYN-ACK: what the SYN offered and we want.
    pub(super) fn syn_ack_options(&self, now: SimTime, peer_scales: bool) -> TcpOptions {
        TcpOptions {
            mss: Some(self.own_mss()),
            window_scale: (peer_scales && self.sysctls.tcp_window_scaling).then_some(self.rcv.scale),
            sack_permitted: self.agreed.sack,
            timestamps: self.agreed.timestamps.then(|| (self.clock(now), self.echo())),
            ..TcpOptions::default()
        }
    }

    fn own_mss(&self) -> u16 {
        Connection::advertised_mss(&self.endpoint, &self.sysctls, self.options.max_segment) as u16
    }

    fn echo(&self) -> u32 {
        self.agreed.ts_recent.map_or(0, |(value, _)| value)
    }

    /// Options of any other segment.
    pub(super) fn segment_options(&mut self, now: SimTime) -> TcpOptions {
        let timestamps = self.agreed.timestamps.then(|| (self.clock(now), self.echo()));
        let mut options = TcpOptions { timestamps, ..TcpOptions::default() };
        let room = if timestamps.is_some() { SACK_BLOCKS_WITH_TIMESTAMPS } else { SACK_BLOCKS_MAX };
        let duplicate = self.rcv.duplicate.take();
        if self.agreed.sack {
            let held = self.rcv.reassembly.blocks().iter().copied();
            for (slot, (from, to)) in options.sack.iter_mut().zip(duplicate.into_iter().chain(held)).take(room) {
                *slot = (self.rcv.space.wire(from), self.rcv.space.wire(to));
                options.sack_count += 1;
            }
        }
        options
    }

    /// Payload of a full segment now: SACK blocks make it smaller (Linux tcp_current_mss).
    pub(super) fn current_mss(&self) -> usize {
        let room = if self.agreed.timestamps { SACK_BLOCKS_WITH_TIMESTAMPS } else { SACK_BLOCKS_MAX };
        let blocks = usize::from(self.rcv.duplicate.is_some()) + self.rcv.reassembly.blocks().len();
        let sack_bytes = match blocks.min(room) {
            0 => 0,
            n if self.agreed.sack => 4 + 8 * n,
            _ => 0,
        };
        (self.size.mss as usize).saturating_sub(sack_bytes).max(1)
    }

    /// Settles what both sides offered in their SYNs.
    pub(super) fn agree(&mut self, now: SimTime, syn: &TcpSegment) {
        let theirs = &syn.options;
        let scaling = self.sysctls.tcp_window_scaling && theirs.window_scale.is_some();
        self.agreed.send_scale = if scaling { theirs.window_scale.unwrap_or(0).min(WINDOW_SCALE_MAX) } else { 0 };
        if !scaling {
            self.rcv.stop_scaling();
        }
        self.agreed.sack = self.sysctls.tcp_sack && theirs.sack_permitted;
        self.agreed.timestamps = self.sysctls.tcp_timestamps && theirs.timestamps.is_some();
        self.agreed.ts_recent = theirs.timestamps.filter(|_| self.agreed.timestamps).map(|(value, _)| (value, now));
        if self.agreed.timestamps {
            self.rcv.advertised_mss -= TIMESTAMP_BYTES;
        }
        let peer_mss = u32::from(theirs.mss.unwrap_or(super::pmtu::MSS_DEFAULT as u16));
        let user_mss = u32::from(self.options.max_segment.filter(|&mss| mss > 0).unwrap_or(u16::MAX));
        let option_bytes = if self.agreed.timestamps { TIMESTAMP_BYTES } else { 0 };
        self.size.establish(now, peer_mss.min(user_mss), option_bytes, self.snd.max_window);
        self.rcv.peer_mss = self.rcv.peer_mss.min(self.size.mss.max(1));
    }

    /// PAWS: whether this segment's timestamp is older than what the peer sent before (RFC 7323, 5.3).
    pub(super) fn is_old_by_timestamp(&self, now: SimTime, segment: &TcpSegment) -> bool {
        let (Some((value, _)), Some((recent, at))) = (segment.options.timestamps, self.agreed.ts_recent) else {
            return false;
        };
        let behind = recent.wrapping_sub(value) as i32;
        let fresh = now.since(at) < halfopen_core::SimDuration::from_secs(PAWS_EXPIRY_SECONDS);
        self.agreed.timestamps && behind > 1 && fresh
    }

    /// Remembers the peer's timestamp to echo, if the segment is not beyond what we acknowledged.
    pub(super) fn note_timestamp(&mut self, now: SimTime, segment: &TcpSegment, start: u64) {
        let Some((value, _)) = segment.options.timestamps.filter(|_| self.agreed.timestamps) else { return };
        let newer = self.agreed.ts_recent.is_none_or(|(recent, _)| recent.wrapping_sub(value) as i32 <= 0);
        if start <= self.rcv.wup && newer {
            self.agreed.ts_recent = Some((value, now));
        }
    }

    /// The echoed timestamp of a segment, if both sides use timestamps.
    pub(super) fn echoed(&self, segment: &TcpSegment) -> Option<u32> {
        segment.options.timestamps.filter(|_| self.agreed.timestamps).map(|(_, echo)| echo)
    }
}
