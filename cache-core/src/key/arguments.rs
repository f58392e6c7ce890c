//! The bytes of encoded arguments, and their hash.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::hash::{hash_text, mix};
use super::short;
use super::stored::{FunctionId, KeyRef};
use super::text::render;

/// The longest arguments, in encoded bytes, that stay on the stack. Nearly all keys of real
/// services do. Longer ones cost one allocation per look-up.
const INLINE: usize = 120;

/// The bytes before a text: its tag and its length.
const TEXT_HEADER: usize = 5;

/// Encoded arguments, on the stack while they are short, and their hash.
///
/// Each value is hashed as it is written, while it is in a register: reading the bytes back at once
/// would wait for the stores before it. The hash is a chain of folded multiplications, as in
/// foldhash and wyhash; long texts are hashed by XXH3.
pub struct Arguments {
    pub(super) hash: u64,
    len: usize,
    inline: [u8; INLINE],
    spill: Vec<u8>,
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self.as_bytes(), &[]))
    }
}

impl Arguments {
    /// Makes an empty list of arguments. `seed` is that of the function.
    #[inline]
    pub(crate) fn empty(seed: u64) -> Self {
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

    /// Returns the key of `function` with these arguments.
    #[inline]
    pub(crate) fn key(&self, function: FunctionId) -> KeyRef<'_> {
        KeyRef {
            hash: self.hash,
            function,
            arguments: self.as_bytes(),
        }
    }

    /// Adds a word to the hash. `tag` distinguishes words of different kinds.
    #[inline]
    fn mix(&mut self, tag: u8, word: u64) {
        self.hash = mix(self.hash, tag, word);
    }

    /// Appends bytes that are not hashed.
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
        self.spilled(bytes.len()).extend_from_slice(bytes);
    }

    /// Returns the bytes so far, on the heap, with room for `more`. What most often follows has
    /// room too, so that the arguments are allocated once.
    #[cold]
    fn spilled(&mut self, more: usize) -> &mut Vec<u8> {
        if self.spill.is_empty() {
            self.spill.reserve(self.len + more + INLINE);
            self.spill.extend_from_slice(&self.inline[..self.len]);
        }
        &mut self.spill
    }

    /// Writes a tag.
    #[inline]
    pub(super) fn tag(&mut self, tag: u8) {
        self.mix(tag, 0);
        self.push(&[tag]);
    }

    /// Begins a sequence. Its tag is not folded into the hash, because the tag of its end is. It is
    /// not a rotation either: that would be like another length of a text that follows.
    #[inline]
    pub(super) fn open(&mut self, tag: u8) {
        self.hash = self.hash.wrapping_mul(9).wrapping_add(u64::from(tag));
        self.push(&[tag]);
    }

    /// Writes a tag and a number of up to eight bytes.
    #[inline]
    pub(super) fn number<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let mut word = [0; 8];
        word[..N].copy_from_slice(&bytes);
        self.mix(tag, u64::from_le_bytes(word));
        self.push(&[tag]);
        self.push(&bytes);
    }

    /// Writes a number of sixteen bytes, whose tag was written.
    pub(super) fn wide(&mut self, bytes: [u8; 16]) {
        self.encoded(&bytes);
    }

    /// Writes bytes that were encoded separately.
    pub(super) fn encoded(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
        self.push(bytes);
    }

    /// Writes a tag, and bytes after their length. Most texts of keys have a few bytes, for which
    /// the calls of a hash function and of `memcpy` would cost more than a look-up in a map.
    #[inline]
    pub(super) fn text(&mut self, tag: u8, text: &[u8]) {
        self.hash = hash_text(self.hash, tag, text);
        let len = (text.len() as u64).to_le_bytes();
        let end = self.len + TEXT_HEADER + text.len();
        match self.inline.get_mut(self.len..end) {
            Some([first, l0, l1, l2, l3, place @ ..]) if self.spill.is_empty() => {
                *first = tag;
                [*l0, *l1, *l2, *l3] = [len[0], len[1], len[2], len[3]];
                short::copy(text, place);
                self.len = end;
            }
            _ => {
                let spilled = self.spilled(TEXT_HEADER + text.len());
                spilled.push(tag);
                spilled.extend_from_slice(&len[..4]);
                spilled.extend_from_slice(text);
            }
        }
    }
}
