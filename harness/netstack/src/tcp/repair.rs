//! Sending again: what recovery found lost, as far as the congestion window allows, in segments that fit the path.

use halfopen_core::SimTime;
use halfopen_core::event::RetransmitKind;

use super::connection::Connection;
use super::output::{Burst, Nagle};
use super::recovery::{Phase, Resend};
use super::sendbuf::Sent;
use super::timers::Purpose;

impl Connection {
    pub(super) fn resend(&mut self, now: SimTime, resend: Resend) {
        match resend {
            Resend::Nothing => return,
            Resend::New => {
                self.write(now, Nagle::Off, Burst::All);
                if self.snd.nxt > self.recovery.high {
                    return;
                }
                self.recovery.forward_rto = false;
            }
            Resend::Lost => {}
        }
        self.repair(now);
    }

    /// Sends lost segments again, first to last, as far as the congestion window allows (tcp_xmit_retransmit_queue).
    pub(super) fn repair(&mut self, now: SimTime) {
        let kind = if self.recovery.phase == Phase::Loss { RetransmitKind::Timeout } else { RetransmitKind::Fast };
        self.repair_as(now, kind);
    }

    fn repair_as(&mut self, now: SimTime, kind: RetransmitKind) {
        let mut rearm = false;
        let most = self.bundle_segments_max(self.current_mss());
        while let Some(start) = self.queue.next_to_repair() {
            let quota = self.congestion.cwnd.saturating_sub(self.queue.in_flight()).min(most);
            if quota == 0 {
                break;
            }
            let sent = self.retransmit(now, start, quota, kind);
            if sent == 0 {
                break;
            }
            if self.recovery.is_reducing() {
                self.recovery.prr_out += sent;
            }
            if start == self.snd.una && self.timers.armed() != Some(Purpose::Reordering) {
                rearm = true;
            }
        }
        if rearm {
            self.timers.arm(Purpose::Retransmit, now + self.retry.rto);
        }
    }

    /// Sends at most `quota` segments of a bundle again, cut to the present segment size, or one joined with its
    /// successors (Linux __tcp_retransmit_skb). Says how many went.
    pub(super) fn retransmit(&mut self, now: SimTime, start: u64, quota: u32, kind: RetransmitKind) -> u32 {
        let Some(index) = self.queue.find(start) else { return 0 };
        if start >= self.window_end() && start != self.snd.una {
            return 0;
        }
        let mss = self.current_mss();
        let window = usize::try_from(self.window_end().saturating_sub(start)).unwrap_or(usize::MAX);
        // A window that was shut lets one segment through, as a probe.
        let window = if window == 0 { mss } else { window };
        let mut limit = quota as usize * mss;
        if limit > window {
            limit = if window < mss { window } else { window / mss * mss };
        }
        if self.queue.get(index).is_some_and(|sent| sent.payload.len() > limit) {
            self.queue.split(index, limit, mss);
        } else {
            self.queue.recut(index, mss);
            while self.queue.join_next(index, mss.min(window)) {}
        }
        // A probe of a larger size that has to be repeated proves nothing.
        self.size.probe = None;
        self.queue.mark_retransmitted(now, index, kind != RetransmitKind::TailLossProbe);
        self.send_flight(now, index);
        let Sent { ref payload, segments, syn, .. } = *self.queue.get(index).expect("just sent");
        let len = payload.len();
        let logged = if syn { RetransmitKind::Handshake } else { kind };
        for part in 0..segments as usize {
            self.log_retransmit(logged, start + (part * mss) as u64, mss.min(len - part * mss));
        }
        self.retry.total += segments;
        if kind != RetransmitKind::TailLossProbe {
            self.recovery.note_retransmission(now, segments);
        }
        segments
    }

    /// The path takes less than it did: what is larger than a segment may now be is sent again at once, and the
    /// congestion window is left alone (Linux tcp_simple_retransmit).
    pub(super) fn resend_oversized(&mut self, now: SimTime) {
        let mss = self.size.mss as usize;
        for index in 0..self.queue.bundles() {
            if self.queue.get(index).is_some_and(|sent| sent.segment_len() > mss) {
                self.queue.mark_lost(index);
            }
        }
        if self.queue.lost_out == 0 {
            return;
        }
        if self.recovery.phase != Phase::Loss {
            self.recovery.high = self.snd.nxt;
            self.congestion.ssthresh = self.congestion.current_ssthresh(self.recovery.is_reducing());
            self.recovery.prior_ssthresh = 0;
            self.recovery.undo_marker = None;
            self.recovery.phase = Phase::Loss;
        }
        self.repair_as(now, RetransmitKind::PathMtu);
    }
}
