//! The suite of tags and expiry for a store that several instances use.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::SOON;
use super::sharing::Instance;
use super::tags::{marked, marks_of};
use crate::fence::{Fences, FunctionFence, Stripe, TagStripes};
use crate::tier::{Expiry, FillResult, LeaseMode, MarksState, Tier, TierBuilder};

/// Digests of a tag that is invalidated, and of another one.
const TAGS: [u64; 2] = [0x1111_2222_3333_4444, 2];

impl Instance {
    /// Waits until the fences of this instance say so.
    async fn learns(&self, what: &str, has_learned: impl Fn(&Fences) -> bool) {
        let learned = async {
            while !has_learned(&self.fences) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(
            timeout(SOON, learned).await.is_ok(),
            "{what} does not arrive"
        );
    }

    fn stripes(&self, tags: &[u64]) -> TagStripes {
        self.fences.tag_stripes(tags)
    }
}

/// Checks that two instances of one store learn of each other's invalidations of tags and of each
/// other's expiries, within the staleness bound, and that they judge records alike. Both builders
/// that `open` returns are for one store, which is empty.
///
/// A store without a [ledger](Tier::ledger) need only pass the invalidations of tags on, and may
/// invalidate what is expired.
///
/// # Panics
/// With what the tier did not do.
pub async fn tag_sharing(open: impl Fn() -> Box<dyn TierBuilder>) {
    let (here, there) = (Instance::open(open()).await, Instance::open(open()).await);
    there.fences.make_tags();
    let key = marked("f", 1);
    let function = FunctionFence::sharded(0, there.shards);
    there.fences.share(key.function.digest, &function);
    let ledgers = [&here, &there].map(|instance| {
        let ledger = Tier::ledger(&*instance.store.tier);
        ledger.inspect(|ledger| ledger.enable())
    });

    // A tag that the one invalidates is invalidated at the other, which takes nothing else with it.
    let before = there.fences.now();
    let lease = there.store.granted(&key, LeaseMode::Exclusive).await;
    here.store.invalidate_tags(&TAGS[..1]).await;
    let invalidated = there.stripes(&TAGS[..1]);
    let has_learned = |fences: &Fences| !fences.admits_tags(before, &invalidated);
    there.learns("the invalidation of a tag", has_learned).await;
    let other = there.stripes(&TAGS[1..]);
    assert!(there.fences.admits_tags(before, &other), "another tag");
    let is_current = there.fences.is_current(before, key.digest, &function);
    assert!(is_current, "a value without the tag");
    if let (Some(mark), Some(ledger)) = (lease.mark, ledgers[1]) {
        let marks = marks_of(&key, mark, &TAGS);
        let in_store = ledger.state_in_store(marks, SOON).await;
        assert_eq!(in_store.expect("an answer"), MarksState::Invalidated);
        let is_known = |_: &Fences| ledger.state(marks) == Some(MarksState::Invalidated);
        there.learns("the state of a record", is_known).await;
    } else {
        let has_ledger = ledgers[1].is_some();
        assert!(!has_ledger, "the lease of a marked function has no mark");
    }
    let filled = there.store.fill_under(&key, &lease, b"tagged").await;
    assert_eq!(filled, FillResult::Stored, "a tag voids no lease");

    // A value that one instance expires is stale on the other, or void.
    for target in [
        Expiry::Key(&key),
        Expiry::Function(&key.function),
        Expiry::Tags(&TAGS[..1]),
    ] {
        let before = there.fences.now();
        here.store.expire(target).await;
        let has_learned = |fences: &Fences| {
            let is_void = !fences.is_current(before, key.digest, &function)
                || !fences.admits_tags(before, &invalidated);
            let is_stale = match target {
                Expiry::Tags(_) => fences.are_tags_expired(before, &invalidated),
                Expiry::Key(_) | Expiry::Function(_) => {
                    fences.is_expired(before, Stripe::of(key.digest), key.function.digest)
                }
            };
            is_stale || (is_void && ledgers[0].is_none())
        };
        there.learns("an expiry", has_learned).await;
    }
    here.store.close().await;
    there.store.close().await;
}
