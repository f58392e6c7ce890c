//! Keys: a function and its arguments, as bytes that no other argument list shares.
//!
//! Arguments are serialized into a tagged binary form ([`encode`]) on the caller's stack: every value carries its
//! type, every text its length, so two lists meet only if they are equal. A hash by a per-process seed finds the
//! entry, the full bytes decide. The readable form that a shared tier shows is rendered from the same bytes
//! ([`text`]), only when that tier is asked.

mod encode;
mod text;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use equivalent::Equivalent;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

pub(crate) use self::text::render;
pub use self::text::Piece;
use crate::error::Error;

/// A value that can be part of a cache key: whatever serde can serialize.
///
/// Implemented for every `T: Serialize`. Values that are equal must serialize equally, which a `HashSet` does not:
/// its order is not fixed. (Maps are fine, their entries are sorted.)
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "no key can be made of this argument",
    note = "derive `serde::Serialize` for `{Self}`, or leave the argument out of the key with `skip(..)`"
)]
pub trait KeyArgument: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyArgument for T {}

/// A function in one runtime, by number. Numbers are never used again within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionId(pub(crate) u32);

/// Longest arguments, in encoded bytes, that stay on the stack. Nearly all keys of real services do; longer ones
/// cost one allocation per look-up.
const INLINE: usize = 120;

/// Encoded arguments, on the stack while they are short.
pub(crate) struct Arguments {
    len: usize,
    inline: [u8; INLINE],
    spill: Vec<u8>,
}

impl Arguments {
    /// Encodes `arguments`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a `Serialize` implementation refuses its value.
    #[inline]
    pub(crate) fn encode<A: Serialize + ?Sized>(arguments: &A) -> Result<Self, Error> {
        let mut bytes = Self { len: 0, inline: [0; INLINE], spill: Vec::new() };
        arguments.serialize(&mut encode::Encoder::new(&mut bytes)).map_err(|refused| {
            Error::with_source(crate::ErrorKind::Codec, "make a key of the arguments", refused)
        })?;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.spill.is_empty() { &self.inline[..self.len] } else { &self.spill }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.spill.is_empty() && end <= INLINE {
            self.inline[self.len..end].copy_from_slice(bytes);
            self.len = end;
        } else {
            self.push_slow(bytes);
        }
    }

    #[cold]
    fn push_slow(&mut self, bytes: &[u8]) {
        if self.spill.is_empty() {
            self.spill.reserve((self.len + bytes.len()).max(2 * INLINE));
            self.spill.extend_from_slice(&self.inline[..self.len]);
        }
        self.spill.extend_from_slice(bytes);
    }
}

/// A key to look up with: borrowed, its hash computed once.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) hash: u64,
    pub(crate) function: FunctionId,
    pub(crate) arguments: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// `seed` is the runtime's own, so that nobody outside can choose keys that meet in a hash.
    #[inline]
    pub(crate) fn new(seed: u64, function: FunctionId, arguments: &'a [u8]) -> Self {
        // An odd multiplier spreads the small function numbers over the seed's bits.
        let seed = seed ^ u64::from(function.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { hash: xxh3_64_with_seed(arguments, seed), function, arguments }
    }

    pub(crate) fn to_owned(self) -> Key {
        Key { hash: self.hash, function: self.function, arguments: self.arguments.into() }
    }
}

/// A key that is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    hash: u64,
    function: FunctionId,
    arguments: Box<[u8]>,
}

impl Key {
    #[inline]
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, function: self.function, arguments: &self.arguments }
    }

    /// Bytes this key holds on the heap.
    pub(crate) fn size(&self) -> usize {
        self.arguments.len()
    }

    /// A digest of the arguments that is the same in every process and version.
    pub(crate) fn digest(&self) -> u128 {
        xxh3_128(&self.arguments)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {})", self.function, render(&self.arguments, &[]))
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
        self.hash == key.hash && self.function == key.function && *self.arguments == *key.arguments
    }
}

/// Hands the hash that a key carries through to the map.
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

#[cfg(test)]
mod tests;
