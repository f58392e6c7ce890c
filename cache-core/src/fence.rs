//! Fences: numbers that rise with every invalidation, so that a value counts only if its load began after it.
//!
//! A load notes [`Fences::now`] before it reads anything. An invalidation takes the next number and raises the fence of
//! what it names to it. A value is good while its number has reached every fence above it: its key's, its function's.
//! It is the reader who checks, so it does not matter when, or how late, a value is stored.
//!
//! Keys share fences by stripes: an invalidation may drop a neighbour from memory, never spare its target. With
//! [`STRIPES`] stripes one invalidation takes one entry in 65,536 with it, and the table is 512 KiB for a runtime.
//!
//! Invariants:
//! 1. `sequence` and each fence only rise.
//! 2. A load that begins after [`Fences::raise`] returned has a number that reaches the raised fence.
//! 3. A load that began before [`Fences::raise`] was called has a number below it.

use crate::sync::{AtomicU64, Ordering};

/// How many keys' fences are told apart. A power of two.
#[cfg(not(schedules))]
const STRIPES: usize = 1 << 16;
#[cfg(schedules)]
const STRIPES: usize = 1;

/// The fences of one runtime's keys.
#[derive(Debug)]
pub(crate) struct Fences {
    sequence: AtomicU64,
    stripes: Box<[AtomicU64]>,
}

/// The fence of a whole function.
#[derive(Debug)]
pub(crate) struct FunctionFence(AtomicU64);

impl FunctionFence {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Fences {
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The number of a load that begins now. Acquire: what the invalidator did before it raised the fence (its commit)
    /// is seen by a load that has its number.
    pub(crate) fn now(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Whether a value whose load began at `start` counts for a key with `hash`. Acquire pairs with the release in
    /// [`raise`](Self::raise): whoever sees the invalidation's return sees its fence.
    #[inline]
    pub(crate) fn admits(&self, start: u64, hash: u64, function: &FunctionFence) -> bool {
        start >= self.stripe(hash).load(Ordering::Acquire)
            && start >= function.0.load(Ordering::Acquire)
    }

    /// Fences off every value of a key with `hash` whose load has begun.
    pub(crate) fn raise(&self, hash: u64) {
        self.raise_to_next(self.stripe(hash));
    }

    /// Fences off every value of a function whose load has begun.
    pub(crate) fn raise_function(&self, function: &FunctionFence) {
        self.raise_to_next(&function.0);
    }

    /// Max, not store: of two that raise one fence at a time the later number must stay.
    fn raise_to_next(&self, fence: &AtomicU64) {
        let next = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        fence.fetch_max(next, Ordering::AcqRel);
    }

    /// The hash's upper half: the engines take their shards from the lower.
    #[inline]
    fn stripe(&self, hash: u64) -> &AtomicU64 {
        &self.stripes[(hash >> 32) as usize & (STRIPES - 1)]
    }
}

#[cfg(all(test, not(schedules)))]
mod tests {
    use super::*;

    #[test]
    fn a_load_counts_only_if_it_began_at_or_after_the_fence() {
        let fences = Fences::new();
        let function = FunctionFence::new();
        let before = fences.now();
        assert!(fences.admits(before, 7, &function));
        fences.raise(7);
        assert!(!fences.admits(before, 7, &function));
        assert!(
            fences.admits(before, 7 | 1 << 40, &function),
            "another stripe is not touched"
        );
        let after = fences.now();
        assert!(fences.admits(after, 7, &function));
        fences.raise_function(&function);
        assert!(!fences.admits(after, 7, &function));
        assert!(fences.admits(fences.now(), 7, &function));
    }
}
