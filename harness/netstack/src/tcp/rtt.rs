//! Round-trip time, and the retransmission timeout that Linux makes of it.
//!
//! It is not RFC 6298's: the floor (`tcp_rto_min_us`, 200 ms) lies under the variance term and not under the whole, so
//! RTO >= SRTT + 200 ms; the variance is the largest deviation of a round trip, rises at once, and falls by a quarter
//! of the gap once in a round trip; and a sudden fall of the RTT moves it at an eighth of the usual gain
//! (Linux net/ipv4/tcp_input.c, tcp_rtt_estimator; fidelity cases loss/blip-* on paths of 10, 50 and 200 ms).

use halfopen_core::{SimDuration, SimTime};

/// RTO before any sample (RFC 6298): SYN and SYN-ACK (Linux TCP_TIMEOUT_INIT).
pub(super) const RTO_INITIAL: SimDuration = SimDuration::from_secs(1);
/// RTO for data if the handshake gave no sample (Linux TCP_TIMEOUT_FALLBACK).
pub(super) const RTO_FALLBACK: SimDuration = SimDuration::from_secs(3);
/// The timeout is a whole number of these: a jiffy of the kernel that was measured (CONFIG_HZ=250). Timers are otherwise
/// nominal, but this rounding decides which backoff is the last (A3), so it is kept.
const RTO_GRAIN: u64 = 4_000;
/// How long the least RTT counts (Linux `tcp_min_rtt_wlen`, 300 s).
const MIN_RTT_WINDOW: SimDuration = SimDuration::from_secs(300);

/// The estimator. All figures are microseconds; `srtt` is kept eightfold and the deviations fourfold, as in Linux.
#[derive(Clone, Debug)]
pub(super) struct RttEstimator {
    srtt8: u64,
    mdev4: u64,
    mdev_max4: u64,
    rttvar4: u64,
    /// Where the current round trip ends: when this is acknowledged, the variance may fall.
    round_end: u64,
    min_rtt: Option<(u64, SimTime)>,
    rto_min: u64,
    rto_max: SimDuration,
}

impl RttEstimator {
    pub fn new(rto_min: SimDuration, rto_max: SimDuration) -> RttEstimator {
        let initial = RTO_INITIAL.as_micros();
        RttEstimator {
            srtt8: 0,
            mdev4: initial,
            mdev_max4: initial,
            rttvar4: initial,
            round_end: 0,
            min_rtt: None,
            rto_min: rto_min.as_micros(),
            rto_max,
        }
    }

    /// Whether there was any sample.
    pub fn has_sample(&self) -> bool {
        self.srtt8 != 0
    }

    /// The smoothed RTT in microseconds, 0 before the first sample.
    pub fn srtt(&self) -> u64 {
        self.srtt8.div_ceil(8)
    }

    /// The smoothed RTT as a span.
    pub fn srtt_span(&self) -> SimDuration {
        SimDuration::from_micros(self.srtt())
    }

    /// The deviation as TCP_INFO shows it.
    pub fn rttvar_span(&self) -> SimDuration {
        SimDuration::from_micros(self.mdev4 >> 2)
    }

    /// The least RTT of the last five minutes in microseconds; `None` before the first sample.
    pub fn min_rtt(&self) -> Option<u64> {
        self.min_rtt.map(|(rtt, _)| rtt)
    }

    /// The handshake gave no sample: be careful with the first data.
    pub fn fall_back(&mut self) {
        let fallback = RTO_FALLBACK.as_micros();
        (self.rttvar4, self.mdev4, self.mdev_max4) = (fallback, fallback, fallback);
    }

    /// One sample in microseconds. `una` and `nxt` are the send positions, to count round trips.
    pub fn sample(&mut self, now: SimTime, rtt: u64, una: u64, nxt: u64) {
        self.note_min(now, rtt);
        if self.srtt8 == 0 {
            self.srtt8 = (rtt << 3).max(1);
            self.mdev4 = rtt << 1;
            self.rttvar4 = self.mdev4.max(self.rto_min);
            self.mdev_max4 = self.rttvar4;
            self.round_end = nxt;
            return;
        }
        let error = rtt as i64 - (self.srtt8 >> 3) as i64;
        self.srtt8 = (self.srtt8 as i64 + error).max(1) as u64;
        let deviation = if error < 0 {
            let excess = -error - (self.mdev4 >> 2) as i64;
            // The RTT fell by more than the deviation: not a reason to expect larger ones, so an eighth of the gain.
            if excess > 0 { excess >> 3 } else { excess }
        } else {
            error - (self.mdev4 >> 2) as i64
        };
        self.mdev4 = (self.mdev4 as i64 + deviation).max(0) as u64;
        if self.mdev4 > self.mdev_max4 {
            self.mdev_max4 = self.mdev4;
            self.rttvar4 = self.rttvar4.max(self.mdev_max4);
        }
        if una > self.round_end {
            if self.mdev_max4 < self.rttvar4 {
                self.rttvar4 -= (self.rttvar4 - self.mdev_max4) >> 2;
            }
            self.round_end = nxt;
            self.mdev_max4 = self.rto_min;
        }
    }

    fn note_min(&mut self, now: SimTime, rtt: u64) {
        let stale = self.min_rtt.is_none_or(|(least, at)| rtt <= least || now.since(at) > MIN_RTT_WINDOW);
        if stale {
            self.min_rtt = Some((rtt, now));
        }
    }

    /// The retransmission timeout without backoff.
    pub fn rto(&self) -> SimDuration {
        let micros = (self.srtt() + self.rttvar4).next_multiple_of(RTO_GRAIN);
        SimDuration::from_micros(micros).min(self.rto_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(rtt_ms: u64, rounds: u64) -> RttEstimator {
        let mut estimator = RttEstimator::new(SimDuration::from_millis(200), SimDuration::from_secs(120));
        for round in 0..rounds {
            estimator.sample(SimTime::ZERO, rtt_ms * 1000, round * 10, round * 10 + 10);
        }
        estimator
    }

    #[test]
    fn the_floor_is_under_the_variance() {
        // Measured on Linux 6.18: RTT 0.05 ms -> 204, 20 -> 220, 50 -> 252, 131 -> 332.
        for (rtt_ms, rto_ms) in [(0, 204), (20, 220), (50, 252), (131, 332)] {
            assert_eq!(settled(rtt_ms, 50).rto().as_millis(), rto_ms, "RTT {rtt_ms} ms");
        }
        assert_eq!(settled(200, 1).rto(), SimDuration::from_millis(600), "a fresh connection of 200 ms");
    }

    #[test]
    fn a_poisoned_handshake_triples_the_rto() {
        assert_eq!(settled(1027, 1).rto(), SimDuration::from_millis(3084));
    }

    #[test]
    fn a_falling_rtt_hardly_moves_the_deviation() {
        let (mut falling, mut rising) = (settled(100, 50), settled(100, 50));
        falling.sample(SimTime::ZERO, 20_000, 495, 500);
        rising.sample(SimTime::ZERO, 180_000, 495, 500);
        assert!(falling.mdev4 * 4 < rising.mdev4, "{} against {}", falling.mdev4, rising.mdev4);
    }
}
