//! Fences: numbers that rise with every invalidation. A value is valid only if its load began after
//! it.
//!
//! A load notes [`Fences::now`] before it reads anything. An invalidation takes the next number,
//! and raises the fence of its target to it. A value is valid while its number is at least the
//! fence of its key and that of its function. The reader checks this, so it does not matter when,
//! or how late, a value is stored.
//!
//! Keys share fences by stripes. An invalidation may void the value of another key, and never
//! misses its own. With [`STRIPES`] stripes one invalidation voids one entry in 65,536, and the
//! table takes 512 KiB for a runtime. The stripe of a key follows from a digest that is the same in
//! every process, so that other instances can name it.
//!
//! Invariants:
//! 1. `sequence` and each fence only rise.
//! 2. A load that begins after [`Fences::raise`] returned has a number that reaches the raised
//!    fence.
//! 3. A load that began before [`Fences::raise`] was called has a number below it.

use std::sync::{Arc, Weak};

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The number of stripes, a power of two. The number of a stripe fits in 16 bits.
#[cfg(not(schedules))]
const STRIPES: usize = 1 << 16;
#[cfg(schedules)]
const STRIPES: usize = 1;

/// The stripe of a key's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripe(u16);

impl Stripe {
    /// Returns the stripe of a key, by its digest.
    #[inline]
    pub(crate) fn of(digest: u64) -> Self {
        Self((digest as usize & (STRIPES - 1)) as u16)
    }

    /// Returns the stripe with a number.
    #[inline]
    pub(crate) fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number of the stripe.
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
    /// The fences of the functions that other instances can invalidate, by the digest of the
    /// function's name. There are as many as there are functions alive.
    shared: Mutex<Vec<(u64, Weak<FunctionFence>)>>,
}

/// The fence of a whole function.
#[derive(Debug)]
pub(crate) struct FunctionFence(AtomicU64);

impl FunctionFence {
    /// Makes the fence of a function. Values that were loaded before this number are not valid.
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

    /// Returns the number for a load that begins now. Acquire: a load with the number of an
    /// invalidation sees what the caller did before it invalidated, such as its commit.
    pub(crate) fn now(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Returns a number for a load that replaces those in progress. It is larger than theirs.
    pub(crate) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns `true` if a value is valid whose load began at `start`, for a key with this stripe.
    /// Acquire pairs with the release in [`raise`](Self::raise): a thread that sees that an
    /// invalidation has returned sees its fence.
    #[inline]
    pub(crate) fn is_current(&self, start: u64, stripe: Stripe, function: &FunctionFence) -> bool {
        start >= self.stripe(stripe).load(Ordering::Acquire)
            && start >= function.0.load(Ordering::Acquire)
    }

    /// Returns `true` if a value is valid whose load began at `start`, by the function's fence
    /// alone. For a put: its own message to other instances raises the fence of its key.
    pub(crate) fn is_current_for_function(&self, start: u64, function: &FunctionFence) -> bool {
        start >= function.0.load(Ordering::Acquire)
    }

    /// Voids the values of all loads that have begun, for keys with this stripe.
    pub(crate) fn raise(&self, stripe: Stripe) {
        self.raise_to_next(self.stripe(stripe));
    }

    /// Voids the values of all loads of a function that have begun.
    pub(crate) fn raise_function(&self, function: &FunctionFence) {
        self.raise_to_next(&function.0);
    }

    /// Lets other instances invalidate a function. Called before its first load on this instance
    /// begins.
    pub(crate) fn share(&self, digest: u64, function: &Arc<FunctionFence>) {
        let mut shared = lock(&self.shared);
        shared.retain(|(_, function)| function.strong_count() > 0);
        shared.push((digest, Arc::downgrade(function)));
    }

    /// Voids the values of all loads that have begun, of the shared functions with this digest, or
    /// of all shared functions.
    ///
    /// The lock is held while the fences are raised. A function that is shared during that time
    /// begins its loads after it.
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

    /// Raises a fence. Max instead of store: if two threads raise it at the same time, the later
    /// number must stay.
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
    fn value_is_valid_only_if_its_load_began_at_or_after_the_fence() {
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
    fn other_instances_invalidate_shared_functions_only() {
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
