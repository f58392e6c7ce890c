//! Tags and expiries on the disk: the ledger outlives its process, as the records do.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::{
    Expiry, FillResult, FunctionKey, Lease, LeaseMode, LeaseResult, Marks, MarksState, Peers,
    ReadOptions, Receipt, RecordKey, Tier, TierBuilder, TierContext,
};
use multi_tier_cached::{CacheRuntime, Disk, Function, Level, Memory, Tag};
use testbed::directory::Directory;
use testbed::{Instance, Truth};

const SOON: Duration = Duration::from_secs(10);

/// The digests of two tags.
const TAG: u64 = 100;
const OTHER: u64 = 200;

async fn tier(path: &Path) -> Arc<dyn Tier> {
    let context = TierContext::new(Level::L3, Peers::none());
    let disk = Disk::new(path).time_limit(SOON);
    let tier = Box::new(disk).build(&context).unwrap();
    tier.start().await.unwrap();
    tier
}

/// A key of a marked function.
fn key(number: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1).marked(true));
    RecordKey::new(function, number.to_string(), number)
}

async fn lease(tier: &Arc<dyn Tier>, key: &RecordKey) -> Lease {
    let leased = tier.lease(key, LeaseMode::Preempt, &[], SOON).await;
    match leased.unwrap() {
        LeaseResult::Granted(lease) => lease,
        other => panic!("the lease was not granted: {other:?}"),
    }
}

fn marks<'a>(key: &RecordKey, lease: &Lease, tags: &'a [u64]) -> Marks<'a> {
    Marks {
        mark: lease.mark.expect("a lease of a marked function"),
        tags,
        key: key.digest,
        function: key.function.digest,
    }
}

async fn fill(tier: &Arc<dyn Tier>, key: &RecordKey, lease: &Lease) -> FillResult {
    let filled = tier.fill(key, lease, b"record".to_vec(), SOON * 60, SOON);
    filled.await.unwrap()
}

/// Judges a record in both ways, which must agree.
async fn judge(tier: &Arc<dyn Tier>, marks: Marks<'_>) -> MarksState {
    let ledger = tier.ledger().expect("a ledger");
    let in_store = ledger.state_in_store(marks, SOON).await.unwrap();
    assert_eq!(ledger.state(marks), Some(in_store));
    in_store
}

#[tokio::test]
async fn invalidated_tag_and_expiries_are_known_to_the_next_process() {
    let directory = Directory::new("disk-tags");
    let first = tier(directory.path()).await;
    let (one, two) = (key(1), key(2));
    let (of_one, of_two) = (lease(&first, &one).await, lease(&first, &two).await);
    let (tagged, spared) = (
        marks(&one, &of_one, &[OTHER, TAG]),
        marks(&two, &of_two, &[OTHER]),
    );
    assert_eq!(fill(&first, &one, &of_one).await, FillResult::Stored);
    assert_eq!(fill(&first, &two, &of_two).await, FillResult::Stored);
    let receipt = first.invalidate_tags(&[TAG], SOON).await.unwrap();
    assert_eq!(receipt, Receipt::Acked);
    let newer = lease(&first, &one).await;
    let newer = marks(&one, &newer, &[OTHER, TAG]);
    first.shutdown().await.unwrap();

    let second = tier(directory.path()).await;
    assert_eq!(judge(&second, tagged).await, MarksState::Invalidated);
    assert_eq!(judge(&second, spared).await, MarksState::Valid);
    assert_eq!(judge(&second, newer).await, MarksState::Valid);
    let receipt = second.expire(Expiry::Key(&two), SOON).await.unwrap();
    assert_eq!(receipt, Receipt::Acked);
    second.shutdown().await.unwrap();

    let third = tier(directory.path()).await;
    assert_eq!(judge(&third, spared).await, MarksState::Expired);
    assert_eq!(judge(&third, newer).await, MarksState::Valid);
    let expiry = Expiry::Function(&one.function);
    assert_eq!(third.expire(expiry, SOON).await.unwrap(), Receipt::Acked);
    third.shutdown().await.unwrap();

    let last = tier(directory.path()).await;
    assert_eq!(judge(&last, tagged).await, MarksState::Invalidated);
    assert_eq!(judge(&last, newer).await, MarksState::Expired);
    let found = last.read(&two, ReadOptions::default(), SOON).await.unwrap();
    assert!(found.record.is_some(), "an expiry leaves the record");
    last.shutdown().await.unwrap();
}

#[tokio::test]
async fn load_during_an_expiry_of_its_key_is_not_stored_as_fresh() {
    let directory = Directory::new("disk-tags");
    let tier = tier(directory.path()).await;
    let (key, other) = (key(1), key(2));
    let (of_key, of_other) = (lease(&tier, &key).await, lease(&tier, &other).await);
    tier.expire(Expiry::Key(&key), SOON).await.unwrap();
    assert!(matches!(
        fill(&tier, &key, &of_key).await,
        FillResult::Refused(_)
    ));
    assert_eq!(fill(&tier, &other, &of_other).await, FillResult::Stored);
    let expiry = Expiry::Function(&key.function);
    let (before, after) = (lease(&tier, &key).await, tier.expire(expiry, SOON).await);
    after.unwrap();
    assert_eq!(fill(&tier, &key, &before).await, FillResult::Stored);
    let state = judge(&tier, marks(&key, &before, &[])).await;
    assert_eq!(state, MarksState::Expired);
    let after = lease(&tier, &key).await;
    let state = judge(&tier, marks(&key, &after, &[])).await;
    assert_eq!(state, MarksState::Valid);
    tier.shutdown().await.unwrap();
}

#[tokio::test]
async fn only_leases_of_marked_functions_carry_the_ledger() {
    let directory = Directory::new("disk-tags");
    let tier = tier(directory.path()).await;
    let function = Arc::new(FunctionKey::new("g", 1));
    let unmarked = RecordKey::new(function, "1".to_owned(), 7);
    assert_eq!(lease(&tier, &unmarked).await.mark, None);
    assert!(lease(&tier, &key(1)).await.mark.is_some());
    tier.shutdown().await.unwrap();
}

#[tokio::test]
async fn dropped_invalidation_of_tags_is_done() {
    let directory = Directory::new("disk-tags");
    let tier = tier(directory.path()).await;
    let key = key(1);
    let lease = lease(&tier, &key).await;
    let dropped = tokio::time::timeout(Duration::ZERO, tier.invalidate_tags(&[TAG], SOON));
    // It may be done within its first poll.
    let _ = dropped.await;
    let later = marks(&key, &lease, &[OTHER]);
    tier.invalidate_tags_later(&[OTHER]);
    for marks in [marks(&key, &lease, &[TAG]), later] {
        assert_eq!(judge(&tier, marks).await, MarksState::Invalidated);
    }
    tier.settle().await.unwrap();
    assert_eq!(tier.health().queued, 0);
    assert_eq!(judge(&tier, later).await, MarksState::Invalidated);
    tier.shutdown().await.unwrap();
}

#[tokio::test]
async fn ledger_with_too_many_tags_begins_again_and_invalidates_all_records_with_tags() {
    let directory = Directory::new("disk-tags");
    let first = tier(directory.path()).await;
    let key = key(1);
    let of_key = lease(&first, &key).await;
    let (tagged, untagged) = (marks(&key, &of_key, &[TAG]), marks(&key, &of_key, &[]));
    let tags: Vec<u64> = (0..(1 << 16) + 2).map(|tag| tag + 1_000).collect();
    for tags in tags.chunks(1 << 15) {
        assert_eq!(
            first.invalidate_tags(tags, SOON).await.unwrap(),
            Receipt::Acked
        );
    }
    let after = lease(&first, &key).await;
    let after = marks(&key, &after, &[TAG]);
    first.shutdown().await.unwrap();
    let second = tier(directory.path()).await;
    assert_eq!(judge(&second, tagged).await, MarksState::Invalidated);
    assert_eq!(judge(&second, untagged).await, MarksState::Expired);
    assert_eq!(judge(&second, after).await, MarksState::Valid);
    second.shutdown().await.unwrap();
}

/// A function of one test, whose values carry the tag of their key, and may be returned for an hour
/// after they are stale.
fn tagged(test: &str) -> Function<u64> {
    Function::builder(format!("it::disk_tags::{test}"))
        .ttl(SOON * 360)
        .tiers([Level::L1, Level::L3])
        .tags(["user:{0}", "all"])
        .stale_if_error(SOON * 360)
        .build()
        .unwrap()
}

async fn instance(path: &Path) -> Instance {
    let disk = Disk::new(path).time_limit(SOON);
    Instance::build(CacheRuntime::builder().l1(Memory::builder()).l3(disk)).await
}

/// Returns the version that a call gets.
async fn read(here: &Instance, function: &Function<u64>, truth: &Truth, user: u64) -> u64 {
    let load = || async { Ok::<_, Infallible>(truth.read()) };
    let Ok(version) = here.call(function.get_or_load((user,), load)).await;
    version
}

#[tokio::test]
async fn value_with_an_invalidated_tag_does_not_come_back_with_the_next_process() {
    let (directory, function, truth) =
        (Directory::new("disk-tags"), tagged("restart"), Truth::new());
    let first = instance(directory.path()).await;
    for user in 0..3 {
        assert_eq!(read(&first, &function, &truth, user).await, 1);
    }
    truth.commit();
    let receipt = first.invalidate(first.invalidate_tags([Tag::new("user:1")]));
    assert_eq!(receipt.await, Receipt::Acked);
    first.shutdown().await.unwrap();

    let second = instance(directory.path()).await;
    for (user, expected) in [(0, 1), (1, 2), (2, 1)] {
        let version = read(&second, &function, &truth, user).await;
        assert_eq!(version, expected, "{user}: {}", second.stats());
    }
    let receipt = second.invalidate(second.invalidate_tags([Tag::new("all")]));
    assert_eq!(receipt.await, Receipt::Acked);
    truth.commit();
    second.shutdown().await.unwrap();

    let third = instance(directory.path()).await;
    for user in 0..3 {
        let version = read(&third, &function, &truth, user).await;
        assert_eq!(version, 3, "{user}: {}", third.stats());
    }
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn expired_value_is_stale_in_the_next_process() {
    let (directory, function, truth) =
        (Directory::new("disk-tags"), tagged("expiry"), Truth::new());
    let first = instance(directory.path()).await;
    for user in 0..3 {
        assert_eq!(read(&first, &function, &truth, user).await, 1);
    }
    let receipt = first.invalidate(first.expire_tags([Tag::new("user:1")]));
    assert_eq!(receipt.await, Receipt::Acked);
    let entry = function.entry((2_u64,));
    assert_eq!(first.call(entry.expire()).await.unwrap(), Receipt::Acked);
    first.shutdown().await.unwrap();

    let second = instance(directory.path()).await;
    for (user, is_stale) in [(0_u64, false), (1, true), (2, true)] {
        let attempts = AtomicU64::new(0);
        let load = || async {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err("the database is down")
        };
        let found = second.call(function.get_or_load((user,), load)).await;
        assert_eq!(found, Ok(1), "{user}: {}", second.stats());
        let attempts = attempts.load(Ordering::SeqCst);
        assert_eq!(attempts, u64::from(is_stale), "{user}: {}", second.stats());
    }
    second.shutdown().await.unwrap();
}
