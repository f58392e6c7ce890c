//! Keys as they are looked up and stored: a function, the bytes of its arguments, and their hash.

use std::fmt;
use std::hash::{Hash, Hasher};

use equivalent::Equivalent;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::hash::{MULTIPLIER, fold};
use super::short::{copy, same};
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
        let (function, arguments) = (self.function, self.arguments);
        let mut bytes = [0; SHORT];
        let rest = match bytes.get_mut(..arguments.len()) {
            Some(place) => {
                copy(arguments, place);
                let len = arguments.len() as u8;
                Rest::Short {
                    function,
                    len,
                    bytes,
                }
            }
            None => Rest::Long {
                function,
                bytes: arguments.into(),
            },
        };
        Key {
            hash: self.hash,
            rest,
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
    rest: Rest,
}

/// The longest arguments, in encoded bytes, that a key holds itself. Then a look-up reads no memory
/// besides the slot of the entry, and the key has no allocation. A key of 40 bytes has room for
/// this.
const SHORT: usize = 26;

/// The function of a key, and the bytes of its arguments.
#[derive(Clone, PartialEq, Eq)]
enum Rest {
    Short {
        function: FunctionId,
        len: u8,
        /// The arguments, and zeros behind them.
        bytes: [u8; SHORT],
    },
    Long {
        function: FunctionId,
        bytes: Box<[u8]>,
    },
}

impl Key {
    #[inline]
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        let (function, arguments) = match &self.rest {
            Rest::Short {
                function,
                len,
                bytes,
            } => (*function, &bytes[..usize::from(*len)]),
            Rest::Long { function, bytes } => (*function, &**bytes),
        };
        KeyRef {
            hash: self.hash,
            function,
            arguments,
        }
    }

    /// Returns `true` if it is a key of that function.
    pub(crate) fn is_of(&self, function: FunctionId) -> bool {
        self.as_ref().function == function
    }

    /// Returns the bytes that the key holds on the heap.
    pub(crate) fn size(&self) -> usize {
        match &self.rest {
            Rest::Short { .. } => 0,
            Rest::Long { bytes, .. } => bytes.len(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.as_ref();
        let arguments = render(key.arguments, &[]);
        write!(f, "Key({:?}, {arguments})", key.function)
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
        let key = key.as_ref();
        self.hash == key.hash
            && self.function == key.function
            && same(self.arguments, key.arguments)
    }
}
