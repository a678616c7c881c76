//! What is sent, and when: new data within both windows, Nagle, ACKs, and the shape of each segment.

use bytes::Bytes;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::congestion::INITIAL_WINDOW;
use super::connection::Connection;
use super::pmtu::Probe;
use super::timers::Purpose;
use crate::socket::MtuDiscover;

/// Room that Linux reserves for headers and bookkeeping with each segment (MAX_TCP_HEADER and skb_shared_info), and the
/// sk_buff itself: how the send buffer grows with the congestion window.
const SEGMENT_OVERHEAD: u64 = 576;
const SK_BUFF: u64 = 256;
/// Segments in the smallest bundle that Linux hands down at once (sysctl tcp_min_tso_segs).
const BUNDLE_SEGMENTS: u32 = 2;
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
        let mut limited = false;
        while self.queue.has_unsent() {
            if self.queue.in_flight() >= self.congestion.cwnd && burst == Burst::All {
                limited = true;
                break;
            }
            let mss = self.current_mss();
            let unsent = self.queue.unsent_len();
            let len = unsent.min(mss);
            let fin = self.queue.fin_waiting && len == unsent;
            if self.snd.nxt + len as u64 + u64::from(fin) > self.window_end() {
                sent += u32::from(self.fill_window(now, sent, nagle));
                break;
            }
            if !fin && len == unsent && len < mss && self.must_wait(nagle) {
                break;
            }
            self.send_new(now, len, fin);
            if len < mss {
                self.snd.small_end = self.snd.nxt;
            }
            sent += 1;
            if burst == Burst::Probe {
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

    /// What is left of the peer's window is less than a segment: Linux sends a part if the segment before went out in
    /// the same bundle (tcp_mss_split_point). Bundles are of two, the least that tcp_tso_autosize makes.
    fn fill_window(&mut self, now: SimTime, sent: u32, nagle: Nagle) -> bool {
        let room = self.window_end().saturating_sub(self.snd.nxt) as usize;
        let begins_bundle = sent.is_multiple_of(BUNDLE_SEGMENTS);
        if begins_bundle || room == 0 || self.must_wait(nagle) {
            return false;
        }
        self.send_new(now, room, false);
        self.snd.small_end = self.snd.nxt;
        true
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

    /// Sends the next `len` unsent bytes as one segment, the FIN with them if it is their turn.
    pub(super) fn send_new(&mut self, now: SimTime, len: usize, fin: bool) {
        let payload = self.queue.take_unsent(len);
        if fin {
            self.queue.fin_waiting = false;
        }
        let was_idle = self.queue.packets_out() == 0;
        let start = self.snd.nxt;
        self.snd.nxt += len as u64 + u64::from(fin);
        self.queue.launch(now, start, payload, false, fin);
        self.send_flight(now, self.queue.packets_out() as usize - 1);
        if was_idle || self.timers.armed() == Some(Purpose::LossProbe) {
            self.rearm_rto(now);
        }
    }

    /// Puts a segment of the flight on the wire, as it stands.
    pub(super) fn send_flight(&mut self, now: SimTime, index: usize) {
        let sent = self.queue.get(index).expect("a segment in flight").clone();
        if sent.syn {
            return self.send_syn(now);
        }
        let mut flags = TcpFlags::ACK;
        let is_end = self.queue.unsent_len() == 0 && sent.end() == self.snd.nxt;
        if !sent.payload.is_empty() && is_end {
            flags = flags.with(TcpFlags::PSH);
        }
        if sent.fin {
            flags = flags.with(TcpFlags::FIN);
        }
        let has_data = !sent.payload.is_empty();
        let segment = self.segment(now, sent.start, flags, sent.payload);
        self.post(segment);
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
        let segment = (u64::from(self.size.mss) + 12 + SEGMENT_OVERHEAD).next_power_of_two() + SK_BUFF;
        let window = self.congestion.cwnd.max(INITIAL_WINDOW).max(self.recovery.reordering + 1);
        let wanted = (2 * u64::from(window) * segment).min(u64::from(self.sysctls.tcp_wmem[2]));
        self.snd.buffer = self.snd.buffer.max(wanted);
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
        self.send_new(now, len, false);
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
