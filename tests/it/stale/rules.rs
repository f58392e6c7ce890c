//! Which callers get a stale value: those whose function, call and error allow it.

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, Memory, TierConfig, multi_tier_cached};
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::counts::function_stats;

use super::source::{Answer, Down, Read, Source};
use super::stores::Store;
use super::subject::{LIFE, Subject, Windows};

const NEAR: Duration = Duration::from_secs(10);
const FAR: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(1);
const KEY: u64 = 1;

/// A function by the attribute. The table is checked with functions of the builder.
#[multi_tier_cached(
    ttl = "60s",
    jitter = "0%",
    stale_while_revalidate = "10s",
    stale_if_error = "20s",
    skip(source)
)]
async fn annotated(source: &Source, _key: u64) -> Read {
    source.clone().read().await
}

/// A function whose body borrows from its caller: nothing of it runs in the background.
#[multi_tier_cached(ttl = "60s", jitter = "0%", stale_if_error = "20s", skip(source))]
async fn borrowing(source: &Source, _key: u64) -> Read {
    source.clone().read().await
}

async fn annotated_function_answers_as_the_table_says(store: Store) {
    let node = store.node().await;
    let call = async |answer, expected: Read, bodies, when: &str| {
        let source = Source::new(answer);
        assert_eq!(node.call(annotated(&source, KEY)).await, expected, "{when}");
        source.until_bodies(bodies).await;
        node.until_idle().await;
        assert_eq!(source.bodies(), bodies, "{when}");
    };
    call(Answer::Value(1), Ok(Some(1)), 1, "at first").await;
    store.clock.advance(LIFE - MOMENT);
    call(Answer::Fails, Ok(Some(1)), 0, "to the end of the life").await;
    store.clock.advance(MOMENT);
    call(Answer::Fails, Ok(Some(1)), 1, "at the end of the life").await;
    store.clock.advance(NEAR - MOMENT);
    call(
        Answer::Panics,
        Ok(Some(1)),
        1,
        "to the end of the first window",
    )
    .await;
    store.clock.advance(FAR - NEAR);
    call(
        Answer::SaysFailed(5),
        Ok(Some(1)),
        1,
        "to the end of the second window",
    )
    .await;
    store.clock.advance(MOMENT);
    call(Answer::Fails, Err(Down), 1, "after the windows").await;
    call(Answer::Value(2), Ok(Some(2)), 1, "after the windows").await;
    store.clock.advance(LIFE);
    call(
        Answer::Value(3),
        Ok(Some(2)),
        1,
        "at the end of the second life",
    )
    .await;
    call(Answer::Fails, Ok(Some(3)), 0, "after the load").await;
}

async fn annotated_function_that_is_not_late_answers_as_the_table_says(store: Store) {
    let node = store.node().await;
    let call = async |answer, expected: Read, bodies, when: &str| {
        let source = Source::new(answer);
        assert_eq!(node.call(borrowing(&source, KEY)).await, expected, "{when}");
        assert_eq!(source.bodies(), bodies, "{when}");
        store.until_released().await;
    };
    call(Answer::Value(1), Ok(Some(1)), 1, "at first").await;
    store.clock.advance(LIFE);
    call(Answer::Fails, Ok(Some(1)), 1, "at the end of the life").await;
    call(Answer::Fails, Ok(Some(1)), 0, "backed off").await;
    store.clock.advance(FAR - MOMENT);
    call(Answer::Panics, Ok(Some(1)), 1, "to the end of the window").await;
    store.clock.advance(MOMENT);
    call(Answer::Fails, Err(Down), 1, "after the window").await;
}

async fn strong_call_never_gets_a_stale_value(store: Store) {
    let node = store.node().await;
    let source = Source::new(Answer::Value(1));
    assert_eq!(node.call(annotated(&source, KEY)).await, Ok(Some(1)));
    store.clock.advance(LIFE);
    source.answers(Answer::Fails);
    let strong = async || {
        let entry = annotated::entry(&source, KEY);
        node.call(entry.strong()).await
    };
    assert_eq!(strong().await, Err(Down), "at the end of the life");
    // Also while the key is backed off.
    assert_eq!(node.call(annotated(&source, KEY)).await, Ok(Some(1)));
    node.until_idle().await;
    assert_eq!(strong().await, Err(Down), "while backed off");
    let refreshed = node.call(annotated::entry(&source, KEY).refresh()).await;
    assert_eq!(refreshed, Err(Down), "a refresh");
}

async fn call_without_a_load_in_the_background_does_not_use_the_first_window(store: Store) {
    let node = store.node().await;
    for (on_error, expected) in [(None, Err(Down)), (Some(FAR), Ok(Some(1)))] {
        let revalidate = Some(NEAR);
        let subject = Subject::new(
            Windows {
                revalidate,
                on_error,
            },
            None,
        );
        let call = async |answer| {
            let source = Source::new(answer);
            let load = || source.clone().read();
            let found = node
                .call(subject.function().get_or_load((KEY,), load))
                .await;
            store.until_released().await;
            (found, source.bodies())
        };
        assert_eq!(call(Answer::Value(1)).await, (Ok(Some(1)), 1));
        store.clock.advance(LIFE - MOMENT);
        assert_eq!(call(Answer::Fails).await, (Ok(Some(1)), 0));
        store.clock.advance(MOMENT);
        assert_eq!(call(Answer::Fails).await, (expected, 1), "{on_error:?}");
        store.clock.advance(Duration::from_secs(2));
        assert_eq!(
            call(Answer::Value(2)).await,
            (Ok(Some(2)), 1),
            "{on_error:?}"
        );
        let stats = function_stats(&node, subject.function().name()).unwrap();
        assert_eq!(stats.refreshes, 0, "{stats:?}");
    }
}

async fn handle_shows_the_value_that_a_call_gets_at_once(store: Store) {
    let node = store.node().await;
    let (revalidate, on_error) = (Some(NEAR), Some(FAR));
    let subject = Subject::new(
        Windows {
            revalidate,
            on_error,
        },
        None,
    );
    let source = Source::new(Answer::Value(1));
    assert_eq!(subject.call(&node, KEY, &source).await, Ok(Some(1)));
    let entry = subject.function().entry((KEY,));
    let peek = || node.call(entry.peek());
    store.clock.advance(LIFE);
    assert_eq!(peek().await, Some(1), "at the begin of the first window");
    store.clock.advance(NEAR - MOMENT);
    assert_eq!(peek().await, Some(1), "to the end of the first window");
    store.clock.advance(MOMENT);
    assert_eq!(peek().await, None, "in the second window");
}

super::in_every_store!(
    handle_shows_the_value_that_a_call_gets_at_once,
    annotated_function_answers_as_the_table_says,
    annotated_function_that_is_not_late_answers_as_the_table_says,
    strong_call_never_gets_a_stale_value,
    call_without_a_load_in_the_background_does_not_use_the_first_window,
);

#[tokio::test]
async fn error_that_stale_if_refuses_goes_to_every_caller() {
    let store = Store::redis();
    let node = store.node().await;
    let function = Function::<u64>::builder("stale::rules_stale_if")
        .ttl(LIFE)
        .jitter(0)
        .stale_if_error(FAR)
        .stale_if(|status: &u16| *status >= 500)
        .build()
        .unwrap();
    let call = |result: Result<u64, u16>| {
        let load = move || async move { result };
        node.call(function.get_or_load_late((KEY,), load))
    };
    assert_eq!(call(Ok(1)).await, Ok(1));
    store.clock.advance(LIFE);
    // The source answers, so the stale value is not to be returned, and nothing is backed off.
    assert_eq!(call(Err(404)).await, Err(404));
    assert_eq!(call(Err(404)).await, Err(404));
    assert_eq!(call(Err(503)).await, Ok(1));
    assert_eq!(call(Err(404)).await, Ok(1), "backed off");
    store.clock.advance(Duration::from_secs(2));
    assert_eq!(call(Err(404)).await, Err(404));
}

/// A plain function, which has no background.
#[multi_tier_cached(
    ttl = "60s",
    jitter = "0%",
    tiers = "l1,l2",
    stale_if_error = "20s",
    skip(answer)
)]
fn plain(answer: Result<u64, Down>, _key: u64) -> Result<u64, Down> {
    answer
}

/// A plain function in memory alone.
#[multi_tier_cached(ttl = "60s", tiers = "l1", stale_if_error = "20s", skip(answer))]
fn plain_in_memory(answer: Result<u64, Down>, _key: u64) -> Result<u64, Down> {
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_function_returns_the_stale_value_if_its_load_fails() {
    let store = Store::disk();
    let (here, there) = (store.node().await, store.node().await);
    let call = |runtime: &CacheRuntime, answer| {
        CacheRuntime::scope_blocking(runtime.clone(), || plain(answer, KEY))
    };
    assert_eq!(call(&here.runtime, Ok(1)), Ok(1));
    store.clock.advance(LIFE - MOMENT);
    assert_eq!(call(&here.runtime, Err(Down)), Ok(1), "fresh");
    store.clock.advance(MOMENT);
    assert_eq!(call(&here.runtime, Err(Down)), Ok(1), "stale, in memory");
    assert_eq!(call(&here.runtime, Ok(2)), Ok(1), "backed off");
    store.clock.advance(FAR - MOMENT);
    assert_eq!(call(&there.runtime, Err(Down)), Ok(1), "stale, on the disk");
    assert_eq!(call(&here.runtime, Err(Down)), Ok(1), "stale, in memory");
    store.clock.advance(MOMENT);
    assert_eq!(
        call(&there.runtime, Err(Down)),
        Err(Down),
        "after the window"
    );
    assert_eq!(
        call(&here.runtime, Err(Down)),
        Err(Down),
        "after the window"
    );
    assert_eq!(call(&here.runtime, Ok(2)), Ok(2));
}

#[test]
fn plain_function_in_memory_returns_the_stale_value_without_an_async_runtime() {
    let clock = TestClock::new();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let runtime = tokio
        .block_on(builder.clock(clock.of_runtimes()).build())
        .unwrap();
    drop(tokio);
    let call =
        |answer| CacheRuntime::scope_blocking(runtime.clone(), || plain_in_memory(answer, KEY));
    assert_eq!(call(Ok(1)), Ok(1));
    clock.advance(LIFE);
    assert_eq!(call(Err(Down)), Ok(1));
    clock.advance(Duration::from_secs(2));
    assert_eq!(call(Ok(2)), Ok(2));
    clock.advance(LIFE + FAR);
    assert_eq!(call(Err(Down)), Err(Down));
}

/// Two tiers below memory, of which the upper one ends first.
#[multi_tier_cached(
    ttl(l1 = "20s", l2 = "30s", l3 = "60s"),
    jitter = "0%",
    stale_while_revalidate = "20s",
    skip(source)
)]
async fn in_three_tiers(source: &Source, _key: u64) -> Read {
    source.clone().read().await
}

#[tokio::test]
async fn value_that_expired_last_is_returned_of_two_tiers_and_is_not_copied_up() {
    let clock = TestClock::new();
    let upper = ClockedTier::new(testbed::fake_tier::FakeTier::new(), &clock);
    let lower = ClockedTier::new(testbed::fake_tier::FakeTier::new(), &clock);
    let instance = || {
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .tier(upper.clone(), TierConfig::new(Level::L2))
            .tier(lower.clone(), TierConfig::new(Level::L3));
        testbed::Instance::build(builder.clock(clock.of_runtimes()))
    };
    let here = instance().await;
    let source = Source::new(Answer::Value(1));
    assert_eq!(here.call(in_three_tiers(&source, KEY)).await, Ok(Some(1)));
    // The window of the upper tier has ended, and that of the lower one has not.
    clock.advance(Duration::from_secs(79));
    let there = instance().await;
    source.hold();
    source.answers(Answer::Fails);
    assert_eq!(there.call(in_three_tiers(&source, KEY)).await, Ok(Some(1)));
    source.until_bodies(2).await;
    source.release();
    testbed::until("the load has ended", || there.loads_under_way() == 0).await;
    assert_eq!(
        (upper.stored_lives().len(), lower.stored_lives().len()),
        (1, 1)
    );
    let stats = function_stats(&there, "in_three_tiers").unwrap();
    let promotions: u64 = stats.tiers.iter().map(|tier| tier.promotions).sum();
    assert_eq!(promotions, 0, "{stats:?}");
    clock.advance(Duration::from_secs(1));
    let later = instance().await;
    assert_eq!(later.call(in_three_tiers(&source, KEY)).await, Err(Down));
}
