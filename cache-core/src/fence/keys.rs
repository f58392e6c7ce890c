//! The fences of keys: an invalidation of one key voids no value of another.
//!
//! Keys share fences by buckets. The fence of a bucket is the number of the last invalidation of
//! one of its keys, and a hit looks at nothing else while its value is as new as that. If it is
//! not, the log of the bucket decides: it has the last [`SLOTS`] keys that were invalidated, each
//! with the number of its last invalidation. If the value's key was not invalidated since, the
//! value is valid, and it is dated up to the fence, so that its next hit is fast again.
//!
//! A log has a floor: the number of the last invalidation that it no longer has. A value that is
//! dated below the floor is void, because it is not known whether its key was invalidated. This
//! happens only to values that were not read during the invalidations of [`SLOTS`] other keys of
//! their bucket, and to loads that ran for so long.
//!
//! A log knows a key by 32 bits of its digest, and the bucket is chosen by others. An invalidation
//! of a key whose bits are the same voids the value. With the fewest buckets, the probability is
//! one in two million million.
//!
//! Invariants:
//! 1. The numbers of a bucket rise. Each is taken, noted and published under the lock of the log.
//!    If it were taken before that, a value could be dated up past an invalidation of its key that
//!    is not in the log yet.
//! 2. The log has each invalidation up to the fence of its bucket, or has its floor at or above
//!    it.
//! 3. A value is dated up to a fence that was read under the lock.

use super::stripe::Stripe;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The number of entries in memory for which there is a bucket. A bucket takes 128 bytes, so the
/// fences take 8 bytes for each entry.
const ENTRIES: u64 = 16;

/// The number of keys that a log has.
#[cfg(not(schedules))]
const SLOTS: usize = 13;
#[cfg(schedules)]
const SLOTS: usize = 2;

/// The smallest number of buckets, 512 KiB. It is for a memory of 65,536 entries. With fewer, a
/// value that is read every ten seconds would be void between two reads if the instances of a small
/// memory invalidate a thousand keys a second.
#[cfg(not(schedules))]
const FEWEST: u64 = 4_096;
#[cfg(schedules)]
const FEWEST: u64 = 1;

/// The largest number of buckets, 8 MiB: as many as there are stripes. It is reached by a memory
/// for a million entries. A larger capacity is often a mere limit, and not reached.
#[cfg(not(schedules))]
const MOST: u64 = STRIPES as u64;
#[cfg(schedules)]
const MOST: u64 = 1;

/// The number of stripes.
const STRIPES: usize = 1 << u16::BITS;

/// The fences of one runtime's keys.
#[derive(Debug)]
pub(super) struct KeyFences {
    /// The fence of each bucket. They are not beside the logs, so that the fences of a memory of
    /// usual size stay in the processor's nearest cache.
    fences: Box<[AtomicU64]>,
    /// The log of each bucket. Its lock is also held while the fence is raised.
    logs: Box<[Mutex<Log>]>,
    /// The number of the last invalidation under each stripe, for a runtime with records that are
    /// judged by fences and never dated up. Written under the lock of the stripe's bucket.
    stripes: Option<Box<[AtomicU64]>>,
}

impl KeyFences {
    /// Makes the fences for a memory of this many entries. `with_stripes` says that there are
    /// records in other tiers that are judged by them.
    pub(super) fn new(entries: u64, with_stripes: bool) -> Self {
        let buckets = (entries / ENTRIES).clamp(FEWEST, MOST);
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            fences: zeros(buckets as usize),
            logs: (0..buckets).map(|_| Mutex::default()).collect(),
            stripes: with_stripes.then(|| zeros(STRIPES)),
        }
    }

    /// Returns `true` if no key of the stripe's bucket was invalidated after `dated`.
    ///
    /// Acquire pairs with the release in [`raise`](Self::raise): a thread that sees that an
    /// invalidation has returned sees its fence.
    #[inline]
    pub(super) fn admits(&self, dated: u64, stripe: Stripe) -> bool {
        dated >= self.fences[self.bucket(stripe)].load(Ordering::Acquire)
    }

    /// Returns the number up to which the key with this digest was not invalidated after `dated`.
    /// `None` if it was, or if that is not known.
    #[cold]
    #[inline(never)]
    pub(super) fn date_up(&self, dated: u64, digest: u64) -> Option<u64> {
        let stripe = Stripe::of(digest);
        let bucket = self.bucket(stripe);
        let log = lock(&self.logs[bucket]);
        // Relaxed: the lock orders these reads after all writes.
        let fence = self.fences[bucket].load(Ordering::Relaxed);
        let is_valid = dated >= fence
            || self.has_stripe_from_before(dated, stripe)
            || log.is_valid(dated, tag(digest));
        is_valid.then_some(fence.max(dated))
    }

    /// Voids the values of a key whose numbers are below the one that `next` takes.
    pub(super) fn raise(&self, digest: u64, next: impl FnOnce() -> u64) {
        let stripe = Stripe::of(digest);
        let bucket = self.bucket(stripe);
        let mut log = lock(&self.logs[bucket]);
        let number = next();
        log.note(number, tag(digest));
        if let Some(stripes) = &self.stripes {
            // Relaxed: it is read under the lock.
            stripes[usize::from(stripe.number())].store(number, Ordering::Relaxed);
        }
        self.fences[bucket].store(number, Ordering::Release);
    }

    fn has_stripe_from_before(&self, dated: u64, stripe: Stripe) -> bool {
        let at = usize::from(stripe.number());
        let stripes = self.stripes.as_ref();
        stripes.is_some_and(|stripes| dated >= stripes[at].load(Ordering::Relaxed))
    }

    /// Scales the number of the stripe to the number of buckets.
    #[inline]
    fn bucket(&self, stripe: Stripe) -> usize {
        usize::from(stripe.number()) * self.fences.len() / STRIPES
    }
}

/// The part of a digest by which a log knows a key. The stripe has other bits.
fn tag(digest: u64) -> u32 {
    (digest >> u16::BITS) as u32
}

/// The keys of one bucket that were invalidated last.
#[derive(Debug, Default)]
struct Log {
    /// The number of the last invalidation that is not in the slots.
    floor: u64,
    slots: [Slot; SLOTS],
}

/// The last invalidation of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The number of the invalidation, from the floor on. Zero for a free slot.
    above_floor: u32,
    tag: u32,
}

impl Log {
    /// Returns `true` if it is known that a key was not invalidated after `dated`.
    fn is_valid(&self, dated: u64, tag: u32) -> bool {
        let number = |slot: &Slot| self.floor + u64::from(slot.above_floor);
        let is_void = |slot: &Slot| slot.tag == tag && number(slot) > dated;
        dated >= self.floor && !self.slots.iter().any(is_void)
    }

    /// Notes the invalidation of a key. Its number is larger than those before.
    fn note(&mut self, number: u64, tag: u32) {
        let at = self.slot_for(tag);
        // If the key is another one, its invalidation is under the floor from now on.
        if self.slots[at].tag != tag {
            self.raise_floor(self.slots[at].above_floor.into());
        }
        // A bucket in which little was invalidated for four billion numbers loses its oldest ones.
        let too_far = (number - self.floor).saturating_sub(u32::MAX.into());
        self.raise_floor(too_far);
        let above_floor = (number - self.floor) as u32;
        self.slots[at] = Slot { above_floor, tag };
    }

    /// Returns the slot that has the key or, if there is none, the one with the smallest number. A
    /// free slot has the smallest.
    fn slot_for(&self, tag: u32) -> usize {
        let order = |at: &usize| (self.slots[*at].tag != tag, self.slots[*at].above_floor);
        (0..SLOTS).min_by_key(order).unwrap_or_default()
    }

    /// Raises the floor by a number, and frees the slots that are not above it any more.
    fn raise_floor(&mut self, by: u64) {
        self.floor += by;
        let by = u32::try_from(by).unwrap_or(u32::MAX);
        for slot in &mut self.slots {
            slot.above_floor = slot.above_floor.saturating_sub(by);
        }
    }
}

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
