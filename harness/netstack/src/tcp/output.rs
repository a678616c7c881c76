//! What is sent, and when: new data within both windows, Nagle, ACKs, and the shape of each segment.

use bytes::Bytes;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::congestion::INITIAL_WINDOW;
use super::connection::Connection;
use super::pmtu::{MSS_DEFAULT, Probe};
use super::sendbuf::{Sent, segments_of};
use super::timers::Purpose;
use crate::memory::{DESCRIPTOR, SENT_AROUND, SENT_HEADROOM};
use crate::socket::MtuDiscover;

/// Segments in the smallest bundle that is handed down at once (sysctl net.ipv4.tcp_min_tso_segs).
const BUNDLE_SEGMENTS_MIN: u32 = 2;
/// Bytes in the largest bundle (Linux sk_dst_gso_max_size: the legacy 64 KiB less MAX_TCP_HEADER and one).
const BUNDLE_BYTES_MAX: u64 = 65_536 - (SENT_HEADROOM + 1);
/// A bundle is about a millisecond's worth at the pacing rate (Linux sk_pacing_shift: 1/1024 s).
const PACING_SHIFT: u32 = 10;
/// The pacing rate in hundredths of a window per round trip, in slow start and after (sysctls tcp_pacing_ss_ratio and
/// tcp_pacing_ca_ratio).
const PACING_SLOW_START: u64 = 200;
const PACING_AVOIDANCE: u64 = 120;
/// On short paths bundles are larger: the most is halved for each 512 us of least RTT (sysctl tcp_tso_rtt_log).
const BUNDLE_RTT_SHIFT: u32 = 9;
/// Upward MTU probes need a window of at least this many segments (Linux tcp_mtu_probe).
const MTU_PROBE_CWND_MIN: u32 = 11;

/// Whether small segments wait for more (RFC 896).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nagle {
    /// A small segment waits while another small one is unacknowledged.
    On,
    /// Nothing waits.
    Off,
    /// TCP_CORK: small segments wait for company.
    Corked,
}

/// How much may be sent in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Burst {
    All,
    /// One bundle (Linux tcp_push_one).
    One,
    /// One segment, whatever the congestion window says: a tail loss probe.
    Probe,
}

/// What trying an upward MTU probe came to.
enum MtuProbe {
    None,
    /// One could go, but not now: wait for the window to drain.
    Wait,
    Sent,
}

impl Connection {
    pub(super) fn nagle(&self) -> Nagle {
        match (self.options.cork, self.options.no_delay) {
            (true, _) => Nagle::Corked,
            (false, true) => Nagle::Off,
            (false, false) => Nagle::On,
        }
    }

    /// Whether packets carry DF (Linux ip_dont_fragment; a path MTU at the floor is locked and clears it).
    pub(super) fn dont_fragment(&self) -> bool {
        match self.options.mtu_discover {
            MtuDiscover::Dont => false,
            MtuDiscover::Want => self.sysctls.ip_no_pmtu_disc == 0 && self.size.path_mtu > self.sysctls.min_pmtu,
            MtuDiscover::Do | MtuDiscover::Probe => true,
        }
    }

    /// Where the peer's window ends.
    pub(super) fn window_end(&self) -> u64 {
        self.snd.una + self.snd.wnd
    }

    /// Sends what both windows allow, and sees to it that a timer watches over the rest.
    pub(super) fn push(&mut self, now: SimTime, nagle: Nagle) {
        if matches!(self.state, TcpState::Closed | TcpState::SynSent | TcpState::SynReceived | TcpState::TimeWait) {
            return;
        }
        self.write(now, nagle, Burst::All);
        if self.queue.packets_out() == 0 && self.queue.has_unsent() && self.timers.armed().is_none() {
            let base = self.probe_base();
            self.timers.arm(Purpose::WindowProbe, now + base);
        }
    }

    /// Sends new data (Linux tcp_write_xmit). Says how many segments went out.
    pub(super) fn write(&mut self, now: SimTime, nagle: Nagle, burst: Burst) -> u32 {
        let mut sent = 0;
        if burst == Burst::All {
            match self.try_mtu_probe(now) {
                MtuProbe::None => {}
                MtuProbe::Wait => return 0,
                MtuProbe::Sent => sent = 1,
            }
        }
        let mss = self.current_mss();
        let bundle_max = self.bundle_segments_max(mss);
        let mut limited = false;
        while self.queue.has_unsent() {
            let mut quota = self.window_quota().min(bundle_max);
            if quota == 0 && burst == Burst::Probe {
                quota = 1;
            }
            if quota == 0 {
                limited = true;
                break;
            }
            let Some(len) = self.next_bundle(mss, quota, nagle) else { break };
            let fin = self.queue.fin_waiting && len == self.queue.unsent_len();
            self.send_new(now, len, mss, fin);
            let segments = segments_of(len, mss);
            if len < segments as usize * mss {
                self.snd.small_end = self.snd.nxt;
            }
            sent += segments;
            if burst != Burst::All {
                break;
            }
        }
        if sent > 0 {
            if self.recovery.is_reducing() {
                self.recovery.prr_out += sent;
            }
            if burst != Burst::Probe {
                self.schedule_loss_probe(now, false);
            }
        }
        limited |= self.queue.in_flight() >= self.congestion.cwnd;
        if sent > 0 || limited {
            self.validate_window(now, limited);
        }
        sent
    }

    /// How many segments the congestion window still takes; at most half of it at once (Linux tcp_cwnd_test).
    fn window_quota(&self) -> u32 {
        let cwnd = self.congestion.cwnd;
        cwnd.saturating_sub(self.queue.in_flight()).min((cwnd / 2).max(1))
    }

    /// How many segments make the largest bundle now: a millisecond's worth, more on a short path (Linux
    /// tcp_update_pacing_rate, tcp_tso_autosize).
    pub(super) fn bundle_segments_max(&self, mss: usize) -> u32 {
        let mut bytes = BUNDLE_BYTES_MAX;
        if self.rtt.has_sample() {
            let slow_start = self.congestion.cwnd < self.congestion.ssthresh / 2;
            let ratio = if slow_start { PACING_SLOW_START } else { PACING_AVOIDANCE };
            let window = u64::from(self.congestion.cwnd.max(self.queue.packets_out()));
            // Bytes a second; the RTT is in microseconds.
            let rate = u64::from(self.size.mss) * window * (1_000_000 / 100) * ratio / self.rtt.srtt().max(1);
            bytes = rate >> PACING_SHIFT;
            let shift = self.rtt.min_rtt().unwrap_or(u64::MAX) >> BUNDLE_RTT_SHIFT;
            if shift < u64::from(u32::BITS) {
                bytes += BUNDLE_BYTES_MAX >> shift;
            }
        }
        ((bytes.min(BUNDLE_BYTES_MAX) / mss as u64) as u32).max(BUNDLE_SEGMENTS_MIN)
    }

    /// Up to how many bytes a write fills a buffer (Linux tcp_xmit_size_goal): whole segments, at most half the largest
    /// window that the peer ever offered.
    pub(super) fn buffer_goal(&self, mss: usize) -> usize {
        let half = match self.snd.max_window {
            0 => BUNDLE_BYTES_MAX,
            window if window > u64::from(MSS_DEFAULT) => window / 2,
            window => window,
        };
        let most = BUNDLE_BYTES_MAX.min(half) as usize;
        (most / mss * mss).max(mss)
    }

    /// Payload of the next bundle of at most `quota` segments; `None` if it has to wait (Linux tcp_snd_wnd_test,
    /// tcp_nagle_test, tcp_mss_split_point).
    fn next_bundle(&mut self, mss: usize, quota: u32, nagle: Nagle) -> Option<usize> {
        let most = quota as usize * mss;
        self.queue.grow_first(most);
        let (first, more) = self.queue.first_unsent();
        let fin = self.queue.fin_waiting && !more;
        let window = self.window_end().saturating_sub(self.snd.nxt);
        let needed = if first > mss { mss as u64 } else { first as u64 + u64::from(fin) };
        if needed > window {
            return None;
        }
        if first <= mss {
            let waits = !more && !fin && first < mss && self.must_wait(nagle);
            return (!waits).then_some(first);
        }
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        if most <= window && more {
            return Some(most.min(first));
        }
        let needed = first.min(window);
        if most <= needed {
            return Some(most);
        }
        let partial = needed % mss;
        Some(if partial > 0 && self.must_wait(nagle) { needed - partial } else { needed })
    }

    fn must_wait(&self, nagle: Nagle) -> bool {
        match nagle {
            Nagle::Off => false,
            Nagle::Corked => true,
            Nagle::On => {
                let small_in_flight = self.snd.small_end > self.snd.una && self.snd.small_end <= self.snd.nxt;
                self.queue.packets_out() > 0 && small_in_flight
            }
        }
    }

    /// Sends the next `len` unsent bytes in segments of `mss`, the FIN with them if it is their turn.
    pub(super) fn send_new(&mut self, now: SimTime, len: usize, mss: usize, fin: bool) {
        let (payload, psh) = self.queue.take_unsent(len);
        let mut flags = TcpFlags::ACK;
        if psh {
            flags = flags.with(TcpFlags::PSH);
        }
        if fin {
            self.queue.fin_waiting = false;
            flags = flags.with(TcpFlags::FIN);
        }
        let was_idle = self.queue.packets_out() == 0;
        let start = self.snd.nxt;
        self.snd.nxt += len as u64 + u64::from(fin);
        self.queue.launch(now, start, payload, mss, flags);
        self.send_flight(now, self.queue.bundles() - 1);
        if was_idle || self.timers.armed() == Some(Purpose::LossProbe) {
            self.rearm_rto(now);
        }
    }

    /// Puts a bundle of the flight on the wire, segment by segment.
    pub(super) fn send_flight(&mut self, now: SimTime, index: usize) {
        let Sent { start, mut payload, mss, segments, syn, fin, psh, .. } =
            self.queue.get(index).expect("a bundle in flight").clone();
        if syn {
            return self.send_syn(now);
        }
        let has_data = !payload.is_empty();
        let mut at = start;
        for left in (0..segments).rev() {
            let part = if left > 0 { payload.split_to(mss) } else { std::mem::take(&mut payload) };
            let mut flags = TcpFlags::ACK;
            // Linux pushes the end of every bundle of several, so that the receiver hands it on at once.
            if left == 0 && (psh || segments > 1) {
                flags = flags.with(TcpFlags::PSH);
            }
            if left == 0 && fin {
                flags = flags.with(TcpFlags::FIN);
            }
            let len = part.len() as u64;
            let segment = self.segment(now, at, flags, part);
            self.post(segment);
            at += len;
        }
        self.on_ack_sent();
        if has_data {
            self.on_data_sent(now);
        }
    }

    fn send_syn(&mut self, now: SimTime) {
        let answering = self.state == TcpState::SynReceived;
        let (flags, options, ack) = if answering {
            let options = self.syn_ack_options(now, self.rcv.scale > 0 || self.agreed.send_scale > 0);
            (TcpFlags::SYN.with(TcpFlags::ACK), options, self.rcv.space.wire(self.rcv.nxt))
        } else {
            (TcpFlags::SYN, self.syn_options(now), halfopen_fabric::packet::SeqNum(0))
        };
        self.post(TcpSegment {
            src_port: self.endpoint.local.port(),
            dst_port: self.endpoint.remote.port(),
            seq: self.endpoint.iss,
            ack,
            flags,
            window: self.rcv.wnd.min(65_535) as u16,
            options,
            payload: Bytes::new(),
        });
    }

    /// Any segment but a SYN.
    pub(super) fn segment(&mut self, now: SimTime, start: u64, flags: TcpFlags, payload: Bytes) -> TcpSegment {
        let options = self.segment_options(now);
        self.leave_quick_mode_if_tight();
        TcpSegment {
            src_port: self.endpoint.local.port(),
            dst_port: self.endpoint.remote.port(),
            seq: self.snd.space.wire(start),
            ack: self.rcv.space.wire(self.rcv.nxt),
            flags,
            window: self.rcv.advertise(),
            options,
            payload,
        }
    }

    /// Where a segment without data stands: at the end of what was sent, but inside the window if the peer shrank it
    /// (Linux tcp_acceptable_seq).
    pub(super) fn acceptable_start(&self) -> u64 {
        let beyond = self.snd.nxt.saturating_sub(self.window_end());
        let tolerated = if self.rcv.scale > 0 { 1 << self.rcv.scale } else { 1 };
        if beyond < tolerated { self.snd.nxt } else { self.window_end() }
    }

    /// A bare ACK.
    pub(super) fn send_ack(&mut self, now: SimTime) {
        let segment = self.segment(now, self.acceptable_start(), TcpFlags::ACK, Bytes::new());
        self.post(segment);
        self.on_ack_sent();
    }

    /// A segment that the peer must answer: below its window, without data (Linux tcp_xmit_probe_skb).
    pub(super) fn send_probe(&mut self, now: SimTime) {
        let segment = self.segment(now, self.snd.una - 1, TcpFlags::ACK, Bytes::new());
        self.post(segment);
        self.on_ack_sent();
    }

    /// RST with ACK: this side ends the connection (Linux tcp_send_active_reset).
    pub(super) fn send_reset(&mut self, now: SimTime) {
        let start = self.acceptable_start();
        let segment = self.segment(now, start, TcpFlags::RST.with(TcpFlags::ACK), Bytes::new());
        self.post(segment);
    }

    fn on_data_sent(&mut self, now: SimTime) {
        if self.queue.in_flight() <= 1 {
            self.congestion.on_restart(now, self.snd.last_sent);
        }
        self.snd.last_sent = now;
        // Data soon after data received: a conversation, so ACKs may wait for the next answer.
        if self.ack.timeout.is_some_and(|ato| now.since(self.ack.last_received) < ato) {
            self.ack.pingpong = true;
        }
    }

    /// New data after an idle time longer than the RTO starts from the initial window (Linux
    /// tcp_slow_start_after_idle_check, tcp_cwnd_restart).
    pub(super) fn check_idle_restart(&mut self, now: SimTime) {
        if !self.sysctls.tcp_slow_start_after_idle || self.queue.packets_out() > 0 {
            return;
        }
        let (mut idle, rto) = (now.since(self.snd.last_sent), self.retry.rto);
        if idle <= rto {
            return;
        }
        self.congestion.ssthresh = self.congestion.current_ssthresh(self.recovery.is_reducing());
        let floor = INITIAL_WINDOW.min(self.congestion.cwnd);
        idle = idle.saturating_sub(rto);
        while !idle.is_zero() && self.congestion.cwnd > floor {
            self.congestion.cwnd >>= 1;
            idle = idle.saturating_sub(rto);
        }
        self.congestion.cwnd = self.congestion.cwnd.max(floor);
        self.usage.stamp = now;
        self.usage.used = 0;
    }

    /// Keeps book of how far the congestion window is used, and lets an unused one decay (Linux tcp_cwnd_validate).
    fn validate_window(&mut self, now: SimTime, limited: bool) {
        let out = self.queue.packets_out();
        let usage = &mut self.usage;
        if self.snd.una >= usage.round_end || limited || (!usage.limited && out > usage.packets_max) {
            usage.limited = limited;
            usage.packets_max = out;
            usage.round_end = self.snd.nxt;
        }
        if self.is_window_limited() {
            self.usage.used = 0;
            self.usage.stamp = now;
            return;
        }
        self.usage.used = self.usage.used.max(out);
        let idle_rule = self.sysctls.tcp_slow_start_after_idle;
        if idle_rule && now.since(self.usage.stamp) >= self.retry.rto && self.recovery.is_open() && !self.snd.no_space {
            let used = self.usage.used.max(INITIAL_WINDOW);
            if used < self.congestion.cwnd {
                self.congestion.ssthresh = self.congestion.current_ssthresh(false);
                self.congestion.cwnd = (self.congestion.cwnd + used) / 2;
            }
            self.usage.used = 0;
            self.usage.stamp = now;
        }
    }

    /// Whether the congestion window is what holds the sender back: only then does it grow.
    pub(super) fn is_window_limited(&self) -> bool {
        self.usage.limited || (self.congestion.in_slow_start() && self.congestion.cwnd < 2 * self.usage.packets_max)
    }

    /// The send buffer follows the congestion window: two windows' worth of segments with their overhead (Linux
    /// tcp_sndbuf_expand), within tcp_wmem.
    pub(super) fn grow_send_buffer(&mut self) {
        if self.options.send_buffer.is_some() {
            return;
        }
        let segment = (u64::from(self.size.clamp.max(self.size.mss)) + SENT_AROUND).next_power_of_two() + DESCRIPTOR;
        let window = self.congestion.cwnd.max(INITIAL_WINDOW).max(self.recovery.reordering + 1);
        let wanted = (2 * u64::from(window) * segment).min(u64::from(self.sysctls.tcp_wmem[2]));
        self.snd.buffer = self.snd.buffer.max(wanted);
    }

    /// A program that found the buffer full is told once a third of it is free. Until then the buffer grows with each
    /// segment from the peer that leaves the congestion window open (Linux tcp_check_space, sk_stream_write_space).
    pub(super) fn check_space(&mut self, now: SimTime) {
        if !self.snd.no_space {
            return;
        }
        if self.options.send_buffer.is_none() && self.queue.in_flight() < self.congestion.cwnd {
            self.grow_send_buffer();
            self.usage.stamp = now;
        }
        self.snd.no_space = !self.is_writable();
    }

    /// A larger segment than the path is known to take, made of data that is due anyway (Linux tcp_mtu_probe).
    fn try_mtu_probe(&mut self, now: SimTime) -> MtuProbe {
        let ready = self.size.probing
            && self.size.probe.is_none()
            && self.recovery.is_open()
            && self.congestion.cwnd >= MTU_PROBE_CWND_MIN
            && self.rcv.reassembly.is_empty();
        if !ready {
            return MtuProbe::None;
        }
        let Some(len) = self.size.next_probe(now) else { return MtuProbe::None };
        let len = len as usize;
        let needed = len as u64 + u64::from((self.recovery.reordering + 1) * self.size.mss);
        if len <= self.size.mss as usize || (self.queue.unsent_len() as u64) < needed || self.snd.wnd < needed {
            return MtuProbe::None;
        }
        if self.snd.nxt + needed > self.window_end() {
            return MtuProbe::Wait;
        }
        if self.queue.in_flight() + 2 > self.congestion.cwnd {
            return if self.queue.in_flight() == 0 { MtuProbe::None } else { MtuProbe::Wait };
        }
        let start = self.snd.nxt;
        self.send_new(now, len, len, false);
        // The probe may be lost for its size: that must not look like congestion, so it is sent out of the window.
        self.congestion.cwnd -= 1;
        self.size.probe = Some(Probe { mtu: self.size.mtu_of(len as u32), start, end: self.snd.nxt });
        MtuProbe::Sent
    }

    /// The timeout of the first window probe: the RTO, at least its floor (Linux tcp_probe0_base).
    pub(super) fn probe_base(&self) -> SimDuration {
        self.retry.rto.max(self.sysctls.tcp_rto_min)
    }
}
