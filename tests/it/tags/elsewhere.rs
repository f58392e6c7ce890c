//! Tags between instances: messages, outages, and invalidations that are dropped.

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Function, Level, Memory, Tag};
use testbed::fake_store::{FakeLinks, FakeStore};
use testbed::fake_tier::FakeTier;
use testbed::{Gate, Instance, poll_once};

use super::{HOUR, SOURCES, Source, Subject, tagged};

async fn connected(store: &FakeStore) -> (Instance, FakeLinks) {
    let links = store.connect();
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(links.clone());
    (Instance::build(builder).await, links)
}

#[tokio::test]
async fn other_instance_drops_values_by_each_of_their_tags() {
    for source in SOURCES {
        let store = FakeStore::new(4);
        let ((here, _), (there, _)) = (connected(&store).await, connected(&store).await);
        let subject = Subject::new(here, tagged());
        let other = subject.on(&there);
        for key in 1..=16 {
            assert_eq!(subject.version(key).await, 1);
            assert_eq!(other.version(key).await, 1);
        }
        subject.truth.commit();
        subject.invalidate(source.tag(3)).await;
        for key in 1..=16 {
            let expected = if key == 3 { 2 } else { 1 };
            assert_eq!(other.version(key).await, expected, "{source:?}, key {key}");
        }
        subject.invalidate(Tag::new("all")).await;
        for key in 1..=16 {
            assert_eq!(other.version(key).await, 2, "in each shard: key {key}");
        }
    }
}

/// The ledger finds the value valid, because its lease was granted after the invalidation. A value
/// that was made of an old one is not stored nevertheless.
#[tokio::test]
async fn value_that_a_body_makes_of_an_old_one_is_not_stored_once_the_message_is_there() {
    let store = FakeStore::new(1);
    let ((here, _), (there, _)) = (connected(&store).await, connected(&store).await);
    let build = |name| {
        let builder = Function::<u64>::builder(name).ttl(HOUR).tags(["made_of"]);
        builder.build().unwrap()
    };
    let (inner, outer) = (build("tags::inner"), build("tags::outer"));
    assert_eq!(here.call(inner.get_or_load((1,), async || 1)).await, 1);
    store.hold_tags();
    let invalidated = there.invalidate_tags([Tag::new("made_of")]);
    assert_eq!(there.invalidate(invalidated).await, Receipt::Acked);
    let gate = Gate::new();
    let body = async || {
        let old = inner.get_or_load((1,), async || 2).await;
        gate.pass().await;
        old
    };
    let mut call = Box::pin(here.call(outer.get_or_load((1,), body)));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(gate.entered(), 1);
    store.deliver_tags();
    gate.open();
    assert_eq!(call.await, 1, "within the bound");
    for instance in [&there, &here] {
        let call = outer.get_or_load((1,), async || 2);
        assert_eq!(instance.call(call).await, 2);
    }
}

/// One shard of four is cut off: the receipt is that of this shard, and the tag is not used in it
/// until it is reached again.
#[tokio::test]
async fn invalidation_of_a_tag_is_queued_for_the_shard_that_is_cut_off() {
    let store = FakeStore::new(4);
    let ((here, links), (there, _)) = (connected(&store).await, connected(&store).await);
    let subject = Subject::new(here, tagged());
    let other = subject.on(&there);
    for key in 1..=16 {
        assert_eq!(other.version(key).await, 1);
    }
    links.lose(2);
    subject.truth.commit();
    let invalidated = subject.here.invalidate_tags([Tag::new("all")]);
    assert_eq!(subject.here.invalidate(invalidated).await, Receipt::Queued);
    for key in 1..=16 {
        assert_eq!(subject.version(key).await, 2, "here at once: key {key}");
    }
    links.restore(2).await;
    for key in 1..=16 {
        assert_eq!(subject.version(key).await, 2, "key {key}");
        assert_eq!(other.version(key).await, 2, "key {key}");
    }
    let settled = subject.here.invalidate_tags([Tag::new("all")]).settled();
    settled.await.unwrap();
}

#[tokio::test]
async fn invalidation_of_a_tag_that_is_dropped_reaches_every_tier() {
    let (near, far) = (FakeTier::with_ledger(), FakeTier::with_ledger());
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(near.clone())
        .l3(far.clone());
    let subject = Subject::new(Instance::build(builder).await, tagged());
    assert_eq!(subject.version(1).await, 1);
    subject.truth.commit();
    let never_polled = subject.here.invalidate_tags([Source::Value.tag(1)]);
    drop(never_polled);
    assert_eq!(subject.version(1).await, 1);
    let mut dropped = Box::pin(subject.here.invalidate_tags([Source::Value.tag(1)]));
    assert!(
        poll_once(&mut dropped).is_pending(),
        "the far tier is first"
    );
    assert_eq!((near.tag_changes(), far.tag_changes()), (0, 0));
    drop(dropped);
    assert_eq!(near.tag_changes(), 1, "it was not reached");
}

/// The far tier is invalidated before the near one, to which its records are copied.
#[tokio::test]
async fn tiers_are_invalidated_from_the_lowest_to_the_highest() {
    let (near, far) = (FakeTier::with_ledger(), FakeTier::with_ledger());
    let builder = CacheRuntime::builder().l2(near.clone()).l3(far.clone());
    let here = Instance::build(builder).await;
    for expires in [false, true] {
        let before = (near.tag_changes(), far.tag_changes());
        let tags = [Tag::new("a")];
        let mut invalidation = Box::pin(match expires {
            true => here.expire_tags(tags),
            false => here.invalidate_tags(tags),
        });
        assert!(poll_once(&mut invalidation).is_pending());
        far.let_through();
        assert!(poll_once(&mut invalidation).is_pending());
        assert_eq!(
            (near.tag_changes(), far.tag_changes()),
            (before.0, before.1 + 1)
        );
        near.let_through();
        assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
        assert_eq!(near.tag_changes(), before.0 + 1);
    }
}

/// A value that is read from a tier between the two is not kept in memory.
#[tokio::test]
async fn value_that_is_read_while_its_tag_is_being_invalidated_is_not_kept() {
    let (near, far) = (FakeTier::with_ledger(), FakeTier::with_ledger());
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(near.clone())
        .l3(far.clone());
    let subject = Subject::new(Instance::build(builder).await, tagged());
    assert_eq!(subject.version(1).await, 1);
    subject.truth.commit();
    let mut invalidation = Box::pin(subject.here.invalidate_tags([Source::Argument.tag(1)]));
    far.let_through();
    assert!(
        poll_once(&mut invalidation).is_pending(),
        "the near tier is held"
    );
    assert_eq!(subject.version(1).await, 1, "the record of the near tier");
    let hits = subject.here.stats().functions[0]
        .tier(Level::L1)
        .unwrap()
        .hits;
    assert_eq!(
        hits, 0,
        "memory does not return it while it is being invalidated"
    );
    near.let_through();
    assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
    assert_eq!(subject.version(1).await, 2);
}

#[tokio::test]
async fn tags_can_be_invalidated_on_a_blocking_thread_and_wait_for_replicas() {
    let subject = Subject::in_memory().await;
    subject.version(1).await;
    subject.truth.commit();
    let blocking = subject
        .here
        .invalidate_tags([Source::Body.tag(1)])
        .blocking();
    assert_eq!(blocking.unwrap(), Receipt::Acked);
    assert_eq!(subject.version(1).await, 2);
    let replicated = subject.here.invalidate_tags([Tag::new("a")]).replicated(1);
    assert!(replicated.await.is_err(), "there is no shared tier");
}
