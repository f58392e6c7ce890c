//! Fences: numbers that rise with every invalidation, so that a value counts only if its load began after it.
//!
//! A load notes [`Fences::now`] before it reads anything. An invalidation takes the next number and raises the fence of
//! what it names to it. A value is good while its number has reached every fence above it: its key's, its function's.
//! It is the reader who checks, so it does not matter when, or how late, a value is stored.
//!
//! Keys share fences by stripes: an invalidation may drop a neighbour from memory, never spare its target. With
//! [`STRIPES`] stripes one invalidation takes one entry in 65,536 with it, and the table is 512 KiB for a runtime. A key's stripe
//! follows from a digest that is the same in every process, so that other instances can name it.
//!
//! Invariants:
//! 1. `sequence` and each fence only rise.
//! 2. A load that begins after [`Fences::raise`] returned has a number that reaches the raised fence.
//! 3. A load that began before [`Fences::raise`] was called has a number below it.

use std::sync::{Arc, Weak};

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// How many keys' fences are told apart. A power of two; their numbers fit in 16 bits.
#[cfg(not(schedules))]
const STRIPES: usize = 1 << 16;
#[cfg(schedules)]
const STRIPES: usize = 1;

/// The place of a key's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripe(u16);

impl Stripe {
    /// By a digest of the key that is the same in every process.
    #[inline]
    pub(crate) fn of(digest: u64) -> Self {
        Self((digest as usize & (STRIPES - 1)) as u16)
    }

    /// By its number.
    #[inline]
    pub(crate) fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[inline]
    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// The fences of one runtime's keys.
#[derive(Debug)]
pub(crate) struct Fences {
    sequence: AtomicU64,
    stripes: Box<[AtomicU64]>,
    /// Of the functions that other instances may invalidate, by the digest of their names. As many as functions live.
    shared: Mutex<Vec<(u64, Weak<FunctionFence>)>>,
}

/// The fence of a whole function.
#[derive(Debug)]
pub(crate) struct FunctionFence(AtomicU64);

impl FunctionFence {
    /// With nothing that was loaded before this number.
    pub(crate) fn at(number: u64) -> Self {
        Self(AtomicU64::new(number))
    }
}

impl Fences {
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            shared: Mutex::new(Vec::new()),
        }
    }

    /// The number of a load that begins now. Acquire: what the invalidator did before it raised the fence (its commit)
    /// is seen by a load that has its number.
    pub(crate) fn now(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// The number of a load that begins now and takes the place of those that have begun: larger than theirs.
    pub(crate) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether a value whose load began at `start` counts for a key with this stripe. Acquire pairs with the release in
    /// [`raise`](Self::raise): whoever sees the invalidation's return sees its fence.
    #[inline]
    pub(crate) fn is_current(&self, start: u64, stripe: Stripe, function: &FunctionFence) -> bool {
        start >= self.stripe(stripe).load(Ordering::Acquire)
            && start >= function.0.load(Ordering::Acquire)
    }

    /// The same for what was put by hand, which its own message to other instances does not fence off: by the function alone.
    pub(crate) fn is_current_for_function(&self, start: u64, function: &FunctionFence) -> bool {
        start >= function.0.load(Ordering::Acquire)
    }

    /// Fences off every value of a key with this stripe whose load has begun.
    pub(crate) fn raise(&self, stripe: Stripe) {
        self.raise_to_next(self.stripe(stripe));
    }

    /// Fences off every value of a function whose load has begun.
    pub(crate) fn raise_function(&self, function: &FunctionFence) {
        self.raise_to_next(&function.0);
    }

    /// Lets other instances invalidate a function, before its first load here begins.
    pub(crate) fn share(&self, digest: u64, function: &Arc<FunctionFence>) {
        let mut shared = lock(&self.shared);
        shared.retain(|(_, function)| function.strong_count() > 0);
        shared.push((digest, Arc::downgrade(function)));
    }

    /// Fences off every value whose load has begun, of the shared functions with this digest, or of them all.
    ///
    /// The lock is held while they are raised: a function that is shared meanwhile begins its loads after it.
    pub(crate) fn raise_shared(&self, digest: Option<u64>) {
        let shared = lock(&self.shared);
        for (known, function) in shared.iter() {
            if digest.is_none_or(|digest| digest == *known)
                && let Some(function) = function.upgrade()
            {
                self.raise_function(&function);
            }
        }
    }

    /// Max, not store: of two that raise one fence at a time the later number must stay.
    fn raise_to_next(&self, fence: &AtomicU64) {
        fence.fetch_max(self.next(), Ordering::AcqRel);
    }

    #[inline]
    fn stripe(&self, stripe: Stripe) -> &AtomicU64 {
        &self.stripes[stripe.0 as usize & (STRIPES - 1)]
    }
}

#[cfg(all(test, not(schedules)))]
mod tests {
    use super::*;

    #[test]
    fn a_load_counts_only_if_it_began_at_or_after_the_fence() {
        let fences = Fences::new();
        let function = FunctionFence::at(0);
        let before = fences.now();
        let (stripe, other) = (Stripe::of(7), Stripe::of(8));
        assert!(fences.is_current(before, stripe, &function));
        fences.raise(stripe);
        assert!(!fences.is_current(before, stripe, &function));
        assert!(
            fences.is_current(before, other, &function),
            "another stripe is not touched"
        );
        let after = fences.now();
        assert!(fences.is_current(after, stripe, &function));
        fences.raise_function(&function);
        assert!(!fences.is_current(after, stripe, &function));
        assert!(fences.is_current(fences.now(), stripe, &function));
    }

    #[test]
    fn other_instances_reach_shared_functions_alone() {
        let fences = Fences::new();
        let functions = [1, 2, 2].map(|digest| (digest, Arc::new(FunctionFence::at(0))));
        for (digest, function) in &functions {
            fences.share(*digest, function);
        }
        let private = FunctionFence::at(0);
        let counts = |start| {
            let of = |function: &FunctionFence| fences.is_current(start, Stripe::of(0), function);
            (
                functions.each_ref().map(|(_, function)| of(function)),
                of(&private),
            )
        };
        let start = fences.now();
        fences.raise_shared(Some(2));
        assert_eq!(counts(start), ([true, false, false], true));
        fences.raise_shared(None);
        assert_eq!(counts(start), ([false, false, false], true));
        assert_eq!(counts(fences.now()), ([true; 3], true));
    }
}
