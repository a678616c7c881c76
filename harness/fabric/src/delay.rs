//! Latencies: distributions as tables of whole nanoseconds.
//!
//! A table holds the quantiles at the middles of [`DELAY_TABLE_LEN`] equal shares, so that each entry is as likely as
//! any other and one draw of 64 bits picks one. It is built once, with `libm` (the same on every machine), as netem
//! builds its own (tc-netem(8), `distribution`).

use std::f64::consts::{PI, SQRT_2};
use std::sync::Arc;

use halfopen_core::{SimDuration, Stream};

use crate::config::Delay;

/// Entries of a delay table: rarer latencies than 1 in so many do not occur.
pub const DELAY_TABLE_LEN: usize = 4096;

/// Draws latencies.
#[derive(Clone, Debug)]
pub(crate) enum Sampler {
    Fixed(SimDuration),
    Uniform { min: SimDuration, max: SimDuration },
    Table(Arc<[SimDuration]>),
}

impl Sampler {
    pub(crate) fn new(delay: Delay) -> Sampler {
        match delay {
            Delay::Fixed(always) => Sampler::Fixed(always),
            Delay::Uniform { min, max } => Sampler::Uniform { min: min.min(max), max: max.max(min) },
            Delay::Normal { mean, deviation } => table(mean, deviation, normal),
            Delay::LogNormal { mean, deviation } => table(mean, deviation, log_normal),
            Delay::Pareto { mean, deviation } => table(mean, deviation, pareto),
        }
    }

    /// One latency, for exactly one draw.
    pub(crate) fn draw(&self, stream: &mut Stream) -> SimDuration {
        match self {
            Sampler::Fixed(always) => {
                stream.next_u64();
                *always
            }
            Sampler::Uniform { min, max } => {
                let width = (*max - *min).as_nanos().saturating_add(1);
                *min + SimDuration::from_nanos(stream.below(width))
            }
            Sampler::Table(table) => table[stream.below(table.len() as u64) as usize],
        }
    }

    /// The latency of every packet, if it is the same.
    pub(crate) fn always(&self) -> Option<SimDuration> {
        match self {
            Sampler::Fixed(always) => Some(*always),
            Sampler::Uniform { .. } | Sampler::Table(_) => None,
        }
    }

    /// The median, without a draw.
    pub(crate) fn median(&self) -> SimDuration {
        match self {
            Sampler::Fixed(always) => *always,
            Sampler::Uniform { min, max } => *min + (*max - *min) / 2,
            Sampler::Table(table) => table[table.len() / 2],
        }
    }
}

/// The table of a distribution with this mean and deviation. `quantile` is told the standard normal quantile and the
/// share below it.
fn table(mean: SimDuration, deviation: SimDuration, quantile: fn(f64, f64, f64, f64) -> f64) -> Sampler {
    if deviation.is_zero() || mean.is_zero() {
        return Sampler::Fixed(mean);
    }
    let (m, s) = (mean.as_nanos() as f64, deviation.as_nanos() as f64);
    let entries = normal_quantiles().into_iter().map(|(z, share)| {
        // `as` stops at 0 and at the largest number, and takes no number at all for 0.
        SimDuration::from_nanos(libm::round(quantile(m, s, z, share)) as u64)
    });
    let entries: Arc<[SimDuration]> = entries.collect();
    assert!(entries.is_sorted(), "quantiles rise");
    Sampler::Table(entries)
}

fn normal(mean: f64, deviation: f64, z: f64, _: f64) -> f64 {
    mean + deviation * z
}

fn log_normal(mean: f64, deviation: f64, z: f64, _: f64) -> f64 {
    let ratio = deviation / mean;
    let variance = libm::log1p(ratio * ratio);
    mean * libm::exp(libm::sqrt(variance) * z - variance / 2.0)
}

fn pareto(mean: f64, deviation: f64, _: f64, share: f64) -> f64 {
    // Type I with shape a: deviation / mean = 1 / sqrt(a (a - 2)), so a = 1 + sqrt(1 + (mean / deviation)^2).
    let ratio = mean / deviation;
    let shape = 1.0 + libm::sqrt(1.0 + ratio * ratio);
    let least = mean * (shape - 1.0) / shape;
    least * libm::pow(1.0 - share, -1.0 / shape)
}

/// The standard normal quantile of each entry's middle, and that middle.
fn normal_quantiles() -> Vec<(f64, f64)> {
    let half = DELAY_TABLE_LEN / 2;
    let mut upper = Vec::with_capacity(half);
    let mut z = 0.0;
    for index in half..DELAY_TABLE_LEN {
        let share = (index as f64 + 0.5) / DELAY_TABLE_LEN as f64;
        // Newton's method; the neighbour's quantile is a good place to start from.
        for _ in 0..NEWTON_STEPS {
            let below = 1.0 - 0.5 * libm::erfc(z / SQRT_2);
            let density = libm::exp(-z * z / 2.0) / libm::sqrt(2.0 * PI);
            z -= (below - share) / density;
        }
        upper.push((z, share));
    }
    let lower = upper.iter().rev().map(|&(z, share)| (-z, 1.0 - share));
    lower.chain(upper.iter().copied()).collect()
}

/// Enough for all digits but the last few, even at the ends of the table.
const NEWTON_STEPS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and deviation of a sampler's table, in microseconds.
    fn moments(delay: Delay) -> (u64, u64) {
        let Sampler::Table(table) = Sampler::new(delay) else { panic!("no table") };
        let n = table.len() as f64;
        let mean = table.iter().map(|d| d.as_nanos() as f64).sum::<f64>() / n;
        let variance = table.iter().map(|d| (d.as_nanos() as f64 - mean).powi(2)).sum::<f64>() / n;
        ((mean / 1e3).round() as u64, (variance.sqrt() / 1e3).round() as u64)
    }

    #[test]
    fn tables_have_the_moments_they_were_made_for() {
        let (mean, deviation) = (SimDuration::from_millis(20), SimDuration::from_millis(5));
        assert_eq!(moments(Delay::Normal { mean, deviation }), (20_000, 4_999));
        assert_eq!(moments(Delay::LogNormal { mean, deviation }), (20_000, 4_998));
        // The tail of a Pareto distribution has no end, but the table has one.
        assert_eq!(moments(Delay::Pareto { mean, deviation }), (19_998, 4_952));
    }

    #[test]
    fn a_normal_latency_is_never_negative() {
        let (mean, deviation) = (SimDuration::from_millis(1), SimDuration::from_millis(5));
        let Sampler::Table(table) = Sampler::new(Delay::Normal { mean, deviation }) else { panic!("no table") };
        assert_eq!(table[0], SimDuration::ZERO);
        assert!(table[4095] > SimDuration::from_millis(17) && table[4095] < SimDuration::from_millis(21));
    }

    #[test]
    fn every_sampler_takes_one_draw() {
        let (mean, deviation) = (SimDuration::from_millis(20), SimDuration::from_millis(5));
        for delay in [
            Delay::Fixed(mean),
            Delay::Uniform { min: deviation, max: mean },
            Delay::Normal { mean, deviation },
            Delay::LogNormal { mean, deviation },
            Delay::Pareto { mean, deviation },
        ] {
            let mut one = Stream::new(1, "delay", 0);
            let mut other = one.clone();
            Sampler::new(delay).draw(&mut one);
            other.next_u64();
            assert_eq!(one.next_u64(), other.next_u64(), "{delay:?}");
        }
    }
}
