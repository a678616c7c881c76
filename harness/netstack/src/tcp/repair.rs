//! Sending again: what recovery found lost, as far as the congestion window allows, in segments that fit the path.

use halfopen_core::SimTime;
use halfopen_core::event::RetransmitKind;

use super::connection::Connection;
use super::output::{Burst, Nagle};
use super::recovery::{Phase, Resend};
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
        while let Some(start) = self.queue.next_to_repair() {
            if self.queue.in_flight() >= self.congestion.cwnd || !self.retransmit(now, start, kind) {
                break;
            }
            if self.recovery.is_reducing() {
                self.recovery.prr_out += 1;
            }
            if start == self.snd.una && self.timers.armed() != Some(Purpose::Reordering) {
                rearm = true;
            }
        }
        if rearm {
            self.timers.arm(Purpose::Retransmit, now + self.retry.rto);
        }
    }

    /// Sends one segment again, cut to the present segment size or joined with its successors. Says whether it went.
    pub(super) fn retransmit(&mut self, now: SimTime, start: u64, kind: RetransmitKind) -> bool {
        let Some(index) = self.queue.find(start) else { return false };
        if start >= self.window_end() && start != self.snd.una {
            return false;
        }
        let mss = self.current_mss();
        let mut limit = mss;
        if start < self.window_end() {
            limit = limit.min((self.window_end() - start) as usize).max(1);
        }
        if self.queue.get(index).is_some_and(|sent| sent.payload.len() > limit) {
            self.queue.split(index, limit);
        } else {
            while self.queue.join_next(index, limit) {}
        }
        // A probe of a larger size that has to be repeated proves nothing.
        self.size.probe = None;
        self.queue.mark_retransmitted(now, index, kind != RetransmitKind::TailLossProbe);
        self.send_flight(now, index);
        let sent = self.queue.get(index).expect("just sent");
        let kind = if sent.syn { RetransmitKind::Handshake } else { kind };
        let len = sent.payload.len();
        self.log_retransmit(kind, start, len);
        self.retry.total += 1;
        if kind != RetransmitKind::TailLossProbe {
            self.recovery.note_retransmission(now);
        }
        true
    }

    /// The path takes less than it did: what is larger than a segment may now be is sent again at once, and the
    /// congestion window is left alone (Linux tcp_simple_retransmit).
    pub(super) fn resend_oversized(&mut self, now: SimTime) {
        let mss = self.size.mss as usize;
        for index in 0..self.queue.packets_out() as usize {
            if self.queue.get(index).is_some_and(|sent| sent.payload.len() > mss) {
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
