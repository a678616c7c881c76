//! A segment comes in: whether it belongs here, what it acknowledges, what it brings, and how it is acknowledged.

use bytes::Bytes;
use halfopen_core::event::{TcpFlags, TcpState};
use halfopen_core::{Errno, SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::IcmpNotice;
use super::connection::Connection;
use super::recovery::AckVerdict;
use crate::socket::MtuDiscover;

/// Least and greatest delay of an ACK (Linux TCP_DELACK_MIN, TCP_DELACK_MAX), and of its estimate (TCP_ATO_MIN).
const DELAYED_ACK_MIN: SimDuration = SimDuration::from_millis(40);
pub(super) const DELAYED_ACK_MAX: SimDuration = SimDuration::from_millis(200);
/// Ceiling of the delay outside a conversation (Linux: HZ / 2).
const DELAYED_ACK_CEILING: SimDuration = SimDuration::from_millis(500);
/// ACKs that go out without delay at the start (Linux TCP_MAX_QUICKACKS).
const QUICK_ACKS_MAX: u32 = 16;

/// A segment's place in the receiver's sequence space.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    /// Behind the data and the FIN.
    end: u64,
}

impl Connection {
    /// Takes a segment from the network. Answers wait in [`Connection::poll_transmit`].
    pub fn on_segment(&mut self, now: SimTime, segment: &TcpSegment) {
        match self.state {
            TcpState::Closed | TcpState::Listen => {}
            TcpState::SynSent => self.on_syn_sent_segment(now, segment),
            TcpState::TimeWait => self.on_time_wait_segment(now, segment),
            TcpState::SynReceived if self.request.is_some() => {
                if self.on_request_segment(now, segment) {
                    self.on_synchronized_segment(now, segment);
                }
            }
            _ => {
                self.request = None;
                self.on_synchronized_segment(now, segment);
            }
        }
    }

    /// Any state in which both sequence spaces are known (Linux tcp_rcv_established, tcp_rcv_state_process).
    fn on_synchronized_segment(&mut self, now: SimTime, segment: &TcpSegment) {
        let start = self.rcv.space.position(segment.seq, self.rcv.nxt);
        let range = Range { start, end: start + u64::from(segment.sequence_len()) };
        self.last_echo = self.echoed(segment);
        if !self.is_valid(now, segment, range) || !segment.flags.has(TcpFlags::ACK) {
            return;
        }
        let una_before = self.snd.una;
        if self.state == TcpState::SynReceived {
            if segment.ack != self.snd.space.wire(self.snd.nxt) {
                return self.send_bare_reset(segment.ack);
            }
            self.note_timestamp(now, segment, range.start);
            self.finish_simultaneous(now, segment, range.start);
        } else {
            match self.on_ack(now, segment, range.start, range.end) {
                AckVerdict::Good => {}
                AckVerdict::Unsent if self.state == TcpState::Established => return,
                AckVerdict::Unsent | AckVerdict::Ancient => return self.challenge(now),
            }
        }
        let fin_acked = self.snd.una > una_before && self.snd.una == self.snd.nxt && !self.queue.has_unsent();
        if fin_acked && self.send_shutdown {
            self.on_fin_acked(now);
        }
        if self.state == TcpState::Closed {
            return;
        }
        if self.brings_data_too_late(segment, range) {
            self.send_bare_reset(segment.ack);
            return self.fail(Errno::ECONNRESET);
        }
        if matches!(self.state, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2) {
            self.take_data(now, segment, range);
        } else if range.end > range.start && range.end <= self.rcv.nxt {
            // The peer repeats what we have: it missed our ACK.
            self.note_repeated(range);
        }
        if self.state == TcpState::TimeWait || self.state == TcpState::Closed {
            return;
        }
        self.push(now, self.nagle());
        self.check_space(now);
        self.consider_ack(now);
    }

    // ---- validity (RFC 9293 3.10.7.4, RFC 5961, RFC 7323) ----

    fn is_valid(&mut self, now: SimTime, segment: &TcpSegment, range: Range) -> bool {
        let flags = segment.flags;
        if self.is_old_by_timestamp(now, segment)
            && !flags.has(TcpFlags::RST)
            && !self.is_disordered_ack(segment, range)
        {
            self.answer_stray(now, segment, range);
            return false;
        }
        let inside =
            range.end >= self.rcv.wup.min(self.rcv.nxt) && range.start <= self.rcv.nxt + self.rcv.window_left();
        if !inside {
            if flags.has(TcpFlags::RST) {
                return false;
            }
            if flags.has(TcpFlags::SYN) {
                self.challenge(now);
            } else {
                self.answer_stray(now, segment, range);
            }
            return false;
        }
        if flags.has(TcpFlags::RST) {
            // Exactly the next byte, or right behind what was received out of order: else it may be a blind guess.
            let behind_sacked = self.rcv.reassembly.blocks().iter().map(|&(_, to)| to).max();
            if range.start == self.rcv.nxt || behind_sacked == Some(range.start) {
                self.on_reset();
            } else {
                self.challenge(now);
            }
            return false;
        }
        if flags.has(TcpFlags::SYN) && !(self.state == TcpState::SynReceived && range.end == self.rcv.nxt) {
            self.challenge(now);
            return false;
        }
        true
    }

    /// A pure ACK that was overtaken is no reason for alarm (Linux tcp_disordered_ack).
    fn is_disordered_ack(&self, segment: &TcpSegment, range: Range) -> bool {
        let (Some((value, _)), Some((recent, _))) = (segment.options.timestamps, self.agreed.ts_recent) else {
            return false;
        };
        let window = u64::from(segment.window) << self.agreed.send_scale;
        segment.flags.has(TcpFlags::ACK)
            && range.start == range.end
            && range.start == self.rcv.nxt
            && segment.ack == self.snd.space.wire(self.snd.una)
            && window == self.snd.wnd
            && u64::from(recent.wrapping_sub(value)) <= self.retry.rto.as_millis()
    }

    /// Whether the answer to a segment out of turn must be left out: such answers could bounce for ever (Linux
    /// tcp_oow_rate_limited). Data is always answered.
    pub(super) fn is_answer_limited(&mut self, now: SimTime, segment: &TcpSegment) -> bool {
        if !segment.payload.is_empty() && !segment.flags.has(TcpFlags::SYN) {
            return false;
        }
        let limited = self.ack.last_challenge.is_some_and(|last| now.since(last) < self.sysctls.tcp_invalid_ratelimit);
        if !limited {
            self.ack.last_challenge = Some(now);
        }
        limited
    }

    /// A challenge ACK (RFC 5961): an honest peer will answer with what it means.
    fn challenge(&mut self, now: SimTime) {
        let limit = self.sysctls.tcp_invalid_ratelimit;
        if self.ack.last_challenge.is_none_or(|last| now.since(last) >= limit) {
            self.ack.last_challenge = Some(now);
            self.send_ack(now);
        }
    }

    /// Answers a segment outside the window, a keepalive or window probe among them (Linux tcp_send_dupack).
    fn answer_stray(&mut self, now: SimTime, segment: &TcpSegment, range: Range) {
        if self.is_answer_limited(now, segment) {
            return;
        }
        if range.end > range.start && range.start < self.rcv.nxt {
            self.note_repeated(range);
        }
        self.send_ack(now);
    }

    fn note_repeated(&mut self, range: Range) {
        self.enter_quick_mode(QUICK_ACKS_MAX);
        self.ack.scheduled = true;
        if self.sysctls.tcp_dsack {
            self.rcv.duplicate = Some((range.start, range.end.min(self.rcv.nxt)));
        }
    }

    /// Data for a program that has closed, or has shut down both directions: nobody will ever read it (RFC 1122 4.2.2.13;
    /// Linux tcp_rcv_state_process asks for RCV_SHUTDOWN, not for an orphan).
    fn brings_data_too_late(&self, segment: &TcpSegment, range: Range) -> bool {
        let waiting =
            matches!(self.state, TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck);
        let data_end = range.end - u64::from(segment.flags.has(TcpFlags::FIN));
        waiting && self.receive_shutdown && range.end > range.start && data_end > self.rcv.nxt
    }

    fn on_time_wait_segment(&mut self, now: SimTime, segment: &TcpSegment) {
        let start = self.rcv.space.position(segment.seq, self.rcv.nxt);
        let old = self.is_old_by_timestamp(now, segment);
        if segment.flags.has(TcpFlags::RST) {
            if !old && start == self.rcv.nxt && !self.sysctls.tcp_rfc1337 {
                self.set_state(TcpState::Closed);
            }
            return;
        }
        if !old && start == self.rcv.nxt && segment.sequence_len() == 0 {
            self.extend_time_wait(now);
            return;
        }
        if old || segment.flags.has(TcpFlags::ACK) {
            self.extend_time_wait(now);
            if !self.is_answer_limited(now, segment) {
                self.send_ack(now);
            }
        }
    }

    // ---- data ----

    fn take_data(&mut self, now: SimTime, segment: &TcpSegment, range: Range) {
        if range.start == range.end {
            return;
        }
        if let Some(echo) = self.echoed(segment) {
            let clock = self.clock(now);
            self.rcv.note_echo(clock, echo, segment.payload.len());
        }
        let data_start = range.start + u64::from(segment.flags.has(TcpFlags::SYN));
        let (fin, push) = (segment.flags.has(TcpFlags::FIN), segment.flags.has(TcpFlags::PSH));
        let nxt = self.rcv.nxt;
        let window = self.rcv.window_left();
        let bare_fin = segment.payload.is_empty() && fin;
        if range.end <= nxt {
            self.note_repeated(range);
            return;
        }
        if range.start > nxt && range.start >= nxt + window || window == 0 && !bare_fin {
            self.enter_quick_mode(QUICK_ACKS_MAX);
            self.ack.scheduled = true;
            return;
        }
        if fin {
            self.rcv.fin = Some(range.end - 1);
        }
        if data_start > nxt {
            self.take_early_data(now, data_start, &segment.payload, push);
        } else {
            if data_start < nxt && self.sysctls.tcp_dsack {
                self.rcv.duplicate = Some((data_start, nxt));
            }
            let skip = ((nxt - data_start) as usize).min(segment.payload.len());
            self.take_due_data(now, segment.payload.slice(skip..), push);
        }
        if self.rcv.take_fin() {
            self.on_fin(now);
        }
    }

    fn take_due_data(&mut self, now: SimTime, data: Bytes, push: bool) {
        let len = data.len();
        let had_gap = !self.rcv.reassembly.is_empty();
        self.rcv.note_arrival(now, len);
        self.rcv.append(data);
        if len > 0 {
            self.note_data(now, len, push);
        }
        if had_gap {
            self.rcv.drain_reassembly();
            if self.rcv.reassembly.is_empty() {
                // The gap is filled: say so at once (RFC 5681, 4.2).
                self.ack.now = true;
            }
        }
    }

    fn take_early_data(&mut self, now: SimTime, start: u64, data: &Bytes, push: bool) {
        if !data.is_empty() {
            self.note_data(now, data.len(), push);
            let duplicate = self.rcv.take_early(start, data.clone());
            if let Some(range) = duplicate.filter(|_| self.sysctls.tcp_dsack) {
                self.rcv.duplicate = Some(range);
            }
        }
        self.ack.scheduled = true;
        self.ack.now = true;
    }

    // ---- when to acknowledge ----

    /// Data came: the rhythm of the peer's segments sets the delay of ACKs (Linux tcp_event_data_recv).
    fn note_data(&mut self, now: SimTime, len: usize, push: bool) {
        self.ack.scheduled = true;
        let noted = self.rcv.note_segment(len);
        if !noted.full {
            self.ack.pushed_twice |= self.ack.pushed;
        }
        // A full segment with PSH is as likely the end of a write as a short one.
        self.ack.pushed |= push || !noted.full;
        self.rcv.note_progress(now);
        let gap = now.since(self.ack.last_received);
        match self.ack.timeout {
            None => {
                self.add_quick_acks(QUICK_ACKS_MAX);
                self.ack.timeout = Some(DELAYED_ACK_MIN);
            }
            Some(timeout) => {
                if gap <= DELAYED_ACK_MIN / 2 {
                    self.ack.timeout = Some(timeout / 2 + DELAYED_ACK_MIN / 2);
                } else if gap < timeout {
                    self.ack.timeout = Some((timeout / 2 + gap).min(self.retry.rto));
                } else if gap > self.retry.rto {
                    // The sender paused for long: it may have to begin anew, so help it along.
                    self.add_quick_acks(QUICK_ACKS_MAX);
                }
            }
        }
        // A window that grows is told at once (Linux tcp_grow_window).
        self.ack.quick |= u32::from(noted.window_grew);
        self.ack.last_received = now;
    }

    fn add_quick_acks(&mut self, most: u32) {
        let segments = self.rcv.wnd / (2 * u64::from(self.rcv.peer_mss));
        let quick = if segments == 0 { 2 } else { u32::try_from(segments).unwrap_or(u32::MAX) };
        self.ack.quick = self.ack.quick.max(quick.min(most));
    }

    fn enter_quick_mode(&mut self, most: u32) {
        self.add_quick_acks(most);
        self.ack.pingpong = false;
        self.ack.timeout = Some(DELAYED_ACK_MIN);
    }

    /// Sends the ACK that is due, or sees to it that it goes later (Linux __tcp_ack_snd_check).
    fn consider_ack(&mut self, now: SimTime) {
        if !self.ack.scheduled {
            return;
        }
        let much = self.rcv.nxt - self.rcv.wup > u64::from(self.rcv.peer_mss);
        if much && self.rcv.queued() > 0 {
            self.leave_quick_mode_if_tight();
        }
        let two_full = much && (self.rcv.queued() == 0 || self.rcv.fresh_window() >= self.rcv.wnd);
        let quick = self.ack.quick > 0 && !self.ack.pingpong;
        if two_full || quick || self.ack.now || !self.rcv.reassembly.is_empty() {
            self.send_ack(now);
        } else {
            self.schedule_delayed_ack(now);
        }
    }

    /// Where less than half of the buffer is free there is no hurry to tell (Linux __tcp_select_window, whenever it
    /// looks).
    pub(super) fn leave_quick_mode_if_tight(&mut self) {
        if self.rcv.is_tight() {
            self.ack.quick = 0;
        }
    }

    /// Linux tcp_send_delayed_ack.
    pub(super) fn schedule_delayed_ack(&mut self, now: SimTime) {
        self.ack.scheduled = true;
        // A FIN where no data ever came leaves no estimate, and is not kept waiting.
        let Some(mut delay) = self.ack.timeout else { return self.send_ack(now) };
        if delay > DELAYED_ACK_MIN {
            let mut ceiling = DELAYED_ACK_CEILING;
            if self.ack.pingpong || self.ack.pushed {
                ceiling = DELAYED_ACK_MAX;
            }
            if self.rtt.has_sample() {
                ceiling = ceiling.min(self.rtt.srtt_span().max(DELAYED_ACK_MIN));
            }
            delay = delay.min(ceiling);
        }
        let at = now + delay.min(DELAYED_ACK_MAX);
        match self.timers.delayed_ack {
            Some(earlier) if earlier <= now + delay / 4 => self.send_ack(now),
            Some(earlier) => self.timers.delayed_ack = Some(earlier.min(at)),
            None => self.timers.delayed_ack = Some(at),
        }
    }

    /// Nothing to ride on came in time (Linux tcp_delack_timer_handler).
    pub(super) fn on_delayed_ack_timer(&mut self, now: SimTime) {
        if !self.ack.scheduled {
            return;
        }
        if self.ack.pingpong {
            // The conversation is over, it seems.
            self.ack.pingpong = false;
            self.ack.timeout = Some(DELAYED_ACK_MIN);
        } else {
            let timeout = self.ack.timeout.unwrap_or(DELAYED_ACK_MIN);
            self.ack.timeout = Some((timeout * 2).min(self.retry.rto));
        }
        self.send_ack(now);
    }

    /// A segment with ACK went out: nothing is owed (Linux tcp_event_ack_sent, tcp_dec_quickack_mode).
    pub(super) fn on_ack_sent(&mut self) {
        if self.ack.scheduled && self.ack.quick > 0 {
            self.ack.quick -= 1;
            if self.ack.quick == 0 {
                self.ack.timeout = Some(DELAYED_ACK_MIN);
            }
        }
        self.ack.scheduled = false;
        self.ack.now = false;
        self.ack.pushed = false;
        self.ack.pushed_twice = false;
        self.timers.delayed_ack = None;
    }

    /// The program read: an ACK may be due, or a window update (Linux tcp_cleanup_rbuf).
    pub(super) fn after_read(&mut self, now: SimTime) {
        if matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            return;
        }
        let mut due = false;
        if self.ack.scheduled {
            let emptied = self.rcv.queued() == 0;
            let asked = self.ack.pushed_twice || (self.ack.pushed && !self.ack.pingpong);
            due = self.rcv.nxt - self.rcv.wup > u64::from(self.rcv.peer_mss) || (asked && emptied);
        }
        if due || (!self.receive_shutdown && self.rcv.should_update_window()) {
            self.send_ack(now);
        }
    }

    /// TCP_QUICKACK was set or cleared.
    pub(super) fn quick_ack_changed(&mut self, now: SimTime) {
        match self.options.quick_ack {
            Some(true) => {
                self.ack.pingpong = false;
                let connected = matches!(self.state, TcpState::Established | TcpState::CloseWait);
                if connected && self.ack.scheduled {
                    self.ack.pushed = true;
                    self.after_read(now);
                }
            }
            Some(false) => self.ack.pingpong = true,
            None => {}
        }
    }

    // ---- ICMP ----

    /// Takes an ICMP error about a segment of this connection (Linux tcp_v4_err). One that quotes nothing that is in
    /// flight is ignored.
    pub fn on_icmp(&mut self, now: SimTime, notice: IcmpNotice) {
        let quoted = self.snd.space.position(notice.quoted_seq(), self.snd.una);
        if self.state == TcpState::Closed || quoted < self.snd.una || quoted > self.snd.nxt {
            return;
        }
        let errno = match notice {
            IcmpNotice::TooBig { path_mtu, .. } => return self.on_smaller_path(now, path_mtu),
            IcmpNotice::TimeExceeded { .. } => Errno::EHOSTUNREACH,
            IcmpNotice::Unreachable { code, .. } => {
                let v6 = self.endpoint.remote.is_ipv6();
                let Some(errno) = errno_of_unreachable(code, v6) else { return };
                // Of IPv6's codes only "no route" (Linux tcp_v6_err).
                let transient = code == 0 || code == 1 && !v6;
                if transient && self.state != TcpState::SynSent {
                    self.revert_backoff(now, quoted);
                }
                errno
            }
        };
        match self.state {
            TcpState::Closed => {}
            TcpState::SynReceived if self.request.is_some() => self.drop_request(),
            TcpState::SynSent | TcpState::SynReceived => self.fail(errno),
            _ => self.soft_error = Some(errno),
        }
    }

    /// The path takes less than we thought: lower the MSS and send again what was too large, with no timeout and no
    /// cut of the congestion window.
    fn on_smaller_path(&mut self, now: SimTime, path_mtu: u32) {
        let deaf = matches!(self.options.mtu_discover, MtuDiscover::Probe);
        if deaf || path_mtu >= self.size.path_mtu {
            return;
        }
        self.size.sync(path_mtu, self.snd.max_window);
        if !matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            self.resend_oversized(now);
        }
    }

    /// The learned path MTU expired, or the route changed: what the routing table says now. Larger segments are used
    /// from the next new data on.
    pub fn set_path_mtu(&mut self, path_mtu: u32) {
        if self.state != TcpState::Closed {
            self.size.sync(path_mtu, self.snd.max_window);
        }
    }
}

/// The errno of a destination-unreachable code (Linux icmp_err_convert, RFC 1122 section 3.2.2.1; icmpv6_err_convert,
/// where codes are named by the IPv4 code of the same meaning).
fn errno_of_unreachable(code: u8, v6: bool) -> Option<Errno> {
    Some(match code {
        9 | 10 | 13 if v6 => Errno::EACCES,
        2 if v6 => Errno::EPROTO,
        0 | 6 | 9 | 11 => Errno::ENETUNREACH,
        1 | 7 | 8 | 10 | 12 | 13 | 14 | 15 => Errno::EHOSTUNREACH,
        2 => Errno::ENOPROTOOPT,
        3 => Errno::ECONNREFUSED,
        5 => Errno::EOPNOTSUPP,
        _ => return None,
    })
}
