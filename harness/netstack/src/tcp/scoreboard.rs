//! Which segments arrived and which are lost: SACK, D-SACK, RTT samples, and RACK (RFC 2018, 2883, 8985).

use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::TcpSegment;

use super::connection::Connection;
use super::recovery::{Effects, Phase};
use super::sendbuf::Sent;
use super::timers::Purpose;

/// Least slack of a RACK or loss-probe timer (Linux TCP_TIMEOUT_MIN_US).
pub(super) const TIMEOUT_SLACK: SimDuration = SimDuration::from_millis(2);
/// Largest degree of reordering that is believed, in segments (Linux tcp_max_reordering).
const REORDERING_MAX: u32 = 300;
/// Recoveries for which a widened RACK window stays (Linux TCP_RACK_RECOVERY_THRESH).
const RACK_PERSIST: u8 = 16;

/// RACK's view: the most recently *sent* segment that was delivered (RFC 8985). Transmissions are numbered, which says
/// more than times do where many happen in one instant.
#[derive(Clone, Debug)]
pub(super) struct Rack {
    pub transmission: u64,
    /// Where it ended: of one transmission, what lies below was sent before.
    pub end: u64,
    /// RTT of that segment in microseconds.
    pub rtt: u64,
    pub advanced: bool,
    pub window_steps: u64,
    pub persist: u8,
    pub duplicate_seen: bool,
    pub round_end: u64,
}

impl Default for Rack {
    fn default() -> Rack {
        Rack {
            transmission: 0,
            end: 0,
            rtt: 0,
            advanced: false,
            window_steps: 1,
            persist: 0,
            duplicate_seen: false,
            round_end: 0,
        }
    }
}

impl Connection {
    // ---- the scoreboard ----

    pub(super) fn take_sacks(&mut self, now: SimTime, segment: &TcpSegment, ack: u64, effects: &mut Effects) {
        if !self.agreed.sack || segment.options.sack_count == 0 {
            return;
        }
        let near = self.snd.una;
        let blocks = segment.options.sack_blocks().iter();
        let mut blocks: Vec<(u64, u64)> = blocks
            .map(|&(from, to)| (self.snd.space.position(from, near), self.snd.space.position(to, near)))
            .collect();
        if self.is_duplicate_report(&blocks, ack) {
            self.note_duplicate(blocks.remove(0), effects);
        }
        blocks.retain(|&(from, to)| from < to && to <= self.snd.nxt && to > self.snd.una);
        let seen = std::mem::take(&mut self.recovery.seen_blocks);
        for &(from, to) in &blocks {
            self.take_sack_block(now, from, to, &seen, effects);
        }
        self.recovery.seen_blocks = blocks;
        if let Some(low) = effects.reordered_from
            && (self.recovery.phase != Phase::Loss || self.recovery.undo_marker.is_some())
        {
            self.note_reordering(low);
        }
    }

    /// RFC 2883: the first block lies below the ACK, or inside the second.
    fn is_duplicate_report(&self, blocks: &[(u64, u64)], ack: u64) -> bool {
        let (from, to) = blocks[0];
        from < to && (from < ack || blocks.get(1).is_some_and(|&(low, high)| low <= from && to <= high))
    }

    fn note_duplicate(&mut self, (from, to): (u64, u64), effects: &mut Effects) {
        effects.duplicate_reported = true;
        if self.recovery.reordering_seen && self.recovery.probe_end.is_none() {
            self.rack.duplicate_seen = true;
        }
        let undoable = self.recovery.undo_marker.is_some_and(|marker| to > marker);
        if undoable && self.recovery.undo_retrans > 0 {
            let segments = (to - from).div_ceil(u64::from(self.size.mss)).max(1) as i64;
            self.recovery.undo_retrans = (self.recovery.undo_retrans - segments).max(0);
        }
    }

    fn take_sack_block(&mut self, now: SimTime, from: u64, to: u64, seen: &[(u64, u64)], effects: &mut Effects) {
        let mut index = self.queue.first_behind(from);
        while let Some(sent) = self.queue.get(index) {
            if sent.start >= to {
                break;
            }
            if let Some(&(_, known)) = seen.iter().find(|&&(low, high)| low <= sent.start && sent.end() < high) {
                // Walked over with an earlier ACK: go on behind it.
                index = self.queue.first_behind(known).saturating_sub(1).max(index + 1);
                continue;
            }
            let covered = if sent.sacked { false } else { self.cut_to_sack(index, from, to) };
            if covered {
                let sent = self.queue.mark_sacked(index);
                self.note_sacked(now, &sent, effects);
            }
            index += 1;
        }
    }

    /// Cuts a bundle where a SACK block begins or ends in it, at the edge of a segment. Says whether the block covers
    /// what is now at this index (Linux tcp_match_skb_to_sack).
    fn cut_to_sack(&mut self, index: usize, from: u64, to: u64) -> bool {
        let sent = self.queue.get(index).expect("an index from the queue");
        let (start, end, mss) = (sent.start, sent.end(), sent.mss as u64);
        let begins_before = from <= start;
        if begins_before && end <= to {
            return true;
        }
        let len = if begins_before { (to - start) / mss * mss } else { (from - start).div_ceil(mss) * mss };
        if sent.segments > 1 && len > 0 && len < sent.payload.len() as u64 {
            self.queue.split(index, len as usize, mss as usize);
            return begins_before;
        }
        false
    }

    fn note_sacked(&mut self, now: SimTime, sent: &Sent, effects: &mut Effects) {
        effects.data_sacked = true;
        effects.delivered += sent.segments;
        if !sent.ever_retransmitted {
            if sent.start < self.recovery.highest_sacked {
                let low = effects.reordered_from.unwrap_or(sent.start);
                effects.reordered_from = Some(low.min(sent.start));
            }
            effects.original_arrived |= sent.end() <= self.recovery.high;
            effects.first_sacked.get_or_insert(sent.sent_at);
            effects.last_sacked = Some(sent.sent_at);
        }
        self.recovery.highest_sacked = self.recovery.highest_sacked.max(sent.start);
        self.advance_rack(now, sent);
    }

    pub(super) fn note_reordering(&mut self, low: u64) {
        let distance = self.recovery.highest_sacked.saturating_sub(low);
        if distance == 0 {
            return;
        }
        let segments = distance.div_ceil(u64::from(self.size.mss)) as u32;
        self.recovery.reordering = self.recovery.reordering.max(segments.min(REORDERING_MAX));
        self.recovery.reordering_seen = true;
    }

    /// Takes what was acknowledged off the flight, and the RTT sample that comes with it.
    pub(super) fn clean_flight(&mut self, now: SimTime, segment: &TcpSegment, had_sacks: u32, effects: &mut Effects) {
        let una = self.snd.una;
        let prior_highest = if had_sacks > 0 { self.recovery.highest_sacked } else { 0 };
        while let Some(sent) = self.queue.pop_acked(una) {
            effects.data_acked = true;
            effects.set_timer = true;
            if sent.ever_retransmitted {
                effects.repeated_acked = true;
            } else if !sent.sacked {
                effects.first_acked.get_or_insert(sent.sent_at);
                effects.last_acked = Some(sent.sent_at);
                effects.original_arrived |= sent.end() <= self.recovery.high;
                if sent.start < prior_highest {
                    let low = effects.reordered_from.unwrap_or(sent.start);
                    effects.reordered_from = Some(low.min(sent.start));
                }
            }
            if !sent.sacked {
                effects.delivered += sent.segments;
                if !self.is_repeated_in_vain(&sent) {
                    self.advance_rack(now, &sent);
                }
            }
        }
        if !self.agreed.sack && effects.data_acked {
            self.recovery.duplicate_acks = 0;
            self.queue.sacked_out = 0;
        } else if let Some(low) = effects.reordered_from {
            self.note_reordering(low);
        }
        if self.size.probe.is_some_and(|probe| probe.end <= una) {
            self.on_mtu_probe_success();
        }
        self.sample_rtt(now, segment, effects);
    }

    /// The ACK echoes a timestamp from before the repetition of this segment (Linux tcp_skb_spurious_retrans).
    fn is_repeated_in_vain(&self, sent: &Sent) -> bool {
        let before = |echo: u32| (echo.wrapping_sub(self.clock(sent.sent_at)) as i32) < 0;
        sent.ever_retransmitted && self.last_echo.is_some_and(before)
    }

    fn on_mtu_probe_success(&mut self) {
        let old = u64::from(self.size.mss);
        self.size.probe_succeeded(self.snd.max_window);
        // The window is counted in segments: as many bytes as before.
        let cwnd = u64::from(self.congestion.cwnd) * old / u64::from(self.size.mss);
        self.congestion.cwnd = (cwnd as u32).max(1);
    }

    fn sample_rtt(&mut self, now: SimTime, segment: &TcpSegment, effects: &mut Effects) {
        let since = |at: Option<SimTime>| at.map(|at| now.since(at).as_micros());
        let acked = since(effects.first_acked).filter(|_| !effects.repeated_acked);
        let sacked = since(effects.first_sacked);
        let echoed = || {
            let echo = self.echoed(segment).filter(|_| effects.data_acked)?;
            let delta = self.clock(now).wrapping_sub(echo);
            (delta < u32::MAX / 2).then(|| u64::from(delta.max(1)) * 1000)
        };
        let Some(rtt) = acked.or(sacked).or_else(echoed) else { return };
        self.rtt.sample(now, rtt, self.snd.una, self.snd.nxt);
        self.retry.rto = self.rtt.rto();
        self.retry.backoff = 0;
        let newest = since(effects.last_acked.filter(|_| !effects.repeated_acked)).or(since(effects.last_sacked));
        if let Some(rtt) = newest {
            self.congestion.on_rtt(now, rtt, self.snd.una, self.snd.nxt);
        }
        // Do not let SACKs of data sent before the head's repetition put its timer off.
        if let (Some(sacked), Some(head)) = (sacked, self.queue.head())
            && sacked > now.since(head.sent_at).as_micros()
        {
            effects.set_timer = true;
        }
    }

    // ---- RACK (RFC 8985) ----

    fn advance_rack(&mut self, now: SimTime, sent: &Sent) {
        let rtt = now.since(sent.sent_at).as_micros();
        if sent.ever_retransmitted && self.rtt.min_rtt().is_some_and(|least| rtt < least) {
            // Too quick to be the answer to the repetition.
            return;
        }
        self.rack.advanced = true;
        self.rack.rtt = rtt;
        (self.rack.transmission, self.rack.end) =
            (self.rack.transmission, self.rack.end).max((sent.transmission, sent.end()));
    }

    /// How long a segment may be overtaken before it counts as lost, in microseconds (Linux tcp_rack_reo_wnd).
    fn reordering_window(&self) -> u64 {
        if !self.recovery.reordering_seen {
            let enough_sacks = self.queue.sacked_out >= self.recovery.reordering;
            if self.recovery.phase >= Phase::Recovery || enough_sacks {
                return 0;
            }
        }
        let quarter = self.rtt.min_rtt().unwrap_or(0) / 4;
        (quarter * self.rack.window_steps).min(self.rtt.srtt())
    }

    /// A reported duplicate in a round trip widens the window by a quarter of the least RTT (tcp_rack_update_reo_wnd).
    pub(super) fn update_reordering_window(&mut self, prior_una: u64) {
        if self.rack.duplicate_seen && prior_una < self.rack.round_end {
            self.rack.duplicate_seen = false;
        }
        if self.rack.duplicate_seen {
            self.rack.window_steps = (self.rack.window_steps + 1).min(255);
            self.rack.duplicate_seen = false;
            self.rack.round_end = self.snd.nxt;
            self.rack.persist = RACK_PERSIST;
        } else if self.rack.persist == 0 {
            self.rack.window_steps = 1;
        }
    }

    /// Marks what was sent so long before a delivered segment that it must be lost. Gives how long to wait for the
    /// rest, if anything is still in doubt.
    fn detect_losses(&mut self, now: SimTime) -> Option<SimDuration> {
        let patience = self.rack.rtt + self.reordering_window();
        let mut wait: Option<u64> = None;
        let mut skip = 0;
        while let Some(index) = self.queue.oldest_sent(skip) {
            let sent = self.queue.get(index).expect("an index from the queue");
            if (sent.transmission, sent.end()) >= (self.rack.transmission, self.rack.end) {
                break;
            }
            let elapsed = now.since(sent.sent_at).as_micros();
            if elapsed >= patience {
                // Its entry in the order of sending goes out of date and is dropped by the next look.
                self.queue.mark_lost(index);
            } else {
                wait = wait.max(Some(patience - elapsed));
                skip += 1;
            }
        }
        wait.map(SimDuration::from_micros)
    }

    /// Finds losses after an ACK (tcp_identify_packet_loss).
    pub(super) fn identify_losses(&mut self, now: SimTime, effects: &mut Effects) {
        if self.queue.packets_out() == 0 {
            return;
        }
        let retrans_before = self.queue.retrans_out;
        if !self.agreed.sack {
            let threshold = self.queue.sacked_out >= self.recovery.reordering;
            let partial = self.recovery.phase == Phase::Recovery && effects.una_advanced;
            if (self.recovery.phase < Phase::Recovery && threshold) || partial {
                self.queue.mark_lost(0);
            }
        } else if self.sysctls.tcp_recovery & 1 != 0 {
            if std::mem::take(&mut self.rack.advanced)
                && let Some(wait) = self.detect_losses(now)
            {
                self.timers.arm(Purpose::Reordering, now + (wait + TIMEOUT_SLACK).min(self.retry.rto));
                effects.set_timer = false;
            }
        } else {
            self.mark_by_count();
        }
        effects.repair_lost |= self.queue.retrans_out < retrans_before;
    }

    /// Without RACK: the head is lost when enough behind it arrived.
    fn mark_by_count(&mut self) {
        if self.queue.sacked_out >= self.recovery.reordering && self.queue.head().is_some_and(|head| !head.lost) {
            self.queue.mark_lost(0);
        }
    }

    /// RACK's timer: what was in doubt is lost now.
    pub(super) fn on_reordering_timer(&mut self, now: SimTime) {
        let before = self.queue.in_flight();
        // What is still in doubt is looked at again with the next ACK; the RTO watches over it.
        let _ = self.detect_losses(now);
        if self.queue.in_flight() != before {
            if self.recovery.phase != Phase::Recovery {
                self.enter_recovery();
                self.reduce(1, 0, false);
            }
            self.repair(now);
        }
        if self.timers.armed() != Some(Purpose::Retransmit) {
            self.rearm_rto(now);
        }
    }
}
