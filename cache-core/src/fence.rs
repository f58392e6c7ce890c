//! Fences: numbers that rise with every invalidation. A value is valid only if its load began after
//! it.
//!
//! A load notes [`Fences::now`] before it reads anything. An invalidation takes the next number,
//! and raises the fence of its target to it. A value is valid while its number is at least the
//! fence of its key and that of its function. The reader checks this, so it does not matter when,
//! or how late, a value is stored.
//!
//! An invalidation of a key voids no value of another one ([`keys`]). Keys are known by a digest
//! that is the same in every process, so that other instances can name them.
//!
//! A value that was found valid may be *dated up*: its key was not invalidated up to a later number
//! than that of its load. This holds for the fence of its key alone. The fence of its function is
//! compared with the number of its load, because a number that an invalidation of the function has
//! taken may be raised later than one of a key that is larger.
//!
//! Invariants:
//! 1. `sequence` and each fence only rise.
//! 2. A load that begins after [`Fences::raise`] returned has a number that reaches the raised
//!    fence.
//! 3. A load that began before [`Fences::raise`] was called has a number below it.

mod after;
mod confirmed;
mod digests;
mod function;
mod keys;
mod stripe;

pub(crate) use self::after::FencedAfter;
pub(crate) use self::confirmed::{Changes, Confirmed};
use self::digests::DigestFences;
pub(crate) use self::digests::TagStripes;
pub(crate) use self::function::FunctionFence;
use self::function::WeakFence;
use self::keys::KeyFences;
pub(crate) use self::stripe::Stripe;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::tier::shard::Shard;

/// The fences of one runtime.
#[derive(Debug)]
pub(crate) struct Fences {
    sequence: AtomicU64,
    keys: KeyFences,
    /// The fences of the functions that other instances can invalidate, by the digest of the
    /// function's name. There are as many as there are functions alive.
    shared: Mutex<Vec<(u64, WeakFence)>>,
    tags: DigestFences,
    /// The fences of expired keys, functions and tags. A value from before one is stale, and not
    /// void.
    expiries: DigestFences,
    /// The changes of both.
    changes: Changes,
}

/// The number of fences of tags, 2 MiB: at 100 invalidations of tags a second and a ttl of five
/// minutes, 11 % of the entries with one tag share a fence with an invalidated tag.
#[cfg(not(schedules))]
const TAG_FENCES: usize = 1 << 18;
#[cfg(schedules)]
const TAG_FENCES: usize = 2;

/// The number of fences of what was expired, 512 KiB: one for each stripe of keys, because an entry
/// knows no more of its key. The places of tags and functions have more bits, of which the low ones
/// are used here.
#[cfg(not(schedules))]
const EXPIRY_FENCES: usize = 1 << u16::BITS;
#[cfg(schedules)]
const EXPIRY_FENCES: usize = 2;

impl Fences {
    /// Makes the fences of a runtime without memory.
    pub(crate) fn new() -> Self {
        Self::for_entries(0, false)
    }

    /// Makes the fences of a runtime whose memory may hold this many entries. `with_records` says
    /// that records in other tiers are judged by the fences, too.
    pub(crate) fn for_entries(entries: u64, with_records: bool) -> Self {
        Self {
            sequence: AtomicU64::new(0),
            keys: KeyFences::new(entries, with_records),
            shared: Mutex::new(Vec::new()),
            tags: DigestFences::new(TAG_FENCES),
            expiries: DigestFences::new(EXPIRY_FENCES),
            changes: Changes::new(),
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

    /// Returns `true` if a value is valid whose load began at `start`, for the key with this
    /// digest.
    pub(crate) fn is_current(&self, start: u64, digest: u64, function: &FunctionFence) -> bool {
        let stripe = Stripe::of(digest);
        self.is_current_for_function(start, stripe, function)
            && (self.admits(start, stripe) || self.date_up(start, digest).is_some())
    }

    /// Returns `true` if no key whose values share a fence with this stripe was invalidated after
    /// `dated`. Otherwise [`date_up`](Self::date_up) decides.
    #[inline]
    pub(crate) fn admits(&self, dated: u64, stripe: Stripe) -> bool {
        self.keys.admits(dated, stripe)
    }

    /// Returns the number up to which a value that is dated `dated` may be dated up: the key with
    /// this digest was not invalidated in between. `None` if it was, or if that is not known.
    #[inline]
    pub(crate) fn date_up(&self, dated: u64, digest: u64) -> Option<u64> {
        self.keys.date_up(dated, digest)
    }

    /// Returns `true` if a value is valid whose load began at `start`, for a key with this stripe,
    /// by the function's fence alone. For a put: its own message to other instances raises the
    /// fence of its key.
    #[inline]
    pub(crate) fn is_current_for_function(
        &self,
        start: u64,
        stripe: Stripe,
        function: &FunctionFence,
    ) -> bool {
        function.admits(start, stripe.number())
    }

    /// Voids the values of all loads that have begun, of the key with this digest.
    pub(crate) fn raise(&self, digest: u64) {
        self.keys.raise(digest, || self.next());
    }

    /// Voids the values of all loads of a function that have begun.
    pub(crate) fn raise_function(&self, function: &FunctionFence) {
        function.raise(self.next());
    }

    /// Returns the changes of the fences of tags and expiries, by which values are
    /// [confirmed](Confirmed).
    #[inline]
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Makes the fences of tags, before the first load of a function with tags begins. Without them
    /// no value has a tag, so that nothing is to be raised.
    pub(crate) fn make_tags(&self) {
        self.tags.make();
    }

    /// Returns the places of the fences of the tags with these digests.
    pub(crate) fn tag_stripes(&self, digests: &[u64]) -> TagStripes {
        if digests.is_empty() {
            // Collecting nothing would allocate.
            return TagStripes::default();
        }
        digests
            .iter()
            .map(|digest| self.tags.stripe(*digest))
            .collect()
    }

    /// Returns `true` if none of the tags at these places was invalidated since a load began at
    /// `start`.
    #[inline]
    pub(crate) fn admits_tags(&self, start: u64, stripes: &TagStripes) -> bool {
        self.tags.admits(start, stripes.as_slice())
    }

    /// Voids the values of all loads that have begun and carry the tag with this digest. The shard
    /// does not matter: a tag is invalidated in all of them.
    pub(crate) fn raise_tag(&self, digest: u64) {
        self.tags.raise_if_made(digest, || self.next());
        self.changes.add_one();
    }

    /// Voids the values of all loads that have begun and carry a tag.
    pub(crate) fn raise_all_tags(&self) {
        self.tags.raise_all(self.next());
        self.changes.add_one();
    }

    /// Makes stale the values of all loads that have begun, of the key or the function with this
    /// digest, or with the tag that has it.
    pub(crate) fn expire(&self, digest: u64) {
        self.expiries.make();
        self.expiries.raise_if_made(digest, || self.next());
        self.changes.add_one();
    }

    /// Makes stale the values of all loads that have begun.
    pub(crate) fn expire_all(&self) {
        self.expiries.raise_all(self.next());
        self.changes.add_one();
    }

    /// Returns `true` if anything was expired since a load began at `start`.
    #[inline]
    pub(crate) fn has_expiry_after(&self, start: u64) -> bool {
        !self.expiries.admits_all(start)
    }

    /// Returns `true` if the key with this stripe or the function with this digest was expired
    /// since a load began at `start`. Keys with the same stripe are expired together.
    pub(crate) fn is_expired(&self, start: u64, key: Stripe, function: u64) -> bool {
        let stripes = [key.number().into(), self.expiries.stripe(function)];
        !self.expiries.admits(start, &stripes)
    }

    /// Returns `true` if one of the tags at these places was expired since a load began at `start`.
    pub(crate) fn are_tags_expired(&self, start: u64, stripes: &TagStripes) -> bool {
        !self.expiries.admits(start, stripes.as_slice())
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
        let (key, other) = (7, 7 | 1 << 20);
        assert!(fences.is_current(before, key, &function));
        fences.raise(key);
        assert!(!fences.is_current(before, key, &function));
        assert!(
            fences.is_current(before, other, &function),
            "another key under the same stripe"
        );
        let after = fences.now();
        assert!(fences.is_current(after, key, &function));
        fences.raise_function(&function);
        assert!(!fences.is_current(after, key, &function));
        assert!(fences.is_current(fences.now(), key, &function));
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
            let of = |function: &FunctionFence| fences.is_current(start, 0, function);
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
            let sixteenths = (0..16_u64).map(|at| at << 12 | 0xFFF);
            let valid = sixteenths.map(|digest| fences.is_current(start, digest, function));
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
