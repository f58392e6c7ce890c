//! Tests that every tier must pass, for a tier of your own.
//!
//! [`tier_conformance!`](crate::tier_conformance) emits one test for each of the [`checks`], so
//! that a failure does not hide the others. [`faults`], [`persistence`] and [`sharing`] are for a
//! store that can be cut off, that outlives its process, or that several instances use, and
//! [`tag_sharing`] for what these instances learn of each other's tags;
//! [`backing_off`] is for one that keeps the [back-off](crate::tier::BackOff) of a key.
//!
//! ```
//! # use std::sync::Arc;
//! # use cache_core::tier::{Tier, TierBuilder, TierContext};
//! # #[derive(Clone, Debug, Default)]
//! # struct Shelf;
//! # impl TierBuilder for Shelf {
//! #     fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, cache_core::Error> {
//! #         todo!()
//! #     }
//! # }
//! cache_core::testing::tier_conformance!(Shelf::default());
//! ```

mod back_off;
mod cancellation;
mod faults;
mod leases;
mod many;
mod persistence;
mod records;
mod sharded;
mod sharing;
mod tag_sharing;
mod tags;

use std::sync::Arc;
use std::time::Duration;

pub use self::back_off::backing_off;
pub use self::faults::faults;
pub use self::persistence::persistence;
pub use self::sharing::sharing;
pub use self::tag_sharing::tag_sharing;
use crate::tier::{
    FillResult, FunctionKey, Lease, LeaseMode, LeaseResult, Peers, ReadOptions, RecordKey, Stamp,
    Target, Tier, TierBuilder,
};
pub use crate::tier_conformance;

/// Longer than any operation takes on a store that works.
const SOON: Duration = Duration::from_secs(10);

/// The life of records that must not expire during a check.
const HOUR: Duration = Duration::from_secs(3_600);

/// Emits a test for each of the [`checks`](crate::testing::checks) of a tier.
///
/// The argument is an expression with a [`TierBuilder`](crate::tier::TierBuilder), which each test
/// evaluates once. The store behind it must be empty, and used by no other test. Statements before
/// it can create what the store needs; it lives until the test ends. The tests are
/// `#[tokio::test]`, so the crate needs `tokio` with the features `macros` and `rt`. Put each use
/// of the macro into a module of its own, because the tests are named after the checks.
///
/// ```ignore
/// mod redis {
///     tier_conformance! {
///         let server = Server::start();
///         Redis::new(server.url()).required()
///     }
/// }
/// ```
#[macro_export]
macro_rules! tier_conformance {
    ($(let $name:ident = $value:expr;)* $builder:expr $(,)?) => {
        $crate::__tier_checks! { [$crate::__tier_tests] {{ $(let $name = $value;)* } { $builder }} }
    };
}

/// Calls a macro with the names of all checks, in the order in which a tier that is being written
/// best passes them.
#[doc(hidden)]
#[macro_export]
macro_rules! __tier_checks {
    ([$($callback:tt)+] $($arguments:tt)*) => {
        $($callback)+! {
            $($arguments)*
            [records] filled_record_is_read,
            [records] key_that_was_never_filled_is_a_miss,
            [records] invalidated_key_is_a_miss_and_its_lease_is_void,
            [records] invalidated_function_is_void_and_others_stay_valid,
            [records] matching_keys_are_invalidated,
            [records] invalidation_of_everything_voids_all_records_and_leases,
            [leases] lease_fills_once,
            [leases] exclusive_lease_makes_others_wait_until_it_is_dropped,
            [leases] probe_takes_no_lease,
            [leases] waiter_is_woken_by_a_fill_and_by_an_invalidation,
            [leases] shared_leases_are_granted_together_and_voided_together,
            [leases] shared_lease_does_not_wait_for_an_exclusive_one,
            [leases] preempting_lease_voids_the_lease_before_it,
            [leases] exclusive_lease_is_held_if_the_key_was_filled_since_the_read,
            [leases] guard_refuses_leases_and_fills_until_it_ends,
            [back_off] refresh_lease_is_exclusive,
            [back_off] refresh_lease_leaves_the_record_until_it_is_filled,
            [back_off] failed_refresh_is_backed_off_and_other_modes_are_granted,
            [back_off] failures_are_counted_until_a_fill,
            [back_off] invalidation_and_guard_end_a_back_off,
            [records] records_expire_when_their_life_ends,
            [records] records_of_all_sizes_are_read_as_written,
            [records] keys_with_any_characters_are_kept_apart,
            [records] versions_of_a_function_are_kept_apart,
            [records] keys_that_do_not_match_stay_valid,
            [cancellation] operations_without_time_end_at_once,
            [cancellation] dropped_guard_ends,
            [cancellation] pending_invalidation_makes_its_keys_misses,
            [cancellation] dropped_operations_leave_no_lease_behind,
            [cancellation] operation_dropped_at_any_point_is_done_or_not_done,
            [leases] no_fill_survives_an_invalidation,
            [tags] invalidation_of_tags_takes_no_other_record_with_it,
            [tags] lease_is_void_after_its_key_was_expired,
            [tags] lease_of_a_marked_function_has_the_mark_of_the_ledger,
            [tags] invalidated_tag_voids_the_records_of_older_marks_that_have_it,
            [tags] expired_records_are_stale_and_later_ones_are_not,
            [tags] tagged_record_of_another_ledger_is_void,
            [many] many_keys_have_the_results_that_each_has_alone,
            [many] dropped_operations_on_many_keys_leave_no_lease_behind,
        }
    };
}

/// Calls [`__tier_test`] for each check. The body is one token tree here, because a macro cannot
/// repeat the statements in it once for each check.
#[doc(hidden)]
#[macro_export]
macro_rules! __tier_tests {
    ($body:tt $([$module:ident] $check:ident,)*) => {
        $($crate::__tier_test! { $check $body })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tier_test {
    ($check:ident {{ $($setup:tt)* } { $builder:expr }}) => {
        #[::tokio::test]
        async fn $check() {
            $($setup)*
            $crate::testing::checks::$check(::std::boxed::Box::new($builder)).await;
        }
    };
}

macro_rules! define_checks {
    ($([$module:ident] $check:ident,)*) => {
        /// The checks of a tier: what each must do is its name. Each takes the builder of an empty
        /// store, which no other test uses, and panics with what the tier did not do.
        pub mod checks {
            use super::*;

            $(
                #[doc = concat!("Checks: ", stringify!($check), ".")]
                ///
                /// # Panics
                /// If the tier does not do it.
                pub async fn $check(builder: Box<dyn TierBuilder>) {
                    let store = Store::open(builder).await;
                    let checked = tokio::time::timeout(SOON * 6, $module::$check(&store)).await;
                    assert!(checked.is_ok(), "an operation does not end");
                    store.close().await;
                }
            )*
        }
    };
}

crate::__tier_checks! { [define_checks] }

/// A tier that is checked.
struct Store {
    tier: Arc<dyn Tier>,
}

impl Store {
    async fn open(builder: Box<dyn TierBuilder>) -> Self {
        let built = sharded::build(builder, Peers::none()).expect("the tier is built");
        built.tier.start().await.expect("the tier starts");
        Self { tier: built.tier }
    }

    /// Shuts the tier down, and checks that it fails operations from then on.
    async fn close(self) {
        let pong = self.tier.ping(SOON).await;
        assert!(pong.is_ok(), "the tier does not answer a ping: {pong:?}");
        self.tier.shutdown().await.expect("a shutdown in order");
        let key = key("after the shutdown", 0);
        let read = tokio::time::timeout(SOON, self.read(&key)).await;
        assert!(
            matches!(read, Ok(Err(_))),
            "a read after the shutdown does not fail at once"
        );
    }

    /// Returns the record of a key, and the stamp of a valid one.
    async fn read(
        &self,
        key: &RecordKey,
    ) -> Result<(Option<Vec<u8>>, Option<Stamp>), crate::Error> {
        let found = self.tier.read(key, ReadOptions::default(), SOON).await?;
        Ok((found.record, found.stamp))
    }

    /// Returns the record of a key, if a record with this stamp is valid.
    async fn valid(&self, key: &RecordKey, stamp: Stamp) -> Option<Vec<u8>> {
        let (record, now) = self.read(key).await.expect("the result of a read");
        record.filter(|_| now == Some(stamp))
    }

    async fn lease(&self, key: &RecordKey, mode: LeaseMode) -> LeaseResult {
        let leased = self.tier.lease(key, mode, &[], SOON).await;
        leased.expect("the result of a lease")
    }

    /// Takes a lease that must be granted.
    async fn granted(&self, key: &RecordKey, mode: LeaseMode) -> Lease {
        match self.lease(key, mode).await {
            LeaseResult::Granted(lease) => lease,
            other => panic!("{mode:?} lease on {key:?} was not granted: {other:?}"),
        }
    }

    async fn fill_under(&self, key: &RecordKey, lease: &Lease, record: &[u8]) -> FillResult {
        let filled = self
            .tier
            .fill(key, lease, record.to_vec(), HOUR, SOON)
            .await;
        filled.expect("the result of a fill")
    }

    /// Fills a key as a load does, and returns the stamp of the record.
    async fn fill(&self, key: &RecordKey, record: &[u8]) -> Stamp {
        let lease = self.granted(key, LeaseMode::Preempt).await;
        assert_eq!(
            self.fill_under(key, &lease, record).await,
            FillResult::Stored,
            "{key:?}"
        );
        lease.stamp
    }

    async fn invalidate(&self, target: Target<'_>) {
        let receipt = self.tier.invalidate(target, SOON).await;
        assert_eq!(
            receipt.expect("the result of an invalidation"),
            crate::tier::Receipt::Acked
        );
    }
}

/// Creates a key of a function from a number.
fn key(function: &str, number: u64) -> RecordKey {
    named(function, number.to_string())
}

fn named(function: &str, arguments: String) -> RecordKey {
    versioned(function, 1, arguments)
}

fn versioned(function: &str, version: u32, arguments: String) -> RecordKey {
    let function = Arc::new(FunctionKey::new(function, version));
    let digest = xxhash_rust::xxh3::xxh3_64(format!("{}:{arguments}", function.name).as_bytes());
    RecordKey::new(function, arguments, digest)
}
