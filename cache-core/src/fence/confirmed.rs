//! Values that were compared with the fences of their tags, and need not be compared again.
//!
//! A hit does not compare each tag of its value with a fence. It compares one number: the number of
//! changes of these fences up to which the value was *confirmed*. If there was no change since, the
//! value is as valid as then. Otherwise its fences are compared, and the value is confirmed up to
//! the number of changes that was read before.
//!
//! Invariants:
//! 1. A change is counted after its fence was raised, and before its invalidation returns.
//! 2. The changes are counted, and not taken from the numbers of invalidations. These can be raised
//!    in another order than they were taken, so the largest number does not say that those below it
//!    were raised.
//! 3. A value is confirmed up to a number of changes that was read before its fences. A change that
//!    the comparison missed was counted after that.

use crate::sync::{AtomicU64, Ordering};

/// The number of changes of the fences of tags and of what was expired.
#[derive(Debug)]
pub(crate) struct Changes(AtomicU64);

impl Changes {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts a change, after its fence was raised. Release: a reader of this number sees the
    /// fence.
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Acquire: fences that are read after this are at least as new. A thread that sees that an
    /// invalidation has returned reads a number with its change.
    #[inline]
    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The number of changes up to which one value was confirmed: none of its tags was invalidated
/// since its load, and nothing made it stale but its time.
///
/// Relaxed: a number that a reader finds is true whenever it finds it. An older one costs a
/// comparison.
#[derive(Debug)]
pub(crate) struct Confirmed(AtomicU64);

/// A number of changes that is never reached.
const NEVER: u64 = u64::MAX;

impl Confirmed {
    /// A value that was never compared with the fences.
    pub(crate) fn never() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    /// Returns `true` if the value was confirmed after the last change.
    #[inline]
    pub(crate) fn holds(&self, changes: &Changes) -> bool {
        self.0.load(Ordering::Relaxed) == changes.count()
    }

    /// Returns `true` if `is_valid` does, which compares the value with its fences, and confirms
    /// the value then.
    pub(crate) fn confirm(&self, changes: &Changes, is_valid: impl FnOnce() -> bool) -> bool {
        // Before the comparison. If it were read after it, a change between the two would count as
        // one that was compared.
        let count = changes.count();
        let is_confirmed = is_valid();
        if is_confirmed {
            self.0.store(count, Ordering::Relaxed);
        }
        is_confirmed
    }
}

#[cfg(all(test, schedules))]
mod schedules;
