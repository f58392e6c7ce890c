//! Records with tags in the tiers below memory: how they are judged, copied and stored.

use std::task::Poll;

use multi_tier_cached::{CacheRuntime, Consistency, Function, Level, Memory, RuntimeBuilder, Tag};
use testbed::fake_store::FakeStore;
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::{Instance, until};

use super::{HOUR, SOURCES, Source, Subject, named, tagged};

/// A shared tier with a ledger, whose channel is coherent, and which lets invalidations through.
fn shared() -> FakeTier {
    let tier = FakeTier::shared_with_ledger(HOUR);
    tier.prove();
    open(tier)
}

fn open(tier: FakeTier) -> FakeTier {
    for _ in 0..64 {
        tier.let_through();
    }
    tier
}

async fn subject(builder: RuntimeBuilder) -> Subject {
    Subject::new(Instance::build(builder).await, tagged())
}

fn hits(subject: &Subject, level: Level) -> u64 {
    let stats = subject.here.stats();
    stats.functions[0].tier(level).unwrap().hits
}

#[tokio::test]
async fn record_is_judged_by_its_tags() {
    for source in SOURCES {
        let tier = shared();
        let subject = subject(CacheRuntime::builder().l2(tier.clone())).await;
        assert_eq!(tier.fake_ledger().enabled(), 0, "it was not called yet");
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(tier.fake_ledger().enabled(), 1);
        subject.truth.commit();
        subject.invalidate(Tag::new("another")).await;
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(hits(&subject, Level::L2), 1);
        subject.invalidate(source.tag(1)).await;
        assert_eq!(subject.version(1).await, 2, "{source:?}");
        assert_eq!(subject.version(1).await, 2);
        assert_eq!(subject.reads(), 2, "the new record is valid");
        assert_eq!(
            tier.fake_ledger().questions(),
            0,
            "the channel announces all"
        );
    }
}

/// While the channel has not announced the state, each read asks the store.
#[tokio::test]
async fn ledger_in_the_store_is_asked_if_its_state_is_not_known() {
    let tier = shared();
    let subject = subject(CacheRuntime::builder().l2(tier.clone())).await;
    assert_eq!(subject.version(1).await, 1);
    let ledger = tier.fake_ledger();
    ledger.forget_state();
    assert_eq!(subject.version(1).await, 1);
    assert_eq!((ledger.questions(), subject.reads()), (1, 1));
    subject.truth.commit();
    subject.invalidate(Source::Value.tag(1)).await;
    assert_eq!(subject.version(1).await, 2);
    subject.truth.commit();
    ledger.lose();
    assert_eq!(
        subject.version(1).await,
        3,
        "it is not known whether the record is valid"
    );
}

#[tokio::test]
async fn strong_call_asks_the_ledger_in_the_store() {
    let tier = shared();
    for is_strong in [false, true] {
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(tier.clone());
        let consistency = match is_strong {
            true => Consistency::Strong,
            false => Consistency::Bounded,
        };
        let function = tagged().consistency(consistency);
        let subject = Subject::new(Instance::build(builder).await, function);
        let ledger = tier.fake_ledger();
        ledger.fall_silent();
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(subject.version(1).await, 1);
        subject.truth.commit();
        // As another instance does it, of which nothing has arrived yet.
        multi_tier_cached::tier::Tier::invalidate_tags_later(
            &tier,
            &[Source::Value.tag(1).digest()],
        );
        assert_eq!(subject.version(1).await, if is_strong { 2 } else { 1 });
    }
}

#[tokio::test]
async fn record_of_another_ledger_or_of_an_earlier_build_is_a_miss() {
    for is_lost in [true, false] {
        let tier = shared();
        let ledger = tier.fake_ledger();
        let subject = subject(CacheRuntime::builder().l2(tier.clone())).await;
        if !is_lost {
            ledger.mark_with_zeros();
        }
        assert_eq!(subject.version(1).await, 1);
        if is_lost {
            assert_eq!(subject.version(1).await, 1);
            ledger.begin_again();
        }
        subject.truth.commit();
        assert_eq!(subject.version(1).await, 2);
    }
}

/// The two builds have the same version, which they should not have.
#[tokio::test]
async fn record_of_a_build_in_which_the_function_had_no_tags_is_a_miss_and_the_reverse() {
    for gets_tags in [true, false] {
        let (tier, name) = (shared(), super::name());
        let builds = [!gets_tags, gets_tags].map(|has_tags| {
            let function = Function::<u64>::builder(name.clone()).ttl(HOUR);
            match has_tags {
                true => function.tags(["argument:{0}"]),
                false => function,
            }
        });
        let mut loads = 0;
        for function in builds {
            let here = Instance::build(CacheRuntime::builder().l2(tier.clone())).await;
            let subject = Subject::new(here, function);
            for _ in 0..2 {
                let load = || async { subject.truth.read() };
                let loaded = subject.function.get_or_load((1_u64,), load);
                subject.here.call(loaded).await;
            }
            loads += subject.reads();
        }
        assert_eq!(loads, 2, "each build loads once: {gets_tags}");
    }
}

/// Both records have marks, because the function has a stale window.
#[tokio::test]
async fn record_that_lacks_a_tag_of_the_arguments_is_a_miss() {
    let (tier, name) = (shared(), super::name());
    let build = |tags: &[&'static str]| {
        let function = Function::<u64>::builder(name.clone()).stale_if_error(HOUR);
        function.ttl(HOUR).tags(tags.iter().copied())
    };
    let builds = [
        build(&[]),
        build(&["argument:{0}"]),
        build(&["argument:{0}", "all"]),
        build(&["all"]),
    ];
    let mut loads = Vec::new();
    for function in builds {
        let here = Instance::build(CacheRuntime::builder().l2(tier.clone())).await;
        let subject = Subject::new(here, function);
        let load = || async { subject.truth.read() };
        let loaded = subject.function.get_or_load((1_u64,), load);
        subject.here.call(loaded).await;
        loads.push(subject.reads());
    }
    assert_eq!(
        loads,
        [1, 1, 1, 0],
        "the last one has more tags than it needs"
    );
}

/// A record of a function with a stale window and without tags has a mark too.
#[tokio::test]
async fn record_without_tags_is_not_lost_by_an_invalidation_of_tags() {
    let tier = shared();
    let here = Instance::build(CacheRuntime::builder().l2(tier.clone())).await;
    let subject = Subject::new(here, named().stale_if_error(HOUR));
    let load = || {
        subject
            .function
            .get_or_load((1_u64,), || async { subject.truth.read() })
    };
    assert_eq!(subject.here.call(load()).await, 1);
    subject.truth.commit();
    subject.invalidate(Tag::new("all")).await;
    assert_eq!(subject.here.call(load()).await, 1);
}

/// The queued invalidation makes the record a miss, and keeps the new one from being stored.
#[tokio::test]
async fn record_with_a_pending_tag_is_neither_used_nor_stored() {
    let tier = shared();
    let subject = subject(CacheRuntime::builder().l2(tier.clone())).await;
    assert_eq!(subject.version(1).await, 1);
    let before = tier.records();
    tier.fake_ledger().owe();
    for version in 2..=3 {
        subject.truth.commit();
        assert_eq!(subject.version(1).await, version);
    }
    assert_eq!(tier.records(), before);
    let stats = subject.here.stats();
    let refused = stats.functions[0].tier(Level::L2).unwrap().refused_fills;
    assert_eq!((refused.queued, refused.tags), (2, 0));
}

/// A tier above may have a copy of the record that the queued invalidation is about.
#[tokio::test]
async fn record_above_a_tier_with_a_pending_tag_is_not_used() {
    let (near, far) = (shared(), shared());
    let builder = CacheRuntime::builder().l2(near.clone()).l3(far.clone());
    let subject = subject(builder).await;
    assert_eq!(subject.version(1).await, 1);
    far.fake_ledger().owe();
    subject.truth.commit();
    assert_eq!(subject.version(1).await, 2);
}

/// A near and a far tier, and a record that only the far one has.
async fn only_far() -> (FakeTier, FakeTier, Subject) {
    let (near, far) = (shared(), shared());
    let builder = CacheRuntime::builder().l2(near.clone()).l3(far.clone());
    let subject = subject(builder).await;
    assert_eq!(subject.version(1).await, 1);
    near.empty();
    (near, far, subject)
}

#[tokio::test]
async fn copy_has_the_tags_of_its_source_and_the_mark_of_its_own_tier() {
    for source in SOURCES {
        let (near, _, subject) = only_far().await;
        // The ledgers count apart.
        for _ in 0..3 {
            multi_tier_cached::tier::Tier::invalidate_tags_later(&near, &[1]);
        }
        assert_eq!(subject.version(1).await, 1);
        until("the record is copied", || near.len() == 1).await;
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(hits(&subject, Level::L2), 1, "the copy is valid");
        subject.truth.commit();
        subject.invalidate(source.tag(1)).await;
        assert_eq!(subject.version(1).await, 2, "{source:?}");
    }
}

/// The copy reads the record, and the tag is invalidated before the record is judged.
#[tokio::test]
async fn record_whose_tag_is_invalidated_before_it_is_copied_is_not_copied() {
    let (near, far, subject) = only_far().await;
    let (answered, copied) = (far.hold_read(HeldAt::Answer), far.hold_read(HeldAt::Answer));
    let mut call = Box::pin(subject.version(1));
    until("the call reads the far tier", || {
        let _ = testbed::poll_once(&mut call);
        answered.is_reached()
    })
    .await;
    answered.release();
    assert_eq!(call.await, 1);
    until("the copy reads the far tier", || copied.is_reached()).await;
    subject.truth.commit();
    subject.invalidate(Source::Body.tag(1)).await;
    copied.release();
    assert_eq!(subject.version(1).await, 2);
    until("the new record is stored", || near.len() == 1).await;
    assert_eq!(subject.version(1).await, 2);
}

/// The tag is invalidated after the call has read the record, and before the copy takes its lease:
/// the mark of the lease is from after the invalidation, and the record is still in the far tier.
#[tokio::test]
async fn record_whose_tag_was_invalidated_before_the_lease_of_its_copy_is_not_copied() {
    let (near, far, subject) = only_far().await;
    // Nothing here waits, so the copy, which is another task, has not begun.
    let mut call = Box::pin(subject.version(1));
    assert_eq!(testbed::poll_once(&mut call), Poll::Ready(1));
    let copied = far.hold_read(HeldAt::Answer);
    subject.truth.commit();
    let mut invalidation = Box::pin(subject.invalidate(Source::Argument.tag(1)));
    assert!(testbed::poll_once(&mut invalidation).is_ready());
    until("the copy reads the far tier", || copied.is_reached()).await;
    copied.release();
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    assert!(near.is_empty(), "the record is not copied");
    assert_eq!(subject.version(1).await, 2);
}

/// The tag is invalidated while the copy is being stored: the mark of the copy is from before that.
#[tokio::test]
async fn copy_that_is_stored_after_an_invalidation_of_its_tag_is_void() {
    let (near, _, subject) = only_far().await;
    near.hold_fills();
    assert_eq!(subject.version(1).await, 1);
    until("the copy is being stored", || near.has_held_fill()).await;
    subject.truth.commit();
    subject.invalidate(Source::Argument.tag(1)).await;
    near.let_a_fill_through();
    until("the copy is stored", || near.len() == 1).await;
    near.let_a_fill_through();
    assert_eq!(subject.version(1).await, 2);
}

/// A load is overtaken while its record is being stored.
#[tokio::test]
async fn record_that_is_stored_after_an_invalidation_of_its_tag_is_void() {
    for source in SOURCES {
        let tier = shared();
        tier.hold_fills();
        let subject = subject(CacheRuntime::builder().l2(tier.clone())).await;
        let mut call = Box::pin(subject.version(1));
        until("the record is being stored", || {
            let _ = testbed::poll_once(&mut call);
            tier.has_held_fill()
        })
        .await;
        subject.truth.commit();
        subject.invalidate(source.tag(1)).await;
        tier.let_a_fill_through();
        assert_eq!(call.await, 1);
        assert_eq!(tier.len(), 1);
        tier.let_a_fill_through();
        assert_eq!(subject.version(1).await, 2, "{source:?}");
    }
}

/// The private tier has no ledger: its records are judged by the fences of the runtime, which the
/// channel of the shared tier raises.
#[tokio::test]
async fn private_tier_beside_a_shared_one_has_tagged_records() {
    for source in SOURCES {
        for is_elsewhere in [false, true] {
            let (store, private) = (FakeStore::new(2), open(FakeTier::new()));
            let builder = CacheRuntime::builder()
                .l2(private.clone())
                .l3(store.connect());
            let subject = subject(builder).await;
            let there = CacheRuntime::builder().l3(store.connect());
            let there = subject.on(&Instance::build(there).await);
            assert_eq!(subject.version(1).await, 1);
            assert_eq!(subject.version(1).await, 1);
            assert_eq!(hits(&subject, Level::L2), 1);
            subject.truth.commit();
            let by = if is_elsewhere { &there } else { &subject };
            by.invalidate(source.tag(1)).await;
            assert_eq!(subject.version(1).await, 2, "{source:?}, {is_elsewhere}");
            assert_eq!(subject.version(1).await, 2);
            assert_eq!(subject.reads(), 2);
        }
    }
}

/// A value that was found in a lower tier is found by its tags in memory.
#[tokio::test]
async fn value_in_memory_that_was_read_from_a_tier_has_tags() {
    for source in SOURCES {
        let tier = shared();
        let first = subject(CacheRuntime::builder().l2(tier.clone())).await;
        assert_eq!(first.version(1).await, 1);
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(tier.clone());
        let subject = first.on(&Instance::build(builder).await);
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(subject.version(1).await, 1);
        assert_eq!(hits(&subject, Level::L1), 1);
        subject.truth.commit();
        subject.invalidate(source.tag(1)).await;
        assert_eq!(subject.version(1).await, 2, "{source:?}");
    }
}
