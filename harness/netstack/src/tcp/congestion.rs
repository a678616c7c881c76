//! The congestion window: slow start, CUBIC and HyStart, in integers as Linux computes them.
//!
//! Source of the constants: Linux net/ipv4/tcp_cubic.c (fidelity cases flow/slow-start, flow/cubic-after-loss). Windows
//! are in segments.

use halfopen_core::{SimDuration, SimTime};

/// Initial congestion window (RFC 6928, Linux TCP_INIT_CWND).
pub(super) const INITIAL_WINDOW: u32 = 10;
/// A slow-start threshold that nothing reaches (Linux TCP_INFINITE_SSTHRESH).
pub(super) const SSTHRESH_INFINITE: u32 = 0x7fff_ffff;
/// Multiplicative decrease, in 1024ths.
const BETA: u64 = 717;
const BETA_WHOLE: u64 = 1024;
/// C = 0.4 as `bic_scale` 41 * 10 / 1024.
const CUBE_RTT_SCALE: u64 = 410;
/// CUBIC's clock ticks 1024 times a second.
const BICTCP_HZ_SHIFT: u32 = 10;
/// HyStart leaves windows below this alone.
const HYSTART_LOW_WINDOW: u32 = 16;
/// RTT samples before HyStart judges the delay.
const HYSTART_MIN_SAMPLES: u32 = 8;
/// Bounds of HyStart's delay threshold, in microseconds.
const HYSTART_DELAY_MIN: u64 = 4_000;
const HYSTART_DELAY_MAX: u64 = 16_000;
/// ACKs closer together than this are one train, in microseconds.
const HYSTART_ACK_DELTA: u64 = 2_000;

/// The sender's congestion state.
#[derive(Clone, Debug)]
pub(super) struct Congestion {
    pub cwnd: u32,
    pub ssthresh: u32,
    /// Fractions of a segment gathered in congestion avoidance.
    pub cwnd_count: u32,
    cubic: Cubic,
}

#[derive(Clone, Default, Debug)]
struct Cubic {
    count: u32,
    last_max: u32,
    last_cwnd: u32,
    last_time: SimTime,
    origin: u32,
    /// Time to the origin point, in 1024ths of a second.
    k: u64,
    delay_min: u64,
    epoch: Option<SimTime>,
    ack_count: u32,
    tcp_cwnd: u32,
    hystart: HyStart,
}

#[derive(Clone, Default, Debug)]
struct HyStart {
    found: bool,
    samples: u32,
    round_start: SimTime,
    last_ack: SimTime,
    round_end: u64,
    round_rtt: u64,
}

/// Integer cube root, rounded down.
fn cube_root(n: u64) -> u64 {
    let mut root: u64 = 0;
    let mut bit = 1u64 << 21;
    while bit > 0 {
        let candidate = root | bit;
        if candidate.checked_pow(3).is_some_and(|cube| cube <= n) {
            root = candidate;
        }
        bit >>= 1;
    }
    root
}

impl Congestion {
    pub fn new() -> Congestion {
        Congestion { cwnd: INITIAL_WINDOW, ssthresh: SSTHRESH_INFINITE, cwnd_count: 0, cubic: Cubic::default() }
    }

    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// The threshold as it would be if the window was cut by idleness, not by loss.
    pub fn current_ssthresh(&self, reducing: bool) -> u32 {
        if reducing { self.ssthresh } else { self.ssthresh.max((self.cwnd >> 1) + (self.cwnd >> 2)) }
    }

    /// The threshold after a loss; CUBIC's epoch ends.
    pub fn threshold_after_loss(&mut self) -> u32 {
        let cubic = &mut self.cubic;
        cubic.epoch = None;
        let cwnd = u64::from(self.cwnd);
        // Fast convergence: a flow that lost before it came back to its last maximum makes room for others.
        cubic.last_max =
            if self.cwnd < cubic.last_max { (cwnd * (BETA_WHOLE + BETA) / (2 * BETA_WHOLE)) as u32 } else { self.cwnd };
        ((cwnd * BETA / BETA_WHOLE) as u32).max(2)
    }

    /// A retransmission timeout: everything that was learned about the path is void.
    pub fn on_timeout(&mut self, now: SimTime, next: u64) {
        self.cubic = Cubic::default();
        self.cubic.hystart_reset(now, next);
    }

    /// The first data after an idle time: the idle time does not count as growth.
    pub fn on_restart(&mut self, now: SimTime, last_sent: SimTime) {
        let idle = now.since(last_sent);
        if let Some(epoch) = self.cubic.epoch {
            self.cubic.epoch = Some(epoch.saturating_add(idle).min(now));
        }
    }

    /// `acked` segments were delivered while the window was in use.
    pub fn avoid(&mut self, now: SimTime, mut acked: u32) {
        if self.in_slow_start() {
            let grown = (self.cwnd + acked).min(self.ssthresh);
            acked -= grown - self.cwnd;
            self.cwnd = grown;
            if acked == 0 {
                return;
            }
        }
        let per_increase = self.cubic.update(now, self.cwnd, acked);
        if self.cwnd_count >= per_increase {
            self.cwnd_count = 0;
            self.cwnd += 1;
        }
        self.cwnd_count += acked;
        if self.cwnd_count >= per_increase {
            let delta = self.cwnd_count / per_increase;
            self.cwnd_count -= delta * per_increase;
            self.cwnd += delta;
        }
    }

    /// An RTT sample (microseconds) of data that was sent once: may end slow start early (HyStart).
    pub fn on_rtt(&mut self, now: SimTime, rtt: u64, una: u64, next: u64) {
        let cubic = &mut self.cubic;
        if cubic.epoch.is_some_and(|epoch| now.since(epoch) < SimDuration::from_secs(1)) {
            return;
        }
        let delay = rtt.max(1);
        if cubic.delay_min == 0 || cubic.delay_min > delay {
            cubic.delay_min = delay;
        }
        let slow_start = self.cwnd < self.ssthresh;
        if !cubic.hystart.found && slow_start && self.cwnd >= HYSTART_LOW_WINDOW {
            if una > cubic.hystart.round_end {
                cubic.hystart_reset(now, next);
            }
            if cubic.hystart_finds(now, delay) {
                cubic.hystart.found = true;
                self.ssthresh = self.cwnd;
            }
        }
    }
}

impl Cubic {
    fn hystart_reset(&mut self, now: SimTime, next: u64) {
        self.hystart =
            HyStart { found: false, samples: 0, round_start: now, last_ack: now, round_end: next, round_rtt: u64::MAX };
    }

    fn hystart_finds(&mut self, now: SimTime, delay: u64) -> bool {
        let hystart = &mut self.hystart;
        if now.since(hystart.last_ack).as_micros() <= HYSTART_ACK_DELTA {
            hystart.last_ack = now;
            // Without pacing a train of ACKs longer than half the least RTT means a full pipe.
            if now.since(hystart.round_start).as_micros() > self.delay_min >> 1 {
                return true;
            }
        }
        hystart.round_rtt = hystart.round_rtt.min(delay);
        if hystart.samples < HYSTART_MIN_SAMPLES {
            hystart.samples += 1;
            return false;
        }
        let tolerance = (self.delay_min >> 3).clamp(HYSTART_DELAY_MIN, HYSTART_DELAY_MAX);
        hystart.round_rtt > self.delay_min + tolerance
    }

    /// How many acknowledged segments the next segment of window costs.
    fn update(&mut self, now: SimTime, cwnd: u32, acked: u32) -> u32 {
        self.ack_count += acked;
        if self.last_cwnd == cwnd && now.since(self.last_time) <= SimDuration::from_nanos(1_000_000_000 / 32) {
            return self.count.max(2);
        }
        if self.epoch.is_some() && now == self.last_time {
            return self.friendly(cwnd);
        }
        self.last_cwnd = cwnd;
        self.last_time = now;
        if self.epoch.is_none() {
            self.epoch = Some(now);
            self.ack_count = acked;
            self.tcp_cwnd = cwnd;
            if self.last_max <= cwnd {
                (self.k, self.origin) = (0, cwnd);
            } else {
                // K = cbrt(W_max - cwnd) / C, in 1024ths of a second.
                let factor = (1u64 << (10 + 3 * BICTCP_HZ_SHIFT)) / CUBE_RTT_SCALE;
                self.k = cube_root(factor * u64::from(self.last_max - cwnd));
                self.origin = self.last_max;
            }
        }
        let target = self.target(now);
        self.count = if target > cwnd { cwnd / (target - cwnd) } else { 100 * cwnd };
        if self.last_max == 0 && self.count > 20 {
            // No loss yet: grow at 5 % a round trip at least.
            self.count = 20;
        }
        self.friendly(cwnd)
    }

    /// The cubic's value one least RTT from now.
    fn target(&self, now: SimTime) -> u32 {
        let epoch = self.epoch.expect("the epoch has begun");
        let t = ((now.since(epoch).as_micros() + self.delay_min) << BICTCP_HZ_SHIFT) / 1_000_000;
        let offset = t.abs_diff(self.k).min(1 << 18);
        let delta = (CUBE_RTT_SCALE * offset * offset * offset) >> (10 + 3 * BICTCP_HZ_SHIFT);
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        if t < self.k { self.origin.saturating_sub(delta) } else { self.origin.saturating_add(delta) }
    }

    /// At least as fast as Reno would be (TCP friendliness).
    fn friendly(&mut self, cwnd: u32) -> u32 {
        let scale = 8 * (BETA_WHOLE + BETA) / 3 / (BETA_WHOLE - BETA);
        let delta = ((u64::from(cwnd) * scale) >> 3).max(1) as u32;
        while self.ack_count > delta {
            self.ack_count -= delta;
            self.tcp_cwnd += 1;
        }
        if self.tcp_cwnd > cwnd {
            self.count = self.count.min(cwnd / (self.tcp_cwnd - cwnd));
        }
        // The increase is bounded to one segment for every two acknowledged.
        self.count = self.count.max(2);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots() {
        for n in [0u64, 1, 7, 8, 26, 27, 1_000_000, u64::MAX] {
            let root = cube_root(n);
            assert!(root.checked_pow(3).unwrap() <= n, "{n}");
            assert!((root + 1).checked_pow(3).is_none_or(|cube| cube > n), "{n}");
        }
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut congestion = Congestion::new();
        congestion.avoid(SimTime::ZERO, 10);
        assert_eq!(congestion.cwnd, 20);
        congestion.ssthresh = 30;
        congestion.avoid(SimTime::ZERO, 20);
        assert!((30..=32).contains(&congestion.cwnd), "{}", congestion.cwnd);
    }

    #[test]
    fn the_window_comes_back_to_its_maximum_along_the_cubic() {
        let mut congestion = Congestion::new();
        congestion.cwnd = 100;
        congestion.ssthresh = congestion.threshold_after_loss();
        congestion.cwnd = congestion.ssthresh;
        assert_eq!(congestion.cwnd, 70, "beta = 717/1024");
        // K = cbrt(30 / 0.4) = 4.2 s: at RTT 100 ms the window is back at about 100 then, and flat.
        let mut now = SimTime::ZERO;
        let at = |seconds: u64| SimTime::ZERO + SimDuration::from_secs(seconds);
        let mut trace = Vec::new();
        for second in 1..=8 {
            while now < at(second) {
                let cwnd = congestion.cwnd;
                congestion.avoid(now, cwnd);
                now += SimDuration::from_millis(100);
            }
            trace.push(congestion.cwnd);
        }
        assert!((97..=102).contains(&trace[3]), "{trace:?}");
        assert!(trace[4] - trace[3] <= 3, "flat around the maximum: {trace:?}");
        assert!(trace[7] - trace[6] > trace[4] - trace[3], "then convex: {trace:?}");
    }
}
