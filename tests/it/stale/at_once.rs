//! A call never waits for a load that replaces a value which it may return.

use std::task::Poll;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, Memory};
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::{Instance, poll_once, until};
use tokio::time::timeout;

use super::source::{Answer, Source};
use super::stores::Store;
use super::subject::{LIFE, Subject, Windows, at_once};

const WINDOWS: Windows = Windows {
    revalidate: Some(LIFE),
    on_error: None,
};

const KEY: u64 = 1;

/// Far longer than a call takes that does not wait for the body, which the test holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls a call once that begins now.
fn begin(
    instance: &Instance,
    function: &Function<u64>,
    source: &Source,
) -> Poll<super::source::Read> {
    let source = source.clone();
    let call = function.get_or_load_late((KEY,), move || source.read());
    poll_once(&mut Box::pin(instance.call(call)))
}

#[tokio::test]
async fn call_that_begins_before_the_load_in_the_background_does_is_answered() {
    let store = Store::redis();
    let (node, subject) = (
        store.node().await,
        Subject::new(WINDOWS, Some(&[Level::L2])),
    );
    let source = Source::new(Answer::Value(1));
    assert_eq!(subject.call(&node, KEY, &source).await, Ok(Some(1)));
    store.clock.advance(LIFE);
    source.hold();
    let first = {
        let source = source.clone();
        subject
            .function()
            .get_or_load_late((KEY,), move || source.read())
    };
    // Not as a task of its own: the load in the background has not been polled when this returns.
    assert_eq!(node.call(first).await, Ok(Some(1)));
    let second = {
        let source = source.clone();
        subject
            .function()
            .get_or_load_late((KEY,), move || source.read())
    };
    let second = timeout(PATIENCE, node.call(second)).await;
    assert_eq!(second.expect("it does not wait for the load"), Ok(Some(1)));
    source.release();
}

#[tokio::test]
async fn call_that_joined_before_the_leader_found_the_stale_value_is_answered() {
    let (clock, fake) = (TestClock::new(), FakeTier::new());
    let instance = || {
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(ClockedTier::new(fake.clone(), &clock))
            .clock(clock.of_runtimes());
        Instance::build(builder)
    };
    let (here, there) = (instance().await, instance().await);
    let subject = Subject::new(WINDOWS, None);
    let function = subject.function();
    let source = Source::new(Answer::Value(1));
    let load = || source.clone().read();
    assert_eq!(
        here.call(function.get_or_load((KEY,), load)).await,
        Ok(Some(1))
    );
    clock.advance(LIFE);
    source.hold();
    // A call that waits for its own load, because it cannot leave it to the background.
    let read = fake.hold_read(HeldAt::Answer);
    let leader = {
        let (function, source) = (function.clone(), source.clone());
        there.spawn(async move { function.get_or_load((KEY,), || source.read()).await })
    };
    until("the leader reads the tier", || read.is_reached()).await;
    let joined = {
        let (function, source) = (function.clone(), source.clone());
        there.spawn(async move {
            function
                .get_or_load_late((KEY,), move || source.read())
                .await
        })
    };
    let waits =
        || testbed::counts::function_stats(&there, function.name()).map_or(0, |it| it.waits);
    until("the other call waits", || waits() == 1).await;
    read.release();
    assert_eq!(at_once(joined).await, Ok(Some(1)));
    assert!(!leader.is_finished());
    source.answers(Answer::Value(2));
    source.release();
    assert_eq!(at_once(leader).await, Ok(Some(2)));
    assert_eq!(source.bodies(), 2);
}

#[tokio::test]
async fn call_of_a_function_without_memory_does_not_wait_for_a_refresh_ahead() {
    let store = Store::redis();
    let function = Function::<u64>::builder("stale::at_once_ahead")
        .ttl(LIFE)
        .jitter(0)
        .tiers([Level::L2])
        .refresh_ahead(LIFE / 2)
        .build()
        .unwrap();
    let node = store.node().await;
    let source = Source::new(Answer::Value(1));
    let call = || {
        let source = source.clone();
        node.call(function.get_or_load_late((KEY,), move || source.read()))
    };
    assert_eq!(call().await, Ok(Some(1)));
    store.clock.advance(LIFE - Duration::from_secs(10));
    source.hold();
    assert_eq!(call().await, Ok(Some(1)));
    let during = timeout(PATIENCE, call()).await;
    assert_eq!(during.expect("it does not wait for the load"), Ok(Some(1)));
    source.until_bodies(2).await;
    assert_eq!(begin(&node, &function, &source), Poll::Ready(Ok(Some(1))));
    source.answers(Answer::Value(2));
    source.release();
    node.until_idle().await;
    until("the new value is stored", || node.fills() == 2).await;
    assert_eq!(call().await, Ok(Some(2)));
    assert_eq!(source.bodies(), 2);
}
