//! What every tier must do, as tests: for a store of your own, [`conformance`] in one of its tests.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cache_core::tier::{Tier, TierBuilder, TierContext};
//! # #[derive(Clone, Debug, Default)]
//! # struct Shelf;
//! # impl TierBuilder for Shelf {
//! #     fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, cache_core::Error> { todo!() }
//! # }
//! #[tokio::test]
//! async fn it_is_a_tier() {
//!     // Each store that it makes is empty, and is used by nobody else.
//!     cache_core::testing::conformance(|| Box::new(Shelf::default())).await;
//! }
//! ```

mod dropped;
mod faults;
mod leases;
mod persistence;
mod records;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use self::dropped::*;
pub use self::faults::faults;
use self::leases::*;
pub use self::persistence::persistence;
use self::records::*;
pub use self::sharing::sharing;
use crate::level::Level;
use crate::tier::{
    FillResult, FunctionKey, Lease, LeaseMode, LeaseResult, Peers, ReadOptions, RecordKey, Stamp,
    Target, Tier, TierBuilder, TierContext,
};

/// Longer than any operation takes on a store that works.
const SOON: Duration = Duration::from_secs(10);

/// How long records live that are not to die.
const HOUR: Duration = Duration::from_secs(3_600);

/// Runs every check, each on a store of its own, which `new` makes: empty, and used by nobody else. Takes some seconds.
///
/// It tells by names, in the order of its checks, what a tier must do; that is what the docs of [`Tier`] say. What a store does that
/// is cut off, that outlives its process, or that others use is for [`faults`], [`persistence`] and [`sharing`].
///
/// # Panics
/// With what the tier did not do.
pub async fn conformance(new: impl Fn() -> Box<dyn TierBuilder>) {
    macro_rules! run {
        ($($check:ident),* $(,)?) => {
            $(
                let store = Store::open(new()).await;
                let _named = Named(stringify!($check));
                let checked = tokio::time::timeout(SOON * 6, $check(&store)).await;
                assert!(checked.is_ok(), "{}: it hangs", stringify!($check));
                store.close(stringify!($check)).await;
            )*
        };
    }
    run!(
        what_was_filled_is_read,
        what_was_never_filled_is_not_there,
        an_invalidated_key_is_gone_and_its_lease_void,
        an_invalidated_function_is_void_and_no_other,
        what_matches_is_invalidated,
        everything_can_be_invalidated,
        a_lease_fills_once,
        one_loads_and_others_wait,
        a_look_takes_nothing,
        who_waits_is_woken,
        shared_leases_fill_beside_each_other,
        a_shared_lease_waits_for_nobody,
        who_takes_over_voids_the_lease_before,
        what_was_filled_meanwhile_is_looked_at,
        a_guard_keeps_everybody_from_filling,
        lives_are_kept,
        all_sizes_come_back_as_they_were,
        keys_of_any_characters_do_not_meet,
        versions_of_a_function_do_not_meet,
        what_does_not_match_stays,
        who_has_no_time_is_answered_at_once,
        a_guard_that_is_dropped_ends,
        what_is_owed_is_not_read,
        what_is_dropped_leaves_nothing_behind,
        wherever_it_is_dropped_nothing_is_half_done,
        no_fill_survives_an_invalidation,
    );
}

/// Tells which check it was that fails.
struct Named(&'static str);

impl Drop for Named {
    #[expect(
        clippy::print_stderr,
        reason = "it stands beside the panic's own message"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the tier does not do what `{}` asks", self.0);
        }
    }
}

/// A tier that is checked.
struct Store {
    tier: Arc<dyn Tier>,
}

impl Store {
    async fn open(builder: Box<dyn TierBuilder>) -> Self {
        let context = TierContext::new(Level::L2, Peers::none());
        let tier = builder.build(&context).expect("the tier is built");
        tier.start().await.expect("the tier starts");
        Self { tier }
    }

    async fn close(self, check: &str) {
        let health = self.tier.ping(SOON).await;
        assert!(
            health.is_ok(),
            "{check}: it gives no sign of life: {health:?}"
        );
        self.tier.shutdown().await.expect("the tier ends in order");
        let key = key("after the end", 0);
        let read = tokio::time::timeout(SOON, self.read(&key)).await;
        assert!(
            matches!(read, Ok(Err(_))),
            "{check}: a tier that has ended answers with an error, and at once"
        );
    }

    async fn read(
        &self,
        key: &RecordKey,
    ) -> Result<(Option<Vec<u8>>, Option<Stamp>), crate::Error> {
        let found = self.tier.read(key, ReadOptions::default(), SOON).await?;
        Ok((found.record, found.stamp))
    }

    /// The record of a key, if it would be valid.
    async fn valid(&self, key: &RecordKey, stamp: Stamp) -> Option<Vec<u8>> {
        let (record, now) = self.read(key).await.expect("a read");
        record.filter(|_| now == Some(stamp))
    }

    async fn lease(&self, key: &RecordKey, claim: LeaseMode) -> LeaseResult {
        let leased = self.tier.lease(key, claim, &[], SOON).await;
        leased.expect("an answer to a lease")
    }

    async fn given(&self, key: &RecordKey, claim: LeaseMode) -> Lease {
        match self.lease(key, claim).await {
            LeaseResult::Granted(lease) => lease,
            other => panic!("{claim:?} of {key:?}: {other:?}"),
        }
    }

    async fn fill_under(&self, key: &RecordKey, lease: &Lease, record: &[u8]) -> FillResult {
        let filled = self
            .tier
            .fill(key, lease, record.to_vec(), HOUR, SOON)
            .await;
        filled.expect("an answer to a fill")
    }

    /// Fills a key as a load does; what a valid record of it carries.
    async fn fill(&self, key: &RecordKey, record: &[u8]) -> Stamp {
        let lease = self.given(key, LeaseMode::Preempt).await;
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
            receipt.expect("an invalidation"),
            crate::tier::Receipt::Acked
        );
    }
}

/// A key of a function, by a number.
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
