//! The hash functions of keys.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The first fractional digits of pi, as in foldhash: a number without structure.
pub(super) const MULTIPLIER: u64 = 0x2437_54A3_0870_7344 | 1;

/// Combines two words: all bits of their product.
#[inline]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Returns the hash of a function's name, which is the same in every process.
pub(crate) fn name_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// Passes the hash that a key carries to a map.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CarriedHash(u64);

impl Hasher for CarriedHash {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
}

impl BuildHasher for CarriedHash {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}
