//! What an ACK means: loss recovery and its undoing, and the congestion window.
//!
//! The shape is Linux's (tcp_ack, tcp_sacktag_write_queue, tcp_clean_rtx_queue, tcp_fastretrans_alert): `scoreboard`
//! knows *what* is lost, the congestion window says *how much* may be in flight, and `repair` sends the one within the
//! other.

use halfopen_core::SimTime;
use halfopen_fabric::packet::TcpSegment;

use super::congestion::SSTHRESH_INFINITE;
use super::connection::Connection;

/// Linux's congestion states (tcp_ca_state), in the order of their severity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    Open,
    Disorder,
    /// The window is reduced without a loss to repair.
    Reducing,
    Recovery,
    Loss,
}

/// State of loss recovery.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub phase: Phase,
    /// End of what was sent when the phase began.
    pub high: u64,
    /// End of what was sent when a tail loss probe went out; `None` if none is out.
    pub probe_end: Option<u64>,
    /// The probe repeated old data.
    pub probe_repeats: bool,
    /// When the first retransmission of this episode went out.
    pub retrans_stamp: Option<SimTime>,
    pub undo_marker: Option<u64>,
    pub undo_retrans: i64,
    pub prior_ssthresh: u32,
    pub prior_cwnd: u32,
    pub prr_out: u32,
    pub prr_delivered: u32,
    pub forward_rto: bool,
    pub reordering: u32,
    pub reordering_initial: u32,
    pub reordering_seen: bool,
    /// Start of the highest segment that was selectively acknowledged.
    pub highest_sacked: u64,
    /// Duplicate ACKs of a peer without SACK.
    pub duplicate_acks: u32,
    /// Blocks of the last ACK, not to walk over them again.
    pub seen_blocks: Vec<(u64, u64)>,
}

impl Recovery {
    pub fn new(reordering: u32) -> Recovery {
        Recovery {
            phase: Phase::Open,
            high: 0,
            probe_end: None,
            probe_repeats: false,
            retrans_stamp: None,
            undo_marker: None,
            undo_retrans: 0,
            prior_ssthresh: 0,
            prior_cwnd: 0,
            prr_out: 0,
            prr_delivered: 0,
            forward_rto: false,
            reordering,
            reordering_initial: reordering,
            reordering_seen: false,
            highest_sacked: 0,
            duplicate_acks: 0,
            seen_blocks: Vec::new(),
        }
    }

    /// The handshake is over: nothing of its losses counts.
    pub fn reset(&mut self) {
        *self = Recovery::new(self.reordering_initial);
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Proportional rate reduction is on.
    pub fn is_reducing(&self) -> bool {
        matches!(self.phase, Phase::Reducing | Phase::Recovery)
    }

    /// So many segments were sent again, at `now`.
    pub fn note_retransmission(&mut self, now: SimTime, segments: u32) {
        self.retrans_stamp.get_or_insert(now);
        self.undo_retrans = self.undo_retrans.max(0) + i64::from(segments);
    }
}

/// What one ACK brought.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Effects {
    /// The segment carried data.
    pub has_data: bool,
    pub window_updated: bool,
    pub una_advanced: bool,
    pub data_acked: bool,
    pub repeated_acked: bool,
    pub data_sacked: bool,
    pub duplicate_reported: bool,
    /// Something that was sent only once, before the timeout, arrived.
    pub original_arrived: bool,
    pub repair_lost: bool,
    pub set_timer: bool,
    pub delivered: u32,
    pub first_acked: Option<SimTime>,
    pub last_acked: Option<SimTime>,
    pub first_sacked: Option<SimTime>,
    pub last_sacked: Option<SimTime>,
    /// Lowest segment that shows reordering.
    pub reordered_from: Option<u64>,
}

impl Effects {
    /// Not a duplicate ACK: it carries news.
    pub fn is_news(&self) -> bool {
        self.has_data || self.window_updated || self.una_advanced
    }
}

/// What is to be sent after an ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resend {
    Nothing,
    Lost,
    /// New data first: forward RTO recovery wants to know whether the timeout was spurious.
    New,
}

/// What became of an ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AckVerdict {
    Good,
    /// It acknowledges what was never sent.
    Unsent,
    /// It is older than any window.
    Ancient,
}

impl Connection {
    /// Processes the acknowledgement in a segment whose sequence range is [`start`, `end`).
    pub(super) fn on_ack(&mut self, now: SimTime, segment: &TcpSegment, start: u64, end: u64) -> AckVerdict {
        let prior_una = self.snd.una;
        let ack = self.snd.space.position(segment.ack, prior_una);
        if ack > self.snd.nxt {
            return AckVerdict::Unsent;
        }
        let mut effects = Effects { has_data: end != start, ..Effects::default() };
        let lost_before = self.queue.lost_total;
        if ack < prior_una {
            if ack + self.snd.max_window < prior_una {
                return AckVerdict::Ancient;
            }
            if segment.options.sack_count > 0 {
                self.take_sacks(now, segment, ack, &mut effects);
                let resend = self.recover(now, 0, &mut effects);
                self.reduce_or_grow(now, &effects, lost_before);
                self.resend(now, resend);
            }
            return AckVerdict::Good;
        }
        if ack > prior_una {
            effects.una_advanced = true;
            self.retry.retransmits = 0;
        }
        self.note_timestamp(now, segment, start);
        effects.window_updated = self.update_window(segment, start, ack);
        self.snd.una = ack;
        let had_flight = self.queue.packets_out() > 0;
        let had_sacks = self.queue.sacked_out;
        self.take_sacks(now, segment, ack, &mut effects);
        self.soft_error = None;
        self.retry.probes = 0;
        self.retry.last_ack = now;
        if !had_flight {
            if effects.duplicate_reported {
                self.recover(now, 0, &mut effects);
            }
            self.on_window_probe_answer(now);
            return AckVerdict::Good;
        }
        self.clean_flight(now, segment, had_sacks, &mut effects);
        self.update_reordering_window(prior_una);
        if self.recovery.probe_end.is_some() {
            self.on_probe_ack(ack, &effects);
        }
        let mut resend = Resend::Nothing;
        let dubious = !effects.is_news() || effects.data_sacked || !self.recovery.is_open();
        if dubious {
            let duplicates = u32::from(!effects.is_news());
            resend = self.recover(now, duplicates, &mut effects);
        }
        if effects.set_timer && !self.schedule_loss_probe(now, true) {
            self.rearm_rto(now);
        }
        self.reduce_or_grow(now, &effects, lost_before);
        self.resend(now, resend);
        AckVerdict::Good
    }

    /// Takes the peer's window if the segment is newer than the last that set it (Linux tcp_may_update_window).
    fn update_window(&mut self, segment: &TcpSegment, start: u64, ack: u64) -> bool {
        let window = u64::from(segment.window) << self.agreed.send_scale;
        let newer = ack > self.snd.una
            || start > self.snd.wl1
            || (start == self.snd.wl1 && (window > self.snd.wnd || window == 0));
        if !newer {
            return false;
        }
        self.snd.wl1 = start;
        let changed = self.snd.wnd != window;
        self.snd.wnd = window;
        if window > self.snd.max_window {
            self.snd.max_window = window;
            self.size.sync(self.size.path_mtu, window);
        }
        changed
    }

    // ---- the congestion state machine (tcp_fastretrans_alert) ----

    fn recover(&mut self, now: SimTime, duplicates: u32, effects: &mut Effects) -> Resend {
        if self.recovery.phase == Phase::Open {
            self.recovery.retrans_stamp = None;
        } else if self.snd.una >= self.recovery.high {
            match self.recovery.phase {
                Phase::Reducing if self.snd.una != self.recovery.high => {
                    self.end_reduction();
                    self.recovery.phase = Phase::Open;
                }
                Phase::Recovery => {
                    self.try_undo_recovery();
                    self.end_reduction();
                    self.recovery.phase = Phase::Open;
                }
                _ => {}
            }
        }
        self.note_duplicate_acks(duplicates);
        match self.recovery.phase {
            Phase::Recovery => {
                if effects.una_advanced && self.try_undo_partial() {
                    return Resend::Nothing;
                }
                self.try_undo_by_duplicates();
                self.identify_losses(now, effects);
                if self.recovery.phase == Phase::Recovery {
                    return Resend::Lost;
                }
            }
            Phase::Loss => {
                let resend = self.process_loss(duplicates, effects);
                self.identify_losses(now, effects);
                if self.recovery.phase != Phase::Open && !effects.repair_lost {
                    return resend;
                }
                if self.recovery.phase != Phase::Open {
                    self.enter_recovery();
                    return Resend::Lost;
                }
            }
            Phase::Open | Phase::Disorder | Phase::Reducing => {
                if self.recovery.phase <= Phase::Disorder {
                    self.try_undo_by_duplicates();
                }
                self.identify_losses(now, effects);
            }
        }
        if self.queue.lost_out == 0 {
            self.try_to_open();
            return Resend::Nothing;
        }
        if self.recovery.phase < Phase::Reducing && self.size.probe.is_some_and(|probe| probe.start == self.snd.una) {
            // Only the MTU probe is missing: its size was too much, the network is not full.
            self.size.probe_failed();
            self.congestion.cwnd += 1;
            self.resend_oversized(now);
            return Resend::Nothing;
        }
        self.enter_recovery();
        Resend::Lost
    }

    /// A peer without SACK: each duplicate ACK stands for one segment that arrived.
    fn note_duplicate_acks(&mut self, duplicates: u32) {
        if !self.agreed.sack && duplicates > 0 && self.queue.packets_out() > 0 {
            self.recovery.duplicate_acks += duplicates;
            let most = self.queue.packets_out() - 1;
            self.queue.sacked_out = self.recovery.duplicate_acks.min(most.saturating_sub(self.queue.lost_out));
        }
    }

    pub(super) fn enter_recovery(&mut self) {
        self.init_undo();
        if !self.recovery.is_reducing() {
            self.recovery.prior_ssthresh = self.congestion.current_ssthresh(false);
            self.begin_reduction();
        }
        self.recovery.phase = Phase::Recovery;
    }

    fn begin_reduction(&mut self) {
        self.recovery.high = self.snd.nxt;
        self.recovery.probe_end = None;
        self.congestion.cwnd_count = 0;
        self.recovery.prior_cwnd = self.congestion.cwnd;
        self.recovery.prr_delivered = 0;
        self.recovery.prr_out = 0;
        self.congestion.ssthresh = self.congestion.threshold_after_loss();
    }

    /// Proportional rate reduction (RFC 6937).
    pub(super) fn reduce(&mut self, delivered: u32, newly_lost: u64, una_advanced: bool) {
        if delivered == 0 || self.recovery.prior_cwnd == 0 {
            return;
        }
        let flight = self.queue.in_flight();
        let (recovery, ssthresh) = (&mut self.recovery, self.congestion.ssthresh);
        recovery.prr_delivered += delivered;
        let more = if flight > ssthresh {
            let due = u64::from(ssthresh) * u64::from(recovery.prr_delivered);
            (due.div_ceil(u64::from(recovery.prior_cwnd)) as u32).saturating_sub(recovery.prr_out)
        } else {
            let mut more = recovery.prr_delivered.saturating_sub(recovery.prr_out).max(delivered);
            if una_advanced && newly_lost == 0 {
                more += 1;
            }
            more.min(ssthresh - flight)
        };
        // The first repair goes out at once.
        let more = more.max(u32::from(recovery.prr_out == 0));
        self.congestion.cwnd = flight + more;
    }

    fn end_reduction(&mut self) {
        let done = self.recovery.phase == Phase::Reducing || self.recovery.undo_marker.is_some();
        if self.congestion.ssthresh < SSTHRESH_INFINITE && done {
            self.congestion.cwnd = self.congestion.ssthresh;
        }
    }

    fn reduce_or_grow(&mut self, now: SimTime, effects: &Effects, lost_before: u64) {
        let newly_lost = self.queue.lost_total - lost_before;
        if self.recovery.is_reducing() {
            self.reduce(effects.delivered, newly_lost, effects.una_advanced);
            return;
        }
        let progress = if self.recovery.reordering > self.recovery.reordering_initial {
            effects.una_advanced || effects.data_sacked
        } else {
            effects.data_acked
        };
        if progress && effects.delivered > 0 && self.is_window_limited() {
            self.congestion.avoid(now, effects.delivered);
        }
    }

    /// A retransmission timeout: all but what was sent within the last RTT is lost (Linux tcp_enter_loss).
    pub(super) fn enter_loss(&mut self, now: SimTime) {
        let new_episode = self.recovery.phase < Phase::Recovery;
        if self.queue.head().is_some_and(|head| head.sacked) {
            self.queue.forget_sacks();
            self.recovery.seen_blocks.clear();
        }
        if !self.agreed.sack {
            self.recovery.duplicate_acks = 0;
            self.queue.sacked_out = 0;
        }
        for index in 0..self.queue.bundles() {
            let sent = self.queue.get(index).expect("within the flight");
            let young = index > 0 && now.since(sent.sent_at).as_micros() < self.rack.rtt;
            if !young {
                self.queue.mark_lost(index);
            }
        }
        let first = self.recovery.phase <= Phase::Disorder
            || self.recovery.high <= self.snd.una
            || (self.recovery.phase == Phase::Loss && self.retry.retransmits == 0);
        if first {
            self.recovery.prior_ssthresh = self.congestion.current_ssthresh(self.recovery.is_reducing());
            self.recovery.prior_cwnd = self.congestion.cwnd;
            self.congestion.ssthresh = self.congestion.threshold_after_loss();
            self.init_undo();
        }
        self.congestion.on_timeout(now, self.snd.nxt);
        self.congestion.cwnd = self.queue.in_flight() + 1;
        self.congestion.cwnd_count = 0;
        if self.recovery.phase <= Phase::Disorder && self.queue.sacked_out >= self.recovery.reordering {
            self.recovery.reordering = self.recovery.reordering.min(self.recovery.reordering_initial);
        }
        self.recovery.phase = Phase::Loss;
        self.recovery.high = self.snd.nxt;
        self.recovery.probe_end = None;
        self.recovery.forward_rto =
            self.sysctls.tcp_frto > 0 && (new_episode || self.retry.retransmits > 0) && self.size.probe.is_none();
    }

    /// After a timeout: was it spurious (RFC 5682, RFC 3522), is it over, or does repair go on?
    fn process_loss(&mut self, duplicates: u32, effects: &mut Effects) -> Resend {
        let recovered = self.snd.una >= self.recovery.high;
        if effects.una_advanced && self.try_undo_loss(false) {
            return Resend::Nothing;
        }
        if self.recovery.forward_rto {
            if effects.original_arrived && self.try_undo_loss(true) {
                return Resend::Nothing;
            }
            if self.snd.nxt > self.recovery.high {
                if effects.data_sacked || duplicates > 0 {
                    self.recovery.forward_rto = false;
                }
            } else if effects.una_advanced && !recovered {
                self.recovery.high = self.snd.nxt;
                if self.queue.has_unsent() && self.window_end() > self.snd.nxt {
                    return Resend::New;
                }
                self.recovery.forward_rto = false;
            }
        }
        if recovered {
            self.try_undo_recovery();
            self.recovery.phase = Phase::Open;
            return Resend::Nothing;
        }
        Resend::Lost
    }

    fn try_to_open(&mut self) {
        if self.recovery.phase == Phase::Reducing {
            return;
        }
        let disorder = self.queue.sacked_out > 0 || self.queue.retrans_out > 0;
        if self.queue.retrans_out == 0 {
            self.recovery.retrans_stamp = None;
        }
        let phase = if disorder { Phase::Disorder } else { Phase::Open };
        if self.recovery.phase != phase {
            self.recovery.phase = phase;
            self.recovery.high = self.snd.nxt;
        }
    }

    // ---- undo ----

    fn init_undo(&mut self) {
        self.recovery.undo_marker = Some(self.snd.una);
        let out = i64::from(self.queue.retrans_out);
        self.recovery.undo_retrans = if out > 0 { out } else { -1 };
    }

    /// The ACK echoes a timestamp from before the first repetition: the original had arrived (Eifel, RFC 3522).
    fn answers_original(&self) -> bool {
        match (self.recovery.retrans_stamp, self.last_echo) {
            (Some(stamp), Some(echo)) => (echo.wrapping_sub(self.clock(stamp)) as i32) < 0,
            _ => false,
        }
    }

    fn may_undo(&self) -> bool {
        self.recovery.undo_marker.is_some() && (self.recovery.undo_retrans == 0 || self.answers_original())
    }

    fn undo_reduction(&mut self, unmark: bool) {
        if unmark {
            self.queue.unmark_lost();
        }
        if self.recovery.prior_ssthresh > 0 {
            self.congestion.cwnd = self.congestion.cwnd.max(self.recovery.prior_cwnd);
            self.congestion.ssthresh = self.congestion.ssthresh.max(self.recovery.prior_ssthresh);
        }
        self.recovery.undo_marker = None;
        self.rack.advanced = true;
    }

    fn try_undo_loss(&mut self, certain: bool) -> bool {
        if !certain && !self.may_undo() {
            return false;
        }
        self.undo_reduction(true);
        self.retry.retransmits = 0;
        if certain || self.agreed.sack {
            self.recovery.phase = Phase::Open;
        }
        true
    }

    fn try_undo_recovery(&mut self) {
        if self.may_undo() {
            self.undo_reduction(false);
        } else {
            self.rack.persist = self.rack.persist.saturating_sub(1);
        }
    }

    fn try_undo_partial(&mut self) -> bool {
        if self.recovery.undo_marker.is_none() || !self.answers_original() {
            return false;
        }
        if let Some(head) = self.queue.head() {
            self.note_reordering(head.start);
        }
        if self.queue.retrans_out > 0 {
            return true;
        }
        self.undo_reduction(true);
        self.recovery.phase = Phase::Open;
        self.try_to_open();
        true
    }

    fn try_undo_by_duplicates(&mut self) {
        if self.recovery.undo_marker.is_some() && self.recovery.undo_retrans == 0 {
            self.undo_reduction(false);
            if self.recovery.phase == Phase::Recovery {
                self.recovery.phase = Phase::Disorder;
            }
        }
    }

    // ---- tail loss probes ----

    /// An ACK while a tail loss probe is out (RFC 8985, 7.4; Linux tcp_process_tlp_ack).
    fn on_probe_ack(&mut self, ack: u64, effects: &Effects) {
        let Some(end) = self.recovery.probe_end else { return };
        if ack < end {
            return;
        }
        if !self.recovery.probe_repeats || effects.duplicate_reported {
            self.recovery.probe_end = None;
        } else if ack > end {
            // The probe itself repaired the loss: still a sign of congestion.
            self.begin_reduction();
            self.recovery.phase = Phase::Reducing;
            self.end_reduction();
            self.recovery.phase = Phase::Open;
            self.try_to_open();
        } else if !effects.una_advanced && !effects.is_news() && !effects.data_sacked {
            self.recovery.probe_end = None;
        }
    }
}
