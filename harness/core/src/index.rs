//! A table that is found by its keys and never walked: what a hot path looks things up in.
//!
//! Ordered maps compare a key with some dozen others at each look; a hash looks at one. A hash table's order is no order,
//! though, so that nothing here gives a way to see it: what must be walked belongs in an ordered map, or is sorted by
//! whoever walks it. The hash is fixed for all time and the same in every run.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

/// Values by key, in no order.
#[derive(Clone)]
#[expect(clippy::disallowed_types, reason = "its hash is fixed and its order is seen by nobody")]
pub struct Index<K, V>(std::collections::HashMap<K, V, Fixed>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Index<K, V> {
        Index(Default::default())
    }
}

impl<K, V> fmt::Debug for Index<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index of {}", self.0.len())
    }
}

impl<K: Eq + Hash, V> Index<K, V> {
    /// The value of this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The value of this key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Whether there is a value of this key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Puts a value in; gives the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// The value of this key; one that is not there is made.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.0.entry(key).or_insert_with(make)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Makes the hasher, without any seed.
#[derive(Clone, Copy, Debug, Default)]
struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(0)
    }
}

/// Folds each word into the state by a multiplication whose both halves count.
struct Folding(u64);

impl Folding {
    /// An odd number with no pattern in its bits: the fraction of the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn word(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ word ^ Folding::FACTOR) * u128::from(Folding::FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn what_is_put_in_is_found_until_it_is_taken_out() {
        let mut index = Index::default();
        for key in 0u32..1_000 {
            assert_eq!(index.insert(key, key + 1), None);
        }
        *index.get_or_insert_with(7, || unreachable!("it is there")) = 0;
        assert_eq!((index.len(), index.get(&7), index.get(&1_000)), (1_000, Some(&0), None));
        assert_eq!((index.remove(&7), index.remove(&7)), (Some(0), None));
        assert!(!index.contains_key(&7) && index.contains_key(&8));
    }

    #[test]
    fn addresses_are_spread_over_both_ends_of_the_hash() {
        // The table takes the place from the low bits and a tag from the seven highest.
        let mut low = [0u32; 1 << 10];
        let mut high = [0u32; 1 << 7];
        for host in 0..64u8 {
            for port in 0..256u16 {
                let address = SocketAddr::from(([10, 0, 0, host], 32_768 + 2 * port));
                let hash = Fixed.hash_one((address, address));
                low[hash as usize % (1 << 10)] += 1;
                high[(hash >> 57) as usize] += 1;
            }
        }
        // 16 and 128 on average.
        assert!(low.iter().all(|&count| count < 48), "{:?}", low.iter().max());
        assert!(high.iter().all(|&count| (64..256).contains(&count)), "{high:?}");
    }
}
