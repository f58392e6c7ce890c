//! The hash functions of keys.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{short, tag};

/// The first fractional digits of pi, as in foldhash: a number without structure.
pub(super) const MULTIPLIER: u64 = 0x2437_54A3_0870_7344 | 1;

/// Combines two words: all bits of their product.
#[inline]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Adds a word to a hash. `tag` distinguishes words of different kinds.
#[inline]
pub(super) fn mix(hash: u64, tag: u8, word: u64) -> u64 {
    fold(hash ^ word, MULTIPLIER ^ (u64::from(tag) << 40))
}

/// Adds a text to a hash. `tag` distinguishes texts of different kinds.
///
/// Up to 32 bytes, the text is two or four words, and each pair of words is one folded
/// multiplication. Both factors depend on the hash so far, which no outsider knows. If one did not,
/// an outsider could make it zero, and all texts with that word would have one hash.
///
/// The hash of a short text is rotated by a number that its tag and length determine. If they were
/// combined with the words, an outsider could compensate for another length by other words.
#[inline]
pub(super) fn hash_text(hash: u64, tag: u8, text: &[u8]) -> u64 {
    let len = text.len();
    let kind = match tag {
        tag::STR => 0,
        tag::BYTES => 1,
        _ => 2,
    };
    if len <= 16 {
        return pair(hash.rotate_left(17 * kind + len as u32), short::words(text));
    }
    let hash = mix(hash, tag, len as u64);
    match short::ends(text) {
        Some([first, last]) if len <= 32 => pair(pair(hash, words(first)), words(last)),
        _ => xxh3_64_with_seed(text, hash),
    }
}

/// Adds two words to a hash.
#[inline]
fn pair(hash: u64, [a, b]: [u64; 2]) -> u64 {
    fold(hash ^ a, hash.rotate_left(32) ^ MULTIPLIER ^ b)
}

fn words(bytes: u128) -> [u64; 2] {
    [bytes as u64, (bytes >> 64) as u64]
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
