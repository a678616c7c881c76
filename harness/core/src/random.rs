//! Seeded random streams: one for each purpose, so that a draw for one never moves another.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A share as a whole number of billionths, so that no floating point stands between a seed and a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ratio(u32);

impl Ratio {
    const WHOLE: u32 = 1_000_000_000;
    /// Never.
    pub const ZERO: Ratio = Ratio(0);
    /// Always.
    pub const ONE: Ratio = Ratio(Ratio::WHOLE);

    /// `parts` billionths; more than a billion counts as a billion.
    pub const fn from_billionths(parts: u32) -> Ratio {
        Ratio(if parts > Ratio::WHOLE { Ratio::WHOLE } else { parts })
    }

    /// `percent` hundredths; more than 100 counts as 100.
    pub const fn from_percent(percent: u32) -> Ratio {
        Ratio::from_billionths(if percent > 100 { Ratio::WHOLE } else { percent * 10_000_000 })
    }

    /// Billionths.
    pub const fn as_billionths(self) -> u32 {
        self.0
    }

    /// For reports only: never for a decision inside a run.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Ratio::WHOLE)
    }
}

/// A stream of random numbers that depends on the run's seed, on what it is for and on an index, and on
/// nothing else: adding a host or a fault moves no other stream.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream for `purpose` number `index` of the run with this `seed`.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Stream {
        // The purpose is folded into the ChaCha key beside the seed: FNV-1a (64 bits), which is fixed for all time,
        // unlike std's hashers.
        let mut label: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in purpose.bytes() {
            label = (label ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut key = [0u8; 32];
        key[0..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&label.to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        key[24..32].copy_from_slice(b"halfopen");
        Stream(ChaCha8Rng::from_seed(key))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A whole number from 0 up to but not including `bound`, from exactly one draw of 64 bits (the bias is below
    /// `bound` / 2^64). Zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let draw = self.next_u64();
        ((u128::from(draw) * u128::from(bound)) >> 64) as u64
    }

    /// Whether an event of this probability happens: exactly one draw, whatever the probability.
    pub fn chance(&mut self, probability: Ratio) -> bool {
        self.below(u64::from(Ratio::WHOLE)) < u64::from(probability.0)
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_purpose_and_index_only() {
        let draw = |seed, purpose, index| Stream::new(seed, purpose, index).next_u64();
        assert_eq!(draw(1, "loss", 0), draw(1, "loss", 0));
        assert_ne!(draw(1, "loss", 0), draw(2, "loss", 0));
        assert_ne!(draw(1, "loss", 0), draw(1, "jitter", 0));
        assert_ne!(draw(1, "loss", 0), draw(1, "loss", 1));
    }

    #[test]
    fn certainties_are_certain() {
        let mut stream = Stream::new(7, "test", 0);
        assert!((0..1000).all(|_| stream.chance(Ratio::ONE)));
        assert!((0..1000).all(|_| !stream.chance(Ratio::ZERO)));
    }
}
