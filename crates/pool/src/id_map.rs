//! Tables by the numbers that this process gives out itself: no caller can choose them, so they need no
//! hash that resists a choice, which takes ten times as long.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by numbers that this process gives out: calls, workers, keys, attempts.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// 2^64 divided by the golden ratio: its multiples are spread evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hasher of [`IdMap`].
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // Rotated, as a table takes the place from the lowest bits, which a product spreads least.
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;
    use crate::CallId;

    #[test]
    fn successive_numbers_are_spread_over_a_table() {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        let hashes = |first: u64| (first..first + 4096).map(|id| hasher.hash_one(CallId(id)));

        for first in [0, 1 << 20, u64::MAX - 5000] {
            let places: HashSet<_> = hashes(first).map(|hash| hash % 8192).collect();
            let tags: HashSet<_> = hashes(first).map(|hash| hash >> 57).collect();

            assert!(places.len() > 3000, "{} places", places.len());
            assert_eq!(tags.len(), 128);
        }
    }
}
