//! Callers that wait for a load whose result has a tag that was invalidated in between.

use std::sync::Arc;

use multi_tier_cached::{Tag, caching};
use testbed::{Gate, Instance, poll_once};

use super::{SOURCES, Source, Subject, named, tagged, value};

/// Holds the load of a key at a gate, after it has read the truth.
async fn read_at(gate: &Gate, subject: &Subject, key: u64) -> u64 {
    let read = || async {
        let version = subject.truth.read();
        caching::tag(Source::Body.tag(key));
        gate.pass().await;
        value(key, version)
    };
    let loaded = subject.function.get_or_load((key,), read);
    subject.here.call(loaded).await % 1_000
}

/// The waiter begins after the invalidation, and joins the flight from before it: no caller knows
/// yet which tags its result has.
#[tokio::test]
async fn waiter_does_not_take_a_value_whose_tag_was_invalidated_since_its_load_began() {
    for source in SOURCES {
        for is_invalidated in [true, false] {
            let (subject, gate) = (Subject::in_memory().await, Gate::new());
            let mut leader = Box::pin(read_at(&gate, &subject, 1));
            assert!(poll_once(&mut leader).is_pending());
            subject.truth.commit();
            // A tag of another value, or the one of this value.
            let key = if is_invalidated { 1 } else { 2 };
            subject.invalidate(source.tag(key)).await;
            let mut waiter = Box::pin(read_at(&gate, &subject, 1));
            assert!(poll_once(&mut waiter).is_pending());
            assert_eq!(subject.reads(), 1, "it waits");
            gate.open();
            assert_eq!(leader.await, 1);
            let expected = if is_invalidated { 2 } else { 1 };
            assert_eq!(waiter.await, expected, "{source:?}");
            assert_eq!(read_at(&gate, &subject, 1).await, expected);
            assert_eq!(subject.reads(), expected);
        }
    }
}

/// The value is not kept either, so nothing tells which of its tags were invalidated.
#[tokio::test]
async fn waiter_does_not_take_a_value_whose_tags_are_not_all_known() {
    let functions = [(named(), 1), (named().tags([]), 65)];
    for (function, tags) in functions {
        let subject = Subject::new(Instance::with_memory().await, function);
        let gate = Gate::new();
        let read = || async {
            let version = subject.truth.read();
            for tag in 0..tags {
                caching::tag(Tag::new(format!("tag {tag}")));
            }
            gate.pass().await;
            version
        };
        let call = || {
            let loaded = subject.function.get_or_load((1_u64,), read);
            subject.here.call(loaded)
        };
        let mut leader = Box::pin(call());
        assert!(poll_once(&mut leader).is_pending());
        subject.truth.commit();
        let last = Tag::new(format!("tag {}", tags - 1));
        subject.invalidate(last).await;
        let mut waiter = Box::pin(call());
        assert!(poll_once(&mut waiter).is_pending());
        assert_eq!(subject.reads(), 1, "it waits");
        gate.open();
        assert_eq!(leader.await, 1);
        assert_eq!(waiter.await, 2, "{tags} tags");
    }
}

/// Also a result that is no value was loaded before the invalidation.
#[tokio::test]
async fn waiter_does_not_take_an_absence_or_an_error_of_before_an_invalidation() {
    type Found = Result<Option<u64>, String>;
    for is_error in [false, true] {
        let here = Instance::with_memory().await;
        let function = named()
            .tags(["argument:{0}"])
            .share_error(String::clone)
            .build()
            .unwrap();
        let gate = Gate::new();
        let find = || {
            function.get_or_load((1_u64,), || async {
                let number = gate.pass().await;
                match (number, is_error) {
                    (1, true) => Err("not found".to_owned()),
                    (1, false) => Ok(None),
                    _ => Found::Ok(Some(7)),
                }
            })
        };
        let mut leader = Box::pin(here.call(find()));
        assert!(poll_once(&mut leader).is_pending());
        here.invalidate(here.invalidate_tags([Source::Argument.tag(1)]))
            .await;
        let mut waiter = Box::pin(here.call(find()));
        assert!(poll_once(&mut waiter).is_pending());
        gate.open();
        assert_ne!(leader.await, Ok(Some(7)));
        assert_eq!(waiter.await, Ok(Some(7)), "an error: {is_error}");
    }
}

/// A thousand callers of one key, with tags that are invalidated while they wait: each load is
/// awaited by all, and none is lost.
#[tokio::test]
async fn callers_that_cannot_take_a_value_share_the_next_load() {
    let (subject, gate) = (Arc::new(Subject::in_memory().await), Arc::new(Gate::new()));
    let mut leader = Box::pin(read_at(&gate, &subject, 1));
    assert!(poll_once(&mut leader).is_pending());
    subject.truth.commit();
    subject.invalidate(Tag::new("all")).await;
    let mut waiters: Vec<_> = (0..100)
        .map(|_| Box::pin(read_at(&gate, &subject, 1)))
        .collect();
    for waiter in &mut waiters {
        assert!(poll_once(waiter).is_pending());
    }
    gate.open();
    leader.await;
    for waiter in waiters {
        assert_eq!(waiter.await, 2);
    }
    assert_eq!(subject.reads(), 2);
}

/// A load of a late function continues after its caller has left, and answers those who wait.
#[tokio::test]
async fn late_load_that_was_overtaken_by_a_tag_is_not_kept() {
    let here = Instance::with_memory().await;
    let subject = Subject::new(here, tagged().refresh_ahead(super::MINUTE));
    let (gate, truth) = (Arc::new(Gate::new()), Arc::clone(&subject.truth));
    let read = || {
        let (gate, truth) = (Arc::clone(&gate), Arc::clone(&truth));
        let make = move || async move {
            let version = truth.read();
            gate.pass().await;
            value(1, version)
        };
        let loaded = subject.function.get_or_load_late((1_u64,), make);
        subject.here.call(loaded)
    };
    let mut leader = Box::pin(read());
    assert!(poll_once(&mut leader).is_pending());
    let mut waiter = Box::pin(read());
    assert!(poll_once(&mut waiter).is_pending());
    drop(leader);
    truth.commit();
    subject.invalidate(Source::Value.tag(1)).await;
    gate.open();
    assert_eq!(waiter.await, value(1, 2));
    assert_eq!(read().await, value(1, 2));
}
