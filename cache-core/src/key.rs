//! Keys: a function and its arguments, as bytes that no other argument list shares.
//!
//! Arguments are serialized into a tagged binary form ([`encode`]) on the caller's stack: every value carries its
//! type, every text its length, so two lists meet only if they are equal. A hash by a per-process seed finds the
//! entry, the full bytes decide. The readable form that a shared tier shows is rendered from the same bytes
//! ([`text`]), only when that tier is asked.

mod encode;
mod opaque;
mod replay;
mod text;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use equivalent::Equivalent;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

pub use self::encode::Refused;
pub(crate) use self::opaque::Opaque;
pub(crate) use self::replay::UnboundArguments;
pub use self::text::Piece;
pub(crate) use self::text::{is_cut, render};
use crate::error::Error;

/// A value that can be part of a cache key: whatever serde can serialize.
///
/// Implemented for every `T: Serialize`. Values that are equal must serialize equally, which a `HashSet` does not:
/// its order is not fixed. (Maps are fine, their entries are sorted.) And values that differ must serialize differently:
/// what `#[serde(skip)]` leaves out is not in the key.
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

/// Encoded arguments, on the stack while they are short, and the hash of what was encoded.
///
/// The hash is taken of each value as it is written, while it is in a register: to read the bytes back at once would wait
/// for the stores before it. It is a chain of folded multiplications, as in foldhash and wyhash; texts go through XXH3.
pub struct Arguments {
    hash: u64,
    len: usize,
    inline: [u8; INLINE],
    spill: Vec<u8>,
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self.as_bytes(), &[]))
    }
}

/// The fractional digits of pi, as foldhash has them: no structure of its own.
const MULTIPLIER: u64 = 0x2437_54A3_0870_7344 | 1;

/// All bits of the product of two words.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// What the hash of a function's keys begins with. `seed` is the runtime's own, so that nobody outside the process can
/// choose keys that meet.
pub(crate) fn function_seed(seed: u64, function: FunctionId) -> u64 {
    fold(seed ^ u64::from(function.0), MULTIPLIER)
}

/// The hash of a function's name, the same in every process.
pub(crate) fn name_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

#[cold]
fn no_key(refused: Refused) -> Error {
    let problem = "no key can be made of the arguments";
    Error::with_source(crate::ErrorKind::Codec, problem, refused)
}

impl Arguments {
    /// Encodes what `list` lists; `seed` is the function's.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a `Serialize` implementation refuses its value.
    #[inline]
    pub(crate) fn encode(list: impl ArgumentList, seed: u64) -> Result<Self, Error> {
        let mut bytes = Self::empty(seed);
        match list.encode(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(refused) => Err(no_key(refused)),
        }
    }

    /// Encodes what `list` lists, for a function that is bound later.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub(crate) fn unbound(list: impl ArgumentList) -> Result<UnboundArguments, Error> {
        let arguments = Self::encode(list, 0)?;
        Ok(UnboundArguments(arguments.as_bytes().into()))
    }

    #[inline]
    fn empty(seed: u64) -> Self {
        Self {
            hash: seed,
            len: 0,
            inline: [0; INLINE],
            spill: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.spill.is_empty() {
            &self.inline[..self.len]
        } else {
            &self.spill
        }
    }

    /// The key of `function` with these arguments.
    #[inline]
    pub(crate) fn key(&self, function: FunctionId) -> KeyRef<'_> {
        KeyRef {
            hash: self.hash,
            function,
            arguments: self.as_bytes(),
        }
    }

    /// A word into the hash. `tag` tells words of different kinds apart.
    #[inline]
    fn mix(&mut self, tag: u8, word: u64) {
        self.hash = fold(self.hash ^ word, MULTIPLIER ^ (u64::from(tag) << 40));
    }

    /// Appends without touching the hash.
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

    /// A lone tag.
    #[inline]
    fn tag(&mut self, tag: u8) {
        self.mix(tag, 0);
        self.push(&[tag]);
    }

    /// The beginning of a sequence. Turned in, not folded: its end is folded.
    #[inline]
    fn open(&mut self, tag: u8) {
        self.hash = self.hash.rotate_left(7) ^ u64::from(tag);
        self.push(&[tag]);
    }

    /// A tag and a number of up to eight bytes.
    #[inline]
    fn number<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let mut word = [0; 8];
        word[..N].copy_from_slice(&bytes);
        self.mix(tag, u64::from_le_bytes(word));
        self.push(&[tag]);
        self.push(&bytes);
    }

    /// A number of sixteen bytes, behind its tag.
    fn wide(&mut self, bytes: [u8; 16]) {
        self.encoded(&bytes);
    }

    /// Bytes that were encoded apart.
    fn encoded(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
        self.push(bytes);
    }

    /// Bytes behind their length.
    #[inline]
    fn text(&mut self, text: &[u8]) {
        self.mix(0, text.len() as u64);
        self.hash = xxh3_64_with_seed(text, self.hash);
        self.push(&(text.len() as u64).to_le_bytes()[..4]);
        self.push(text);
    }
}

/// Takes the arguments of a key, one after another.
pub struct Parts<'a> {
    out: &'a mut Arguments,
    refused: Option<Refused>,
}

impl Parts<'_> {
    /// Adds an argument. What is wrong with its type is said here, once: all that comes after takes any list.
    #[inline]
    pub fn add<T: KeyArgument + ?Sized>(&mut self, argument: &T) {
        self.serialize(argument);
    }

    /// Adds one whose type has no name where the function stands: the type goes into the key.
    #[inline]
    pub fn add_opaque<T: KeyArgument + ?Sized>(&mut self, argument: &T) {
        self.serialize(&Opaque(argument));
    }

    #[inline]
    fn serialize<T: Serialize + ?Sized>(&mut self, argument: &T) {
        if let Err(refused) = argument.serialize(&mut encode::Encoder::new(self.out)) {
            self.refused = Some(refused);
        }
    }
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// The arguments of a call, in order.
pub trait ArgumentList {
    /// Writes them all.
    ///
    /// # Errors
    /// When a `Serialize` implementation refuses its value.
    fn encode(self, out: &mut Arguments) -> Result<(), Refused>;
}

impl<F: FnOnce(&mut Parts<'_>)> ArgumentList for F {
    #[inline]
    fn encode(self, out: &mut Arguments) -> Result<(), Refused> {
        out.open(encode::tag::SEQUENCE);
        let mut parts = Parts { out, refused: None };
        self(&mut parts);
        parts.out.tag(encode::tag::END);
        parts.refused.map_or(Ok(()), Err)
    }
}

/// A tuple, whose serialization lists what is in it.
pub(crate) struct Tuple<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> ArgumentList for Tuple<'_, T> {
    #[inline]
    fn encode(self, out: &mut Arguments) -> Result<(), Refused> {
        self.0.serialize(&mut encode::Encoder::new(out))
    }
}

/// A key to look up with: borrowed, its hash computed once.
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
        KeyRef {
            hash: self.hash,
            function: self.function,
            arguments: &self.arguments,
        }
    }

    /// Whether it is a key of that function.
    pub(crate) fn is_of(&self, function: FunctionId) -> bool {
        self.function == function
    }

    /// Bytes this key holds on the heap.
    pub(crate) fn size(&self) -> usize {
        self.arguments.len()
    }

    /// A digest of the arguments, for a function whose name has the hash `name`; the same in every process and version.
    pub(crate) fn digest(&self, name: u64) -> u128 {
        xxh3_128_with_seed(&self.arguments, name)
    }
}

impl fmt::Debug for UnboundArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.0, &[]))
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

/// Whether two byte strings are equal, by words: for keys of some ten bytes a call of `memcmp` costs more than the rest.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
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
