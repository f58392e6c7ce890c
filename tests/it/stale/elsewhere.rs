//! Stale values of several instances: one of them loads, and the records say how old a value is.

use std::time::Duration;

use multi_tier_cached::TierConfig;
use testbed::counts::function_stats;
use testbed::{until, until_returns};

use super::source::{Answer, Source};
use super::stores::{Node, Store};
use super::subject::{LIFE, Subject, Windows};

const KEY: u64 = 1;
const NEAR: Duration = Duration::from_secs(10);
const FAR: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(1);

const WINDOWS: Windows = Windows {
    revalidate: Some(NEAR),
    on_error: None,
};

/// Loads the value 1 in an instance.
async fn load(subject: &Subject, node: &Node) {
    let source = Source::new(Answer::Value(1));
    assert_eq!(subject.call(node, KEY, &source).await, Ok(Some(1)));
    until("the value is stored", || node.fills() == 1).await;
}

/// Asserts that a call gets the stale value. The load that it begins fails, or is backed off.
async fn assert_stale(subject: &Subject, node: &Node, when: &str) {
    let source = Source::new(Answer::Fails);
    source.hold();
    let found = subject.call(node, KEY, &source).await;
    assert_eq!(found, Ok(Some(1)), "{when}");
    source.release();
    node.until_idle().await;
}

async fn value_that_was_loaded_elsewhere_ends_the_load_without_a_body(store: Store) {
    let (here, there) = (store.node().await, store.node().await);
    let subject = Subject::new(WINDOWS, None);
    load(&subject, &here).await;
    store.clock.advance(LIFE);
    let (loaded, fills) = (Source::new(Answer::Value(2)), there.fills());
    let found = subject.call(&there, KEY, &loaded).await;
    assert_eq!(found, Ok(Some(1)), "stale, and a load begins");
    until("the new value is stored", || there.fills() == fills + 1).await;
    let unused = Source::new(Answer::Fails);
    let call = async || subject.call(&here, KEY, &unused).await;
    assert_eq!(call().await, Ok(Some(1)), "memory has the old value");
    until_returns(Ok(Some(2)), NEAR, call).await;
    assert_eq!((loaded.bodies(), unused.bodies()), (1, 0));
    let stats = function_stats(&here, subject.function().name()).unwrap();
    assert_eq!(stats.refreshes, 0, "no body ran: {stats:?}");
}

async fn window_is_not_lengthened_by_answers(store: Store) {
    let (here, there) = (store.node().await, store.node().await);
    let subject = Subject::new(WINDOWS, None);
    load(&subject, &here).await;
    store.clock.advance(LIFE);
    for node in [&here, &there] {
        assert_stale(&subject, node, "at the begin of the window").await;
    }
    // Nothing counts from the answer, nor from the copy that the other instance has kept.
    store.clock.advance(NEAR - MOMENT);
    for node in [&here, &there] {
        assert_stale(&subject, node, "at the end of the window").await;
    }
    store.clock.advance(MOMENT);
    for node in [&here, &there] {
        subject.assert_missing(node, KEY, "after the window").await;
    }
}

async fn store_keeps_a_record_for_its_life_and_the_longest_window(store: Store) {
    let node = store.node().await;
    let windows = |revalidate, on_error| Windows {
        revalidate,
        on_error,
    };
    let cases = [
        (windows(None, None), LIFE),
        (windows(Some(NEAR), None), LIFE + NEAR),
        (windows(None, Some(NEAR)), LIFE + NEAR),
        (windows(Some(NEAR), Some(FAR)), LIFE + FAR),
        (windows(Some(FAR), Some(NEAR)), LIFE + FAR),
    ];
    for (windows, expected) in cases {
        let fills = node.fills();
        let subject = Subject::new(windows, None);
        let source = Source::new(Answer::Value(1));
        assert_eq!(subject.call(&node, KEY, &source).await, Ok(Some(1)));
        until("the value is stored", || node.fills() == fills + 1).await;
        assert_eq!(node.lives().last(), Some(&expected), "{windows:?}");
    }
}

async fn window_of_a_tier_with_a_ttl_scale_is_not_scaled(store: Store) {
    let place = || TierConfig::as_l2().ttl_scale(2.0);
    let here = store.node_with(place(), |builder| builder).await;
    let there = store.node_with(place(), |builder| builder).await;
    let subject = Subject::new(WINDOWS, None);
    load(&subject, &here).await;
    assert_eq!(here.lives(), [LIFE * 2 + NEAR]);
    // The value of memory is stale, and the record is fresh: the load finds it and runs no body.
    store.clock.advance(LIFE);
    subject
        .assert_kept(&here, KEY, 1, "while the record is fresh")
        .await;
    store.clock.advance(LIFE - MOMENT);
    subject
        .assert_kept(&here, KEY, 1, "to the end of the record's life")
        .await;
    store.clock.advance(MOMENT);
    assert_stale(&subject, &there, "at the begin of the record's window").await;
    store.clock.advance(NEAR - MOMENT);
    let other = store.node_with(place(), |builder| builder).await;
    assert_stale(&subject, &other, "at the end of the record's window").await;
    store.clock.advance(MOMENT);
    let later = store.node_with(place(), |builder| builder).await;
    subject
        .assert_missing(&later, KEY, "after the record's window")
        .await;
    subject
        .assert_missing(&there, KEY, "after the record's window")
        .await;
}

super::in_stores!(
    [redis, memcached, disk, objects],
    [
        value_that_was_loaded_elsewhere_ends_the_load_without_a_body,
        window_is_not_lengthened_by_answers,
        store_keeps_a_record_for_its_life_and_the_longest_window,
        window_of_a_tier_with_a_ttl_scale_is_not_scaled
    ]
);

#[tokio::test]
async fn redis_expires_a_record_after_its_life_and_the_longest_window() {
    let store = Store::redis();
    let (node, subject) = (store.node().await, Subject::new(WINDOWS, None));
    load(&subject, &node).await;
    let server = store.server();
    let left: u64 = server.command(&["PTTL", &server.records()[0]]);
    let (least, most) = (LIFE + NEAR / 2, LIFE + NEAR);
    let left = Duration::from_millis(left);
    assert!(least < left && left <= most, "{left:?}");
}

mod cluster {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// Two instances whose stale value the source cannot replace.
    #[tokio::test]
    async fn back_off_holds_for_all_instances_of_redis() {
        let store = Store::redis();
        let (here, there) = (store.node().await, store.node().await);
        let windows = Windows {
            revalidate: Some(LONG),
            on_error: Some(LONG),
        };
        let subject = Subject::new(windows, None);
        load(&subject, &here).await;
        subject.assert_kept(&there, KEY, 1, "elsewhere").await;
        store.clock.advance(LIFE);
        let source = Source::new(Answer::Fails);
        let call = async |node: &Node, bodies: u64, when: &str| {
            let found = subject.call(node, KEY, &source).await;
            assert_eq!(found, Ok(Some(1)), "{when}");
            source.until_bodies(bodies).await;
            node.until_idle().await;
            assert_eq!(source.bodies(), bodies, "{when}");
        };
        call(&here, 1, "the first failure").await;
        call(&there, 1, "backed off elsewhere").await;
        let stats = function_stats(&there, subject.function().name()).unwrap();
        assert_eq!(stats.backed_off, 1, "{stats:?}");
        // The second failure is counted after the first, whichever instance has which.
        store.clock.advance(Duration::from_millis(1_200));
        call(&there, 2, "the second failure").await;
        store.clock.advance(Duration::from_millis(1_599));
        call(&here, 2, "before the second back-off has passed").await;
        store.clock.advance(Duration::from_millis(801));
        call(&here, 3, "the third failure").await;
    }
}
