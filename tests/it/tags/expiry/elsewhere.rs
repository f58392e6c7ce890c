//! Expiry across instances, and in the tiers below memory.

use std::pin::Pin;
use std::sync::Arc;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Level, Memory};
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::fake_store::{FakeLinks, FakeStore};
use testbed::fake_tier::FakeTier;
use testbed::{Gate, Instance, poll_once, until};

use super::{ALL, SECOND, What, in_memory, with_window};
use crate::tags::{HOUR, MINUTE, SOURCES, Source, Subject, tagged, value};

/// Two instances of one store, and one that has no memory.
struct Instances {
    here: Subject,
    there: Subject,
    without_memory: Subject,
    links: FakeLinks,
}

impl Instances {
    async fn new(shards: u8) -> Self {
        let store = FakeStore::new(shards);
        let links = store.connect();
        let with_memory = |links| CacheRuntime::builder().l1(Memory::builder()).l2(links);
        let here = Instance::build(with_memory(links.clone())).await;
        let there = Instance::build(with_memory(store.connect())).await;
        let without = Instance::build(CacheRuntime::builder().l2(store.connect())).await;
        let here = Subject::new(here, with_window());
        Self {
            there: here.on(&there),
            without_memory: here.on(&without),
            here,
            links,
        }
    }
}

#[tokio::test]
async fn expired_value_is_stale_on_other_instances_and_in_the_store() {
    for shards in [1, 4] {
        for what in ALL {
            for by_memory in [true, false] {
                let all = Instances::new(shards).await;
                assert_eq!(all.here.late_version(1).await, 1);
                assert_eq!(all.there.late_version(1).await, 1);
                all.here.truth.commit();
                all.here.expire(what, 1).await;
                let (first, second) = match by_memory {
                    true => (&all.there, &all.without_memory),
                    false => (&all.without_memory, &all.there),
                };
                assert_eq!(first.late_version(1).await, 1, "{what:?}: it is stale");
                first.until_idle().await;
                assert_eq!(first.late_version(1).await, 2, "{what:?}, {by_memory}");
                assert_eq!(all.here.reads(), 2, "one load in the cluster");
                // The record of the first one replaces the stale value of the others.
                second.late_version(1).await;
                second.until_idle().await;
                assert_eq!(second.late_version(1).await, 2, "{what:?}");
                assert_eq!(all.here.reads(), 2, "one load in the cluster");
            }
        }
    }
}

/// The lease of a load under way is void, or its record is stale by its mark.
#[tokio::test]
async fn load_of_before_an_expiry_does_not_count_as_fresh_in_the_store() {
    for what in ALL {
        let all = Instances::new(1).await;
        let (gate, truth) = (Arc::new(Gate::new()), Arc::clone(&all.here.truth));
        let make = {
            let gate = Arc::clone(&gate);
            move || async move {
                multi_tier_cached::caching::tag(Source::Body.tag(1));
                let version = truth.read();
                gate.pass().await;
                value(1, version)
            }
        };
        let loaded = all.there.function.get_or_load_late((1_u64,), make);
        let mut load = Box::pin(all.there.here.call(loaded));
        until("the body runs", || {
            let _ = poll_once(&mut load);
            gate.entered() == 1
        })
        .await;
        all.here.truth.commit();
        all.here.expire(what, 1).await;
        gate.open();
        assert_eq!(load.await, value(1, 1));
        // Not at once, because the value may be returned as a stale one.
        for instance in [&all.without_memory, &all.there, &all.here] {
            instance.late_version(1).await;
            instance.until_idle().await;
            assert_eq!(instance.late_version(1).await, 2, "{what:?}");
        }
    }
}

#[tokio::test]
async fn expiry_that_cannot_be_sent_invalidates_later() {
    for what in ALL {
        let all = Instances::new(1).await;
        assert_eq!(all.there.late_version(1).await, 1);
        assert_eq!(all.here.late_version(1).await, 1);
        all.here.truth.commit();
        all.links.lose(0);
        let expired = match what {
            What::Key => {
                all.here
                    .here
                    .call(all.here.function.entry((1_u64,)).expire())
                    .await
            }
            What::Function => all.here.here.call(all.here.function.expire_all()).await,
            What::Tag(source) => all.here.here.expire_tags([source.tag(1)]).await,
        };
        assert_eq!(expired.unwrap(), Receipt::Queued, "{what:?}");
        all.links.restore(0).await;
        assert_eq!(all.there.late_version(1).await, 2, "{what:?}");
    }
}

/// The store keeps the record for its window, which counts from the natural end here too.
#[tokio::test]
async fn window_of_an_expired_record_counts_from_the_natural_end() {
    for (after, expected) in [(69, 1), (109, 1), (111, 2)] {
        let (store, clock) = (FakeStore::new(1), TestClock::new());
        let tier = ClockedTier::new(store.connect(), &clock);
        let builder = CacheRuntime::builder().l2(tier).clock(clock.of_runtimes());
        let here = Instance::build(builder).await;
        let subject = Subject::new(here, with_window().jitter(0));
        assert_eq!(subject.late_version(1).await, 1);
        subject.truth.commit();
        clock.advance(10 * SECOND);
        subject.expire(What::Tag(Source::Value), 1).await;
        clock.advance(after * SECOND);
        let version = subject.late_version(1).await;
        assert_eq!(version, expected, "{after} s after the expiry");
    }
}

/// A call has the stale value in hand while it loads, and the load fails.
#[tokio::test]
async fn stale_value_in_hand_is_not_returned_after_its_tag_was_invalidated() {
    for source in SOURCES {
        for is_invalidated in [false, true] {
            let (clock, subject) = in_memory(tagged().ttl(MINUTE).stale_if_error(HOUR)).await;
            assert_eq!(subject.version(1).await, 1);
            clock.advance(90 * SECOND);
            let gate = Gate::new();
            let fails = || async {
                gate.pass().await;
                Err::<u64, _>("down")
            };
            let loaded = subject.function.get_or_load((1_u64,), fails);
            let mut call = Box::pin(subject.here.call(loaded));
            assert!(poll_once(&mut call).is_pending());
            let key = if is_invalidated { 1 } else { 2 };
            subject.invalidate(source.tag(key)).await;
            gate.open();
            let expected = match is_invalidated {
                true => Err("down"),
                false => Ok(value(1, 1)),
            };
            assert_eq!(call.await, expected, "{source:?}");
        }
    }
}

/// A value that is read from a tier that the expiry has not reached yet does not count as fresh.
#[tokio::test]
async fn value_that_is_read_while_it_is_being_expired_does_not_count_as_fresh() {
    for is_key in [true, false] {
        let (near, far) = (FakeTier::with_ledger(), FakeTier::with_ledger());
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(near.clone())
            .l3(far.clone());
        let subject = Subject::new(Instance::build(builder).await, with_window());
        assert_eq!(subject.late_version(1).await, 1);
        subject.truth.commit();
        let handle = subject.function.entry((1_u64,));
        let mut expiry: Pin<Box<dyn Future<Output = _>>> = match is_key {
            true => Box::pin(subject.here.call(handle.expire())),
            false => Box::pin(subject.here.expire_tags([Source::Value.tag(1)])),
        };
        far.let_through();
        assert!(poll_once(&mut expiry).is_pending(), "the near tier is held");
        assert_eq!(subject.late_version(1).await, 1);
        let stats = subject.here.stats();
        let memory = stats.functions[0].tier(Level::L1).unwrap();
        assert_eq!(
            memory.stale_hits, 1,
            "it is stale while it is being expired"
        );
        subject.until_idle().await;
        assert_eq!(
            subject.reads(),
            1,
            "the near tier has a record that counts as fresh"
        );
        near.let_through();
        assert_eq!(expiry.await.unwrap(), Receipt::Acked);
        assert_eq!(subject.late_version(1).await, 1, "it is stale");
        subject.until_idle().await;
        assert_eq!(subject.late_version(1).await, 2);
    }
}

/// The instance began after the expiry, so its fences do not know of it.
#[tokio::test]
async fn expired_record_is_stale_in_the_memory_of_an_instance_that_began_later() {
    let (store, gate) = (FakeStore::new(1), Arc::new(Gate::new()));
    let with_memory = || {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(store.connect())
    };
    let here = Subject::new(Instance::build(with_memory()).await, with_window());
    assert_eq!(here.late_version(1).await, 1);
    here.expire(What::Tag(Source::Value), 1).await;
    let there = here.on(&Instance::build(with_memory()).await);
    for calls in 1..=2 {
        let held = Arc::clone(&gate);
        let make = move || async move {
            held.pass().await;
            value(1, 2)
        };
        let loaded = there.function.get_or_load_late((1_u64,), make);
        assert_eq!(there.here.call(loaded).await, value(1, 1));
        gate.until_entered(1).await;
        let stats = there.here.stats();
        let memory = stats.functions[0].tier(Level::L1).unwrap();
        assert_eq!(memory.stale_hits, calls - 1, "call {calls}");
    }
}

/// Its only window is for failed loads, so a call waits for the load, also if the tier has the
/// expired value and the load could continue in the background.
#[tokio::test]
async fn expired_record_is_not_returned_at_once_without_a_window_for_it() {
    for what in ALL {
        let links = FakeStore::new(1).connect();
        let here = Instance::build(CacheRuntime::builder().l2(links)).await;
        let function = tagged().stale_if_error(HOUR).soft_timeout(MINUTE);
        let subject = Subject::new(here, function);
        assert_eq!(subject.late_version(1).await, 1);
        subject.truth.commit();
        subject.expire(what, 1).await;
        let peeked = subject.here.call(subject.function.entry((1,)).peek()).await;
        assert_eq!(peeked, None, "{what:?}");
        assert_eq!(subject.late_version(1).await, 2, "{what:?}");
    }
}

/// The tier holds the reply to the invalidation of the put, until the expiry has returned.
#[tokio::test]
async fn value_of_a_put_that_is_overtaken_by_an_expiry_does_not_count_as_fresh() {
    for what in ALL {
        let tier = FakeTier::with_ledger();
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let here = Instance::build(builder.l2(tier.clone())).await;
        let subject = Subject::new(here, with_window());
        let entry = subject.function.entry((1,));
        tier.keep_back();
        tier.let_through();
        let mut put = Box::pin(subject.here.call(entry.put(value(1, 1))));
        assert!(poll_once(&mut put).is_pending(), "the reply is held");
        tier.let_through();
        subject.expire(what, 1).await;
        subject.truth.commit();
        tier.answer();
        put.await.unwrap();
        assert_eq!(subject.late_version(1).await, 2, "{what:?}");
    }
}
