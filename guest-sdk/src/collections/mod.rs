//! Maps and sets whose order is the same in every run.
//!
//! A rule must give the same answer each time, so no answer may depend on the random order of a
//! hash map. Parameters and fields use [`Map`], which is small. [`BTreeMap`] and [`BTreeSet`] add
//! 12 kB to a module. The hash maps here use a fixed seed.

mod map;

use core::hash::{BuildHasherDefault, Hasher};

pub use map::Map;
pub use std::collections::{BTreeMap, BTreeSet};

/// A hash map with a fixed seed. Its order has no meaning, but it is the same in every run.
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// A hash set with a fixed seed. Its order has no meaning, but it is the same in every run.
pub type HashSet<T> = std::collections::HashSet<T, BuildHasherDefault<FixedHasher>>;

/// The FNV-1a hash: small, and good enough for the few entries that a rule keeps during one call.
#[derive(Clone, Copy, Debug)]
pub struct FixedHasher(u64);

impl Default for FixedHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_map_has_the_same_order_each_time() {
        let keys = || {
            (0..100)
                .map(|key| (key * 7919, ()))
                .collect::<HashMap<u64, ()>>()
                .into_keys()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(), keys());
    }
}
