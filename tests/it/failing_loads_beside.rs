//! Results of callers when a load fails or hangs that they did not begin, or that another operation
//! has overtaken. Time is that of a paused clock and of a clock that the test advances.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, LoadTimeout, ManualClock, Memory, caching};
use testbed::Instance;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(100);

#[derive(Clone, Debug, PartialEq)]
enum Failure {
    Down,
    Timeout,
}

impl From<LoadTimeout> for Failure {
    fn from(_: LoadTimeout) -> Self {
        Self::Timeout
    }
}

/// An error that cannot be shared.
#[derive(Debug)]
struct NotClone;

impl From<LoadTimeout> for NotClone {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

type Loaded = Result<u64, Failure>;

/// An instance with memory, whose clock a test advances.
async fn instance(places: usize) -> (Instance, ManualClock) {
    let clock = ManualClock::new();
    let builder = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    (
        Instance::build(builder.background_loads(places)).await,
        clock,
    )
}

/// Lets the loads in the background come as far as they can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn ok(value: u64) -> Loaded {
    Ok(value)
}

async fn fails_after(time: Duration) -> Loaded {
    sleep(time).await;
    Err(Failure::Down)
}

#[tokio::test(start_paused = true)]
async fn kept_error_of_a_refresh_ahead_does_not_replace_a_fresh_value() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::kept_error").ttl(TTL);
    let function = function.refresh_ahead(20 * SECOND).error_ttl(5 * SECOND);
    let function = function.error_if(|_: &Failure| true).build().unwrap();
    let call = |load: Loaded| here.call(function.get_or_load_late((1,), || async { load }));
    assert_eq!(call(Ok(1)).await, Ok(1));
    clock.advance(85 * SECOND);
    assert_eq!(call(Err(Failure::Down)).await, Ok(1));
    settle().await;
    assert_eq!(call(Ok(2)).await, Ok(1), "fresh for 15 s more");
}

#[tokio::test(start_paused = true)]
async fn load_that_waits_for_a_place_in_the_background_does_not_hold_its_key() {
    let (here, clock) = instance(1).await;
    let hangs = Function::<u64>::in_memory("beside::hangs").ttl(TTL);
    let hangs = hangs.stale_while_revalidate(TTL).build().unwrap();
    let due = Function::<u64>::in_memory("beside::due").ttl(TTL);
    let due = due.refresh_ahead(20 * SECOND).build().unwrap();
    here.call(hangs.get_or_load_late((1,), || async { 1 }))
        .await;
    clock.advance(TTL + SECOND);
    here.call(due.get_or_load_late((1,), || async { 1 })).await;
    // It takes the only place.
    here.call(hangs.get_or_load_late((1,), pending::<u64>))
        .await;
    settle().await;
    clock.advance(85 * SECOND);
    assert_eq!(
        here.call(due.get_or_load_late((1,), || async { 2 })).await,
        1
    );
    settle().await;
    clock.advance(20 * SECOND);
    let began = Instant::now();
    assert_eq!(
        here.call(due.get_or_load_late((1,), || async { 3 })).await,
        3
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn soft_timeout_applies_to_callers_that_join_a_load_in_the_background() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::soft").ttl(TTL);
    let function = function.refresh_ahead(20 * SECOND).stale_if_error(10 * TTL);
    let function = function.soft_timeout(SECOND / 5).build().unwrap();
    here.call(function.get_or_load_late((1,), || ok(1)))
        .await
        .unwrap();
    clock.advance(85 * SECOND);
    here.call(function.get_or_load_late((1,), pending::<Loaded>))
        .await
        .unwrap();
    settle().await;
    clock.advance(20 * SECOND);
    let began = Instant::now();
    assert_eq!(
        here.call(function.get_or_load_late((1,), || ok(3))).await,
        Ok(1)
    );
    assert!(began.elapsed() <= SECOND / 4, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn strong_call_gets_no_stale_value_from_a_late_flight_or_a_body_that_failed() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::strong").ttl(TTL);
    let function = function.stale_if_error(10 * TTL).soft_timeout(SECOND / 5);
    let function = function.build().unwrap();
    here.call(function.get_or_load_late((1,), || ok(1)))
        .await
        .unwrap();
    clock.advance(TTL + SECOND);
    let late = function.clone();
    let late = here.spawn(async move {
        let load = || async {
            sleep(10 * SECOND).await;
            Ok::<u64, Failure>(2)
        };
        late.get_or_load_late((1,), load).await
    });
    settle().await;
    let strong = here.call(function.entry((1,)).strong(|| ok(7))).await;
    assert_ne!(strong, Ok(1));
    assert_eq!(
        late.await.unwrap(),
        Ok(1),
        "the other caller gets it at its soft timeout"
    );
    clock.advance(10 * SECOND);
    here.call(function.entry((2,)).refresh(|| ok(1)))
        .await
        .unwrap();
    clock.advance(TTL + SECOND);
    let failed = || async {
        caching::failed();
        Ok::<u64, Failure>(7)
    };
    assert_eq!(here.call(function.entry((2,)).strong(failed)).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn body_that_runs_beside_another_load_ends_at_the_hard_timeout_of_its_caller() {
    let (here, _) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::hard").ttl(TTL);
    let function = function.hard_timeout(2 * SECOND).build().unwrap();
    let mut calls = Vec::new();
    for number in 0..3 {
        let function = function.clone();
        calls.push(here.spawn(async move {
            let began = Instant::now();
            let load = move || async move {
                sleep(SECOND * 19 / 10).await;
                match number {
                    0 => Err::<u64, NotClone>(NotClone),
                    _ => pending().await,
                }
            };
            let _ = function.get_or_load_late((1,), load).await;
            began.elapsed()
        }));
        settle().await;
    }
    for call in calls {
        let took = call.await.unwrap();
        assert!(took <= SECOND * 41 / 20, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_waited_for_a_failed_refresh_by_hand_get_the_stale_value() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::refresh").ttl(TTL);
    let function = function.stale_if_error(10 * TTL).build().unwrap();
    here.call(function.get_or_load_late((1,), || ok(1)))
        .await
        .unwrap();
    clock.advance(TTL + SECOND);
    let refreshed = function.clone();
    let refresh = async move { refreshed.entry((1,)).refresh(|| fails_after(SECOND)).await };
    let refresh = here.spawn(refresh);
    settle().await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let function = function.clone();
        calls.push(here.spawn(async move {
            function
                .get_or_load_late((1,), || fails_after(SECOND))
                .await
        }));
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
    assert_eq!(refresh.await.unwrap(), Err(Failure::Down));
}

#[tokio::test(start_paused = true)]
async fn load_that_a_put_overtook_gets_its_value_and_does_not_back_it_off() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::overtaken").ttl(TTL);
    let function = function.stale_if_error(10 * TTL).refresh_ahead(20 * SECOND);
    let function = function.build().unwrap();
    here.call(function.get_or_load_late((1,), || ok(1)))
        .await
        .unwrap();
    clock.advance(TTL + SECOND);
    let overtaken = function.clone();
    let overtaken = here.spawn(async move {
        overtaken
            .get_or_load_late((1,), || fails_after(SECOND))
            .await
    });
    settle().await;
    here.call(function.entry((1,)).put(5)).await.unwrap();
    assert_eq!(overtaken.await.unwrap(), Ok(5));
    clock.advance(85 * SECOND);
    let loads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&loads);
    let load = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok::<u64, Failure>(6)
    };
    assert_eq!(
        here.call(function.get_or_load_late((1,), load)).await,
        Ok(5)
    );
    settle().await;
    assert_eq!(
        loads.load(Ordering::SeqCst),
        1,
        "the value of the put is loaded ahead"
    );
}

#[tokio::test(start_paused = true)]
async fn load_that_finds_nothing_does_not_invalidate_a_value_that_was_put_since() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::put").ttl(TTL);
    let function = function.stale_while_revalidate(10 * TTL).build().unwrap();
    here.call(function.get_or_load_late((1,), || async { Some(1) }))
        .await;
    clock.advance(TTL + SECOND);
    let finds_nothing = || async {
        sleep(SECOND).await;
        None::<u64>
    };
    here.call(function.get_or_load_late((1,), finds_nothing))
        .await;
    settle().await;
    here.call(function.entry((1,)).put(5)).await.unwrap();
    sleep(2 * SECOND).await;
    settle().await;
    assert_eq!(here.call(function.entry((1,)).peek()).await, Some(5));
}

#[tokio::test(start_paused = true)]
async fn refresh_ahead_that_failed_is_attempted_again_before_the_value_expires() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::ahead").ttl(TTL);
    let function = function.refresh_ahead(50 * SECOND).build().unwrap();
    here.call(function.get_or_load_late((1,), || ok(1)))
        .await
        .unwrap();
    clock.advance(55 * SECOND);
    let loads = Arc::new(AtomicU64::new(0));
    for _ in 0..40 {
        let counted = Arc::clone(&loads);
        let load = move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            Err::<u64, Failure>(Failure::Down)
        };
        assert_eq!(
            here.call(function.get_or_load_late((1,), load)).await,
            Ok(1)
        );
        settle().await;
        clock.advance(SECOND);
    }
    // At about 0, 1, 3, 7, 15 and 31 s.
    let loads = loads.load(Ordering::SeqCst);
    assert!((5..=7).contains(&loads), "{loads}");
}

#[tokio::test(start_paused = true)]
async fn error_that_stale_if_refuses_in_the_background_is_not_hidden_in_the_second_window() {
    let (here, clock) = instance(4).await;
    let function = Function::<u64>::in_memory("beside::refused").ttl(TTL);
    let function = function
        .stale_while_revalidate(10 * SECOND)
        .stale_if_error(10 * TTL);
    let function = function.stale_if(|_: &Failure| false).build().unwrap();
    let call = |load: Loaded| here.call(function.get_or_load_late((1,), || async { load }));
    assert_eq!(call(Ok(1)).await, Ok(1));
    clock.advance(TTL + SECOND * 19 / 2);
    assert_eq!(call(Err(Failure::Down)).await, Ok(1), "in the first window");
    settle().await;
    clock.advance(SECOND * 51 / 100);
    assert_eq!(call(Err(Failure::Down)).await, Err(Failure::Down));
}
