//! What each timer does, and when a connection is given up.
//!
//! Giving up is a matter of time, not of counts: the time that N doubling timeouts from the least RTO would take, counted
//! from the first *repetition* (Linux retransmits_timed_out; fidelity cases dead-peers/retries2-*, user-timeout-*).

use halfopen_core::event::{ProbeKind, RetransmitKind, TcpState};
use halfopen_core::{SimDuration, SimTime};

use super::connection::Connection;
use super::output::{Burst, Nagle};
use super::recovery::Phase;
use super::rtt::RTO_INITIAL;
use super::scoreboard::TIMEOUT_SLACK;
use super::timers::Purpose;
use crate::socket::SocketOptions;

/// What `tcp_orphan_retries` 0 stands for.
const ORPHAN_RETRIES_DEFAULT: u32 = 8;
/// Largest shift of a window probe's timeout (Linux tcp_probe0_when: ilog2(120 s / 200 ms) + 1).
const PROBE_BACKOFF_MAX: u32 = 10;
/// The shortest time that a timer waits, where a rule leaves none (Linux: one jiffy).
const SHORTEST: SimDuration = SimDuration::from_millis(1);

/// The time that `boundary` doubling timeouts take, each at most `longest` (Linux tcp_model_timeout).
fn model_timeout(boundary: u32, base: SimDuration, longest: SimDuration) -> SimDuration {
    (0..=boundary).fold(SimDuration::ZERO, |sum, n| sum + (base * (1u64 << n.min(40))).min(longest))
}

impl Connection {
    pub(super) fn on_transmit_timer(&mut self, now: SimTime, purpose: Purpose) {
        match purpose {
            Purpose::Retransmit => self.on_retransmit_timer(now),
            Purpose::LossProbe => self.on_loss_probe_timer(now),
            Purpose::Reordering => self.on_reordering_timer(now),
            Purpose::WindowProbe => self.on_window_probe_timer(now),
        }
    }

    // ---- retransmission ----

    /// (Re)starts the retransmission timer, or stops it if nothing is in flight (Linux tcp_rearm_rto).
    pub(super) fn rearm_rto(&mut self, now: SimTime) {
        let Some(head) = self.queue.head() else {
            return self.timers.disarm();
        };
        let mut at = now + self.retry.rto;
        if matches!(self.timers.armed(), Some(Purpose::LossProbe | Purpose::Reordering)) {
            // Those took the place of an RTO that counts from the head's transmission.
            at = (head.sent_at + self.retry.rto).max(now + SHORTEST);
        }
        self.timers.arm(Purpose::Retransmit, at);
    }

    /// The retransmission timer fired (Linux tcp_retransmit_timer).
    fn on_retransmit_timer(&mut self, now: SimTime) {
        if self.queue.packets_out() == 0 {
            return;
        }
        let handshake = matches!(self.state, TcpState::SynSent | TcpState::SynReceived);
        let window_shut = self.snd.wnd == 0 && !self.orphan && !handshake;
        let given_up = if window_shut { self.shut_window_timed_out(now) } else { self.retransmission_timed_out(now) };
        if given_up {
            return self.fail_timed_out();
        }
        if !handshake && !window_shut && self.retransmits_timed_out(now, self.sysctls.tcp_retries1, SimDuration::ZERO) {
            self.suspect_path(now);
        }
        let stale_episode = self.retry.retransmits == 0 && self.recovery.phase != Phase::Recovery;
        self.enter_loss(now);
        // A shut window is the receiver's business: it does not bring the end nearer.
        self.retry.retransmits += u32::from(!window_shut);
        if stale_episode && !handshake {
            self.recovery.retrans_stamp = None;
        }
        let start = self.snd.una;
        self.retransmit(now, start, 1, RetransmitKind::Timeout);
        let mut linear = false;
        if self.state == TcpState::SynSent {
            self.retry.syn_timeouts += 1;
            linear = self.retry.syn_timeouts <= self.sysctls.tcp_syn_linear_timeouts;
        }
        if !linear {
            self.retry.backoff += 1;
            self.retry.rto = (self.retry.rto * 2).min(self.sysctls.tcp_rto_max);
        }
        let wait = self.clamped_to_user_timeout(now, self.retry.rto);
        self.timers.arm(Purpose::Retransmit, now + wait);
    }

    /// Path-MTU black holes: try smaller segments if allowed to.
    fn suspect_path(&mut self, now: SimTime) {
        if self.sysctls.tcp_mtu_probing > 0 {
            self.size.suspect_black_hole(now, self.snd.max_window);
        }
    }

    /// Whether it is time to give up (Linux tcp_write_timeout).
    fn retransmission_timed_out(&self, now: SimTime) -> bool {
        if matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            let retries = self.options.syn_count.unwrap_or(self.sysctls.tcp_syn_retries);
            let linear = if self.state == TcpState::SynSent { self.sysctls.tcp_syn_linear_timeouts } else { 0 };
            return self.retry.retransmits >= retries + linear
                || self.retransmits_timed_out(now, retries, self.options.user_timeout);
        }
        let retries = if self.orphan {
            self.orphan_retries(self.retry.rto < self.sysctls.tcp_rto_max)
        } else {
            self.sysctls.tcp_retries2
        };
        self.retransmits_timed_out(now, retries, self.options.user_timeout)
    }

    /// Retries of a connection without an owner (Linux tcp_orphan_retries): none where an ICMP error says that there is
    /// no hope; eight if the sysctl leaves it open, unless the timeout has grown to its limit.
    fn orphan_retries(&self, alive: bool) -> u32 {
        match self.sysctls.tcp_orphan_retries {
            _ if self.soft_error.is_some() && !alive => 0,
            0 if alive => ORPHAN_RETRIES_DEFAULT,
            retries => retries,
        }
    }

    /// Whether the first repetition lies `boundary` doubling timeouts back, or `timeout` if that is set.
    fn retransmits_timed_out(&self, now: SimTime, boundary: u32, timeout: SimDuration) -> bool {
        let Some(first) = self.recovery.retrans_stamp.filter(|_| self.retry.retransmits > 0) else { return false };
        let handshake = matches!(self.state, TcpState::SynSent | TcpState::SynReceived);
        let base = if handshake { RTO_INITIAL } else { self.sysctls.tcp_rto_min };
        let limit = if timeout.is_zero() { model_timeout(boundary, base, self.sysctls.tcp_rto_max) } else { timeout };
        now.since(first) >= limit
    }

    /// The peer took its window back after data was sent: its silence is judged as a window probe's.
    fn shut_window_timed_out(&self, now: SimTime) -> bool {
        let silence = now.since(self.retry.last_ack);
        let limit = match self.options.user_timeout {
            SimDuration::ZERO => self.sysctls.tcp_rto_max * 2,
            timeout => timeout,
        };
        self.recovery.retrans_stamp.is_some_and(|first| now.since(first) > limit) && silence > limit
    }

    /// The wait until the next retransmission, but not past the user timeout (Linux tcp_clamp_rto_to_user_timeout).
    fn clamped_to_user_timeout(&self, now: SimTime, wait: SimDuration) -> SimDuration {
        let timeout = self.options.user_timeout;
        let Some(first) = self.recovery.retrans_stamp.filter(|_| !timeout.is_zero()) else { return wait };
        let remaining = timeout.saturating_sub(now.since(first));
        if remaining.is_zero() { SHORTEST } else { wait.min(remaining) }
    }

    /// An ICMP error says that the network knows of the trouble: take one backoff back (RFC 6069).
    pub(super) fn revert_backoff(&mut self, now: SimTime, start: u64) {
        if start != self.snd.una || self.retry.retransmits == 0 || self.retry.backoff == 0 {
            return;
        }
        let Some(head) = self.queue.head() else { return };
        self.retry.backoff -= 1;
        let base = if self.rtt.has_sample() { self.rtt.rto() } else { RTO_INITIAL };
        self.retry.rto = (base * (1 << self.retry.backoff.min(40))).min(self.sysctls.tcp_rto_max);
        let at = head.sent_at + self.retry.rto;
        if at > now {
            self.timers.arm(Purpose::Retransmit, at);
        } else {
            self.on_retransmit_timer(now);
        }
    }

    // ---- tail loss probes ----

    /// Arms a tail loss probe in place of the RTO (Linux tcp_schedule_loss_probe): two round trips after the last
    /// transmission, more if a lone segment's ACK may be delayed, never later than the RTO.
    pub(super) fn schedule_loss_probe(&mut self, now: SimTime, advancing: bool) -> bool {
        let enabled = matches!(self.sysctls.tcp_early_retrans, 3 | 4) && self.agreed.sack;
        let phase_fits = matches!(self.recovery.phase, Phase::Open | Phase::Reducing);
        let Some(head) = self.queue.head().filter(|_| enabled && phase_fits) else { return false };
        let mut wait = if self.rtt.has_sample() {
            let lone = self.queue.packets_out() == 1;
            self.rtt.srtt_span() * 2 + if lone { self.sysctls.tcp_rto_min } else { TIMEOUT_SLACK }
        } else {
            RTO_INITIAL
        };
        let until_rto = if advancing { self.retry.rto } else { (head.sent_at + self.retry.rto).since(now) };
        if !until_rto.is_zero() {
            wait = wait.min(until_rto);
        }
        self.timers.arm(Purpose::LossProbe, now + wait.max(SimDuration::from_micros(1)));
        true
    }

    /// Sends new data if there is any, else the last segment again; then a full RTO runs (Linux tcp_send_loss_probe).
    fn on_loss_probe_timer(&mut self, now: SimTime) {
        if self.recovery.probe_end.is_none() && self.send_loss_probe(now) {
            self.recovery.probe_end = Some(self.snd.nxt);
            self.timers.disarm();
        }
        self.rearm_rto(now);
    }

    fn send_loss_probe(&mut self, now: SimTime) -> bool {
        self.recovery.probe_repeats = false;
        if self.queue.has_unsent() && self.write(now, Nagle::Off, Burst::Probe) > 0 {
            return true;
        }
        let Some(tail) = self.queue.tail() else { return false };
        let (start, len, mss) = (tail.start, tail.payload.len(), self.current_mss());
        let mut from = start;
        if len > mss {
            // Only the last segment's worth of it.
            let index = self.queue.bundles() - 1;
            let first = (len - 1) / mss * mss;
            self.queue.split(index, first, mss);
            from = start + first as u64;
        }
        self.recovery.probe_repeats = true;
        self.retransmit(now, from, 1, RetransmitKind::TailLossProbe) > 0
    }

    // ---- zero-window probes ----

    /// A window probe is due (Linux tcp_probe_timer).
    fn on_window_probe_timer(&mut self, now: SimTime) {
        if self.queue.packets_out() > 0 || !self.queue.has_unsent() {
            self.retry.probes = 0;
            self.retry.probes_since = None;
            return;
        }
        let timeout = self.options.user_timeout;
        let since = *self.retry.probes_since.get_or_insert(now);
        let mut given_up = !timeout.is_zero() && now.since(since) >= timeout;
        let mut limit = self.sysctls.tcp_retries2;
        if self.orphan {
            let alive = self.probe_wait() < self.sysctls.tcp_rto_max;
            limit = self.orphan_retries(alive);
            given_up |= !alive && self.retry.backoff >= limit;
        }
        if given_up || self.retry.probes >= limit {
            return self.fail_timed_out();
        }
        self.wake_peer(now, ProbeKind::ZeroWindow);
        if self.queue.packets_out() > 0 || !self.queue.has_unsent() {
            self.retry.probes = 0;
            self.retry.backoff = 0;
            self.retry.probes_since = None;
            return;
        }
        self.retry.probes += 1;
        if self.retry.backoff < self.sysctls.tcp_retries2 {
            self.retry.backoff += 1;
        }
        let wait = self.probe_wait();
        self.arm_window_probe(now, wait);
    }

    fn probe_wait(&self) -> SimDuration {
        let shift = self.retry.backoff.min(PROBE_BACKOFF_MAX);
        (self.probe_base() * (1 << shift)).min(self.sysctls.tcp_rto_max)
    }

    fn arm_window_probe(&mut self, now: SimTime, wait: SimDuration) {
        let timeout = self.options.user_timeout;
        let mut wait = wait;
        if let (false, Some(since)) = (timeout.is_zero(), self.retry.probes_since) {
            wait = wait.min(timeout.saturating_sub(now.since(since)).max(SHORTEST));
        }
        self.timers.arm(Purpose::WindowProbe, now + wait);
    }

    /// An ACK came while nothing was in flight: the window opened, or the probe's timer starts again at its present
    /// backoff (Linux tcp_ack_probe).
    pub(super) fn on_window_probe_answer(&mut self, now: SimTime) {
        if !self.queue.has_unsent() {
            return;
        }
        let len = self.queue.unsent_len().min(self.current_mss()) as u64;
        let fin = u64::from(self.queue.fin_waiting && len == self.queue.unsent_len() as u64);
        if self.snd.nxt + len + fin <= self.window_end() {
            self.retry.backoff = 0;
            self.retry.probes_since = None;
            self.timers.disarm();
        } else {
            let wait = self.probe_wait();
            self.arm_window_probe(now, wait);
        }
    }

    /// Makes the peer answer: with data if its window has any room, else with a segment that it must refuse (Linux
    /// tcp_write_wakeup).
    fn wake_peer(&mut self, now: SimTime, kind: ProbeKind) {
        let room = self.window_end().saturating_sub(self.snd.nxt) as usize;
        if self.queue.has_unsent() && room > 0 {
            let mss = self.current_mss();
            let (first, more) = self.queue.first_unsent();
            let len = first.min(mss).min(room);
            let fin = self.queue.fin_waiting && !more && len == first && len < room;
            if len > 0 || fin {
                self.queue.cut_first(len);
                return self.send_new(now, len, mss, fin);
            }
        }
        self.log_probe(kind);
        self.send_probe(now);
    }

    // ---- keepalive ----

    pub(super) fn keepalive_idle(&self) -> SimDuration {
        self.options.keepalive_idle.unwrap_or(self.sysctls.tcp_keepalive_time).max(SHORTEST)
    }

    fn keepalive_interval(&self) -> SimDuration {
        self.options.keepalive_interval.unwrap_or(self.sysctls.tcp_keepalive_intvl).max(SHORTEST)
    }

    fn idle_time(&self, now: SimTime) -> SimDuration {
        now.since(self.ack.last_received).min(now.since(self.retry.last_ack))
    }

    /// The keepalive timer fired (Linux tcp_keepalive_timer).
    pub(super) fn on_keepalive_timer(&mut self, now: SimTime) {
        let dead = matches!(self.state, TcpState::Closed | TcpState::SynSent | TcpState::TimeWait);
        if !self.options.keepalive || dead {
            return;
        }
        let idle_limit = self.keepalive_idle();
        let mut wait = idle_limit;
        // With data on its way, that data's own timeouts are the judge.
        if self.queue.packets_out() == 0 && !self.queue.has_unsent() {
            let idle = self.idle_time(now);
            if idle >= idle_limit {
                let count = self.options.keepalive_count.unwrap_or(self.sysctls.tcp_keepalive_probes);
                let timeout = self.options.user_timeout;
                let expired = if timeout.is_zero() {
                    self.retry.probes >= count
                } else {
                    idle >= timeout && self.retry.probes > 0
                };
                if expired {
                    self.send_reset(now);
                    return self.fail_timed_out();
                }
                self.wake_peer(now, ProbeKind::Keepalive);
                self.retry.probes += 1;
                wait = self.keepalive_interval();
            } else {
                wait = idle_limit.saturating_sub(idle);
            }
        }
        self.timers.keepalive = Some(now + wait.max(SimDuration::from_nanos(1)));
    }

    /// SO_KEEPALIVE or one of its times changed.
    pub(super) fn keepalive_options_changed(&mut self, now: SimTime, old: &SocketOptions) {
        let connected = !matches!(self.state, TcpState::Closed | TcpState::SynSent | TcpState::TimeWait)
            && self.request.as_ref().is_none_or(|_| self.state != TcpState::SynReceived);
        if !self.options.keepalive || !connected {
            self.timers.keepalive = None;
        } else if !old.keepalive {
            self.timers.keepalive = Some(now + self.keepalive_idle());
        } else if old.keepalive_idle != self.options.keepalive_idle {
            let left = self.keepalive_idle().saturating_sub(self.idle_time(now));
            self.timers.keepalive = Some(now + left.max(SHORTEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_giving_up() {
        // 200 ms, doubled each time, at most 120 s: the sum of all of them.
        for (retries, millis) in [(3, 3_000), (5, 12_600), (6, 25_400), (7, 51_000), (8, 102_200), (15, 924_600)] {
            let limit = model_timeout(retries, SimDuration::from_millis(200), SimDuration::from_secs(120));
            assert_eq!(limit.as_millis(), millis, "retries2 = {retries}");
        }
    }
}
