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

mod function;

pub(crate) use self::function::FunctionFence;
use self::function::WeakFence;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::tier::shard::Shard;

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
    shared: Mutex<Vec<(u64, WeakFence)>>,
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
            && function.admits(start, stripe.number())
    }

    /// Returns `true` if a value is valid whose load began at `start`, for a key with this stripe,
    /// by the function's fence alone. For a put: its own message to other instances raises the
    /// fence of its key.
    pub(crate) fn is_current_for_function(
        &self,
        start: u64,
        stripe: Stripe,
        function: &FunctionFence,
    ) -> bool {
        function.admits(start, stripe.number())
    }

    /// Voids the values of all loads that have begun, for keys with this stripe.
    pub(crate) fn raise(&self, stripe: Stripe) {
        self.raise_to_next(self.stripe(stripe));
    }

    /// Voids the values of all loads of a function that have begun.
    pub(crate) fn raise_function(&self, function: &FunctionFence) {
        function.raise(self.next());
    }

    /// Lets other instances invalidate a function. Called before its first load on this instance
    /// begins.
    pub(crate) fn share(&self, digest: u64, function: &FunctionFence) {
        let mut shared = lock(&self.shared);
        shared.retain(|(_, function)| function.is_alive());
        shared.push((digest, function.downgrade()));
    }

    /// Voids the values of all loads that have begun and whose keys are in `shard`, of the shared
    /// functions with this digest, or of all shared functions.
    ///
    /// The lock is held while the fences are raised. A function that is shared during that time
    /// begins its loads after it.
    pub(crate) fn raise_shared(&self, shard: Shard, digest: Option<u64>) {
        let shared = lock(&self.shared);
        for (known, function) in shared.iter() {
            if digest.is_none_or(|digest| digest == *known) {
                function.raise_in(shard, || self.next());
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
    use crate::tier::shard::ShardCount;

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
        let functions = [1, 2, 2].map(|digest| (digest, FunctionFence::at(0)));
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
        fences.raise_shared(Shard::ONLY, Some(2));
        assert_eq!(counts(start), ([true, false, false], true));
        fences.raise_shared(Shard::ONLY, None);
        assert_eq!(counts(start), ([false, false, false], true));
        assert_eq!(counts(fences.now()), ([true; 3], true));
    }

    #[test]
    fn invalidation_of_one_shard_voids_no_value_of_another() {
        let fences = Fences::new();
        // The first has keys in as many shards as the store, the others in more and in fewer.
        let functions = [4, 8, 2].map(|count| {
            let count = ShardCount::new(count).unwrap();
            FunctionFence::sharded(0, count)
        });
        for function in &functions {
            fences.share(1, function);
        }
        let valid_shards = |start, function| {
            let sixteenths = (0..16_u16).map(|at| Stripe::numbered(at << 12 | 0xFFF));
            let valid = sixteenths.map(|stripe| fences.is_current(start, stripe, function));
            valid.map(u8::from).collect::<Vec<_>>()
        };
        for raise_function in [false, true] {
            let start = fences.now();
            let shard = Shard::all(4).unwrap()[1];
            fences.raise_shared(shard, raise_function.then_some(1));
            let void = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
            assert_eq!(valid_shards(start, &functions[0]), void);
            assert_eq!(valid_shards(start, &functions[1]), void);
            let half = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
            assert_eq!(valid_shards(start, &functions[2]), half);
        }
        let start = fences.now();
        fences.raise_function(&functions[0]);
        assert_eq!(valid_shards(start, &functions[0]), [0; 16]);
        assert_eq!(valid_shards(start, &functions[1]), [1; 16]);
    }
}
