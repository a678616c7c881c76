//! Draws from the distributions of the scenario language.

use std::time::Duration;

use halfopen_core::{SimDuration, Stream};
use halfopen_scenario::value::Distribution;

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// One draw. Two numbers of the stream, whatever the distribution, so that the next draw does not depend on this one.
///
/// Floating point is used here, by `libm`, which gives the same bits on every machine: these are times of programs, not
/// of packets.
pub(crate) fn sample(distribution: Distribution, random: &mut Stream) -> Duration {
    let (first, second) = (unit(random), unit(random));
    let seconds = SimDuration::as_secs_f64;
    let drawn = match distribution {
        Distribution::Fixed(span) => return span.into(),
        Distribution::Uniform { low, high } => seconds(low) + first * (seconds(high) - seconds(low)),
        Distribution::Exponential { mean } => -libm::log(first) * seconds(mean),
        Distribution::Normal { mean, deviation } => seconds(mean) + normal(first, second) * seconds(deviation),
        Distribution::LogNormal { median, p99 } => {
            let sigma = libm::log(seconds(p99) / seconds(median)) / NORMAL_P99;
            seconds(median) * libm::exp(sigma * normal(first, second))
        }
        Distribution::Pareto { min, p99 } => {
            // P(X > p99) = (min / p99)^alpha = 1 %.
            let alpha = libm::log(100.0) / libm::log(seconds(p99) / seconds(min));
            seconds(min) / libm::pow(first, 1.0 / alpha)
        }
    };
    Duration::try_from_secs_f64(drawn.max(0.0)).unwrap_or(Duration::MAX)
}

/// Between 0 and 1, neither included.
fn unit(random: &mut Stream) -> f64 {
    (random.below(1 << 53) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A standard normal deviate (Box and Muller).
fn normal(first: f64, second: f64) -> f64 {
    libm::sqrt(-2.0 * libm::log(first)) * libm::cos(std::f64::consts::TAU * second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(distribution: Distribution, share: f64) -> f64 {
        let mut random = Stream::new(1, "test", 0);
        let mut draws: Vec<f64> = (0..20_000).map(|_| sample(distribution, &mut random).as_secs_f64()).collect();
        draws.sort_by(f64::total_cmp);
        draws[(share * draws.len() as f64) as usize]
    }

    #[test]
    fn distributions_have_the_shape_they_are_named_by() {
        let ms = SimDuration::from_millis;
        for (distribution, share, expected) in [
            (Distribution::Fixed(ms(5)), 0.5, 0.005),
            (Distribution::Uniform { low: ms(2), high: ms(8) }, 0.5, 0.005),
            (Distribution::Exponential { mean: ms(10) }, 0.5, 0.010 * 0.693),
            (Distribution::Normal { mean: ms(20), deviation: ms(2) }, 0.8413, 0.022),
            (Distribution::LogNormal { median: ms(5), p99: ms(50) }, 0.5, 0.005),
            (Distribution::LogNormal { median: ms(5), p99: ms(50) }, 0.99, 0.050),
            (Distribution::Pareto { min: ms(5), p99: ms(50) }, 0.99, 0.050),
        ] {
            let actual = quantile(distribution, share);
            assert!(
                (actual - expected).abs() < expected * 0.1,
                "{distribution:?} at {share}: {actual}, not {expected}"
            );
        }
    }
}
