//! Shards: the parts of a store, of which each has its own keys and its own link.
//!
//! The low 16 bits of a key's digest are the number of the stripe of its fence. The top bits of
//! these 16 are the key's shard. So the shard of a key follows from its stripe, which an entry in
//! memory knows, and a shard of a store holds the same keys as two shards of a store with twice as
//! many: shard 1 of 2 holds what shards 2 and 3 of 4 hold.

use std::fmt;
use std::ops::Range;

use crate::error::Error;

/// The bits of a digest that a shard follows from.
const BITS: u32 = u16::BITS;

/// One shard of a store: its index, and how many shards the store has.
///
/// A store of one shard has [`Shard::ONLY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u8,
    count: ShardCount,
}

impl Shard {
    /// The shard of a store that has one.
    pub const ONLY: Self = Self {
        index: 0,
        count: ShardCount::ONE,
    };

    /// The largest number of shards.
    pub const MAX: u8 = 64;

    /// Returns the shards of a store that has `of` of them, in the order of their indices.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if `of` is no power of two from 1 to
    /// [`MAX`](Self::MAX).
    pub fn all(of: u8) -> Result<Vec<Self>, Error> {
        let count = ShardCount::new(of)?;
        Ok((0..of).map(|index| Self { index, count }).collect())
    }

    /// Returns the shard that holds the key with this digest, among shards like this one.
    #[must_use]
    pub fn with_key(self, digest: u64) -> Self {
        let index = self.count.index_of(digest) as u8;
        Self { index, ..self }
    }

    /// Returns `true` if the shard holds the key with this digest.
    #[must_use]
    pub fn holds(self, digest: u64) -> bool {
        self.with_key(digest) == self
    }

    /// Returns the index of the shard, from 0.
    #[must_use]
    pub fn index(self) -> u8 {
        self.index
    }

    /// Returns the number of shards that the store has.
    #[must_use]
    pub fn count(self) -> u8 {
        1 << self.count.log2()
    }

    /// Returns `true` if the store has no other shard.
    #[must_use]
    pub fn is_only(self) -> bool {
        self == Self::ONLY
    }

    /// Returns the indices of the shards that have keys of this one, in a store with `count`
    /// shards.
    pub(crate) fn overlap(self, count: ShardCount) -> Range<usize> {
        let index = usize::from(self.index);
        match count.log2().checked_sub(self.count.log2()) {
            Some(finer) => index << finer..(index + 1) << finer,
            None => {
                let index = index >> (self.count.log2() - count.log2());
                index..index + 1
            }
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.index, self.count())
    }
}

/// The number of shards of a store, a power of two. Kept as the shift that makes the index of a
/// shard from the number of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShardCount {
    shift: u8,
}

impl ShardCount {
    pub(crate) const ONE: Self = Self { shift: BITS as u8 };

    /// # Errors
    /// The number is no power of two from 1 to [`Shard::MAX`].
    pub(crate) fn new(of: u8) -> Result<Self, Error> {
        if !of.is_power_of_two() || of > Shard::MAX {
            let problem = format!("a store cannot have {of} shards");
            let error = Error::configuration(problem);
            return Err(error.with_help("use 1, 2, 4, 8, 16, 32 or 64 shards"));
        }
        let shift = (BITS - of.trailing_zeros()) as u8;
        Ok(Self { shift })
    }

    /// Returns the index of the shard that holds the key with this digest.
    #[inline]
    pub(crate) fn index_of(self, digest: u64) -> usize {
        usize::from(digest as u16) >> self.shift
    }

    /// Returns a digest that the shard with this index holds.
    pub(crate) fn digest_in(self, index: usize) -> u64 {
        (index as u64) << self.shift
    }

    /// Returns the number of shards.
    pub(crate) fn get(self) -> usize {
        1 << self.log2()
    }

    /// Returns the larger number.
    pub(crate) fn max(self, other: Self) -> Self {
        match self.shift <= other.shift {
            true => self,
            false => other,
        }
    }

    fn log2(self) -> u32 {
        BITS - u32::from(self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [u8; 7] = [1, 2, 4, 8, 16, 32, 64];

    /// The digests of which no two have the same low 16 bits, with other high bits each.
    fn digests() -> impl Iterator<Item = u64> {
        (0..=u64::from(u16::MAX)).map(|low| low | low.wrapping_mul(0x9E37_79B9) << 16)
    }

    #[test]
    fn each_key_has_one_shard_and_all_shards_have_as_many_keys() {
        for of in COUNTS {
            let shards = Shard::all(of).unwrap();
            assert_eq!(shards.len(), usize::from(of));
            let mut keys = vec![0_u32; shards.len()];
            for digest in digests() {
                let holders = shards.iter().filter(|shard| shard.holds(digest));
                let holders: Vec<_> = holders.collect();
                assert_eq!(holders.len(), 1, "{digest:#x}: {holders:?}");
                keys[usize::from(holders[0].index())] += 1;
            }
            assert_eq!(keys, vec![65_536 / u32::from(of); shards.len()]);
        }
    }

    #[test]
    fn shard_holds_what_two_shards_of_twice_as_many_hold() {
        for of in [1, 2, 4, 8, 16, 32] {
            let (shards, halves) = (Shard::all(of).unwrap(), Shard::all(2 * of).unwrap());
            for digest in digests() {
                let whole = shards[0].with_key(digest);
                let half = halves[0].with_key(digest);
                assert_eq!(half.index() / 2, whole.index(), "{digest:#x} of {of}");
            }
        }
    }

    #[test]
    fn shards_overlap_if_they_have_a_key_in_common() {
        for (of, others) in COUNTS
            .iter()
            .flat_map(|of| COUNTS.map(|other| (*of, other)))
        {
            let count = ShardCount::new(others).unwrap();
            for shard in Shard::all(of).unwrap() {
                assert!(shard.holds(shard.count.digest_in(shard.index.into())));
                let common = digests().filter(|digest| shard.holds(*digest));
                let mut common: Vec<_> = common.map(|digest| count.index_of(digest)).collect();
                common.sort_unstable();
                common.dedup();
                let overlap: Vec<_> = shard.overlap(count).collect();
                assert_eq!(common, overlap, "{shard} and {others}");
            }
        }
    }

    #[test]
    fn number_of_shards_is_a_power_of_two_up_to_64() {
        for of in 0..=u8::MAX {
            assert_eq!(Shard::all(of).is_ok(), COUNTS.contains(&of), "{of}");
        }
        for of in COUNTS {
            let count = ShardCount::new(of).unwrap();
            assert_eq!(count.get(), usize::from(of));
            assert_eq!(count.max(ShardCount::ONE), count);
            assert_eq!(ShardCount::ONE.max(count), count);
        }
        assert_eq!(Shard::all(1).unwrap(), [Shard::ONLY]);
        assert_eq!(Shard::all(8).unwrap()[3].to_string(), "shard 3 of 8");
    }
}
