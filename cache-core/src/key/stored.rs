//! Keys as they are looked up and stored: a function, the bytes of its arguments, and their hash.

use std::fmt;
use std::hash::{Hash, Hasher};

use equivalent::Equivalent;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::hash::{MULTIPLIER, fold};
use super::text::render;

/// The number of a function in one runtime. Numbers are not reused within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionId(pub(crate) u32);

/// Returns the number with which the hash of a function's keys begins. `seed` is that of the
/// runtime: without it, an outsider could choose keys that collide.
pub(crate) fn function_seed(seed: u64, function: FunctionId) -> u64 {
    fold(seed ^ u64::from(function.0), MULTIPLIER)
}

/// A borrowed key to look up with. Its hash is computed once.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) hash: u64,
    pub(crate) function: FunctionId,
    pub(crate) arguments: &'a [u8],
}

impl KeyRef<'_> {
    pub(crate) fn to_owned(self) -> Key {
        Key {
            hash: self.hash,
            function: self.function,
            arguments: self.arguments.into(),
        }
    }

    /// Returns a digest of the arguments, for a function whose name has the hash `name`. It is the
    /// same in every process and version.
    pub(crate) fn digest(self, name: u64) -> u128 {
        xxh3_128_with_seed(self.arguments, name)
    }
}

/// An owned key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    hash: u64,
    function: FunctionId,
    arguments: Box<[u8]>,
}

impl Key {
    #[inline]
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            hash: self.hash,
            function: self.function,
            arguments: &self.arguments,
        }
    }

    /// Returns `true` if it is a key of that function.
    pub(crate) fn is_of(&self, function: FunctionId) -> bool {
        self.function == function
    }

    /// Returns the bytes that the key holds on the heap.
    pub(crate) fn size(&self) -> usize {
        self.arguments.len()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Key({:?}, {})",
            self.function,
            render(&self.arguments, &[])
        )
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    #[inline]
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash
            && self.function == key.function
            && same(self.arguments, &key.arguments)
    }
}

/// Compares two byte strings by words: for keys of some ten bytes a call of `memcmp` costs more
/// than the comparison itself.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    words_a
        .iter()
        .zip(words_b)
        .all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && rest_a.iter().zip(rest_b).all(|(a, b)| a == b)
}
