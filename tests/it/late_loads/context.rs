//! The context of a load in the background: the task-locals that it sees, and the Tokio runtimes
//! in which it can run.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, LoadTimeout, ManualClock, Memory, multi_tier_cached};
use testbed::counts::function_stats;
use testbed::{Instance, Truth, assert_loads, poll_once, until};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Body, late_function, leave, stats, until_idle};

late_function!(in_default_runtime);
late_function!(outside);

const SOON: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);

tokio::task_local! {
    static REQUEST: u64;
}

/// The number of the request in whose task this runs; zero in none.
fn request() -> u64 {
    REQUEST.try_with(|request| *request).unwrap_or(0)
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn nested(truth: &Truth, key: u64) -> u64 {
    truth.read();
    key
}

/// The requests that a body sees, before and after its gate.
type Seen = (u64, u64);

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(body, truth))]
async fn looks_around(body: &Arc<Body>, truth: &Arc<Truth>, key: u64) -> Seen {
    let before = request();
    body.run().await;
    nested(truth, key).await;
    (before, request())
}

async fn with_clock(clock: &ManualClock) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.clock(clock)).await
}

fn loads(here: &Instance, function: &str) -> u64 {
    function_stats(here, function).map_or(0, |stats| stats.loads)
}

#[tokio::test]
async fn load_that_was_handed_over_uses_the_runtime_of_its_caller_and_no_other_task_local() {
    let (here, other) = (Instance::with_memory().await, Instance::with_memory().await);
    let (body, truth) = (Body::held(), Arc::new(Truth::new()));
    let call = || {
        let call = here.call(looks_around(&body, &truth, 2));
        REQUEST.scope(7, call)
    };
    leave(call).await;
    body.until_began(1).await;
    // The gate is opened by a task that is in another runtime.
    other.call(async { body.gate.open() }).await;
    until_idle(&here).await;
    assert_loads(&here, "context::nested", 1).await;
    assert_eq!(here.call(looks_around(&body, &truth, 2)).await, (7, 0));
    assert_eq!(here.call(nested(&truth, 2)).await, 2);
    assert_eq!((truth.reads(), body.began()), (1, 1));
    assert_loads(&other, "context::nested", 0).await;
}

#[tokio::test]
async fn load_that_replaces_a_stale_value_uses_the_runtime_of_its_caller_and_no_task_local() {
    let clock = ManualClock::new();
    let here = with_clock(&clock).await;
    let (body, truth) = (Body::open(), Arc::new(Truth::new()));
    let call = || {
        let call = here.call(looks_around(&body, &truth, 1));
        REQUEST.scope(7, call)
    };
    assert_eq!(call().await, (7, 7), "in the foreground");
    clock.advance(HOUR);
    assert_eq!(call().await, (7, 7), "the stale value");
    until_idle(&here).await;
    assert_eq!(call().await, (0, 0), "in the background");
    assert_loads(&here, "context::nested", 2).await;
    assert_eq!((truth.reads(), body.began()), (2, 2));
}

/// A nested late function in the background begins its own loads there too.
#[tokio::test]
async fn load_in_the_background_begins_loads_of_its_own_in_the_same_runtime() {
    #[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(body))]
    async fn above(body: &Arc<Body>, key: u64) -> u64 {
        below(body, key).await
    }

    late_function!(below);

    let clock = ManualClock::new();
    let here = with_clock(&clock).await;
    let body = Body::open();
    assert_eq!(here.call(above(&body, 1)).await, 1);
    clock.advance(HOUR);
    assert_eq!(here.call(above(&body, 1)).await, 1);
    until_idle(&here).await;
    until("both were replaced", || loads(&here, "below") == 2).await;
    until_idle(&here).await;
    assert_eq!(stats(&here, "above").refreshes, 1);
    assert_eq!(stats(&here, "below").refreshes, 1);
    assert_eq!(body.began(), 2);
}

fn tokio_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Two tests of one process are such a case: each has a Tokio runtime of its own, and the default
/// runtime of the cache is that of the process.
#[test]
fn default_runtime_runs_loads_in_the_tokio_runtime_of_the_caller_after_the_first_has_ended() {
    let body = Body::held();
    let first = tokio_runtime();
    first.block_on(async {
        leave(|| in_default_runtime(&body, 1)).await;
        body.until_began(1).await;
    });
    assert_eq!(body.alive(), 1);
    drop(first);
    assert_eq!(body.alive(), 0, "the load ended with its Tokio runtime");

    for key in 1..4 {
        let next = tokio_runtime();
        next.block_on(async {
            let body = Body::held();
            leave(|| in_default_runtime(&body, key)).await;
            body.until_began(1).await;
            body.gate.open();
            let value = timeout(SOON, in_default_runtime(&body, key)).await;
            assert_eq!(value.expect("the load runs on"), 1, "key {key}");
            assert_eq!(body.began(), 1, "key {key}");
        });
    }
    let default = CacheRuntime::current();
    assert_eq!(stats(&default, "context::in_default_runtime").shed, 0);
}

/// The Tokio runtime ends while a caller in another one waits for the load.
#[test]
fn waiter_in_another_tokio_runtime_loads_when_the_one_of_the_load_ends() {
    let body = Body::held();
    let (first, second) = (tokio_runtime(), tokio_runtime());
    first.block_on(leave(|| in_default_runtime(&body, 10)));
    let mut waiter = Box::pin(in_default_runtime(&body, 10));
    assert!(poll_once(&mut waiter).is_pending());
    drop(first);
    assert_eq!(body.alive(), 0);
    body.gate.open();
    let value = second.block_on(timeout_of(waiter));
    assert!(value.is_some_and(|value| value >= 1), "{value:?}");
}

async fn timeout_of<F: Future>(call: F) -> Option<F::Output> {
    timeout(SOON, call).await.ok()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread without Tokio, as another executor does.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(SOON),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// Waits for an event outside of Tokio.
#[multi_tier_cached(
    ttl = "1h",
    stale_while_revalidate = "1h",
    stale_if_error = "2h",
    soft_timeout = "20ms",
    hard_timeout = "50ms",
    refresh_ahead = "1m",
    tiers = "l1",
    skip(body)
)]
async fn every_option(body: &Arc<Body>, _key: u64) -> Result<u64, TimedOut> {
    Ok(body.run().await)
}

/// Runs a test outside of Tokio, with the runtime that it gets.
fn outside_of_tokio(clock: &ManualClock, test: impl FnOnce(CacheRuntime)) {
    let tokio = tokio_runtime();
    let here = tokio.block_on(with_clock(clock));
    drop(tokio);
    test(here.runtime);
}

#[test]
fn call_of_a_late_function_outside_of_tokio_loads_and_keeps_the_value() {
    outside_of_tokio(&ManualClock::new(), |runtime| {
        let body = Body::open();
        let call = || {
            let runtime = runtime.clone();
            block_on(CacheRuntime::scope(runtime, every_option(&body, 1)))
        };
        assert_eq!((call(), call()), (Ok(1), Ok(1)));
        assert_eq!(body.began(), 1);
    });
    let body = Body::open();
    assert_eq!(block_on(outside(&body, 1)), 1, "in the default runtime");
    assert_eq!(block_on(outside(&body, 1)), 1);
    assert_eq!(body.began(), 1);
}

#[test]
fn stale_value_outside_of_tokio_is_returned_and_replaced_by_a_later_call() {
    let clock = ManualClock::new();
    outside_of_tokio(&clock, |runtime| {
        let body = Body::open();
        let scoped = |call| CacheRuntime::scope(runtime.clone(), call);
        assert_eq!(block_on(scoped(outside(&body, 2))), 1);
        clock.advance(HOUR);
        for _ in 0..2 {
            assert_eq!(block_on(scoped(outside(&body, 2))), 1, "the stale value");
        }
        assert_eq!(body.began(), 1, "nothing runs a load in the background");
        assert_eq!(runtime.loads_under_way(), 0);
        // A call in Tokio can begin the load.
        clock.advance(Duration::from_secs(120));
        tokio_runtime().block_on(async {
            assert_eq!(scoped(outside(&body, 2)).await, 1);
            until("the value is replaced", || body.began() == 2).await;
            until("no load runs", || runtime.loads_under_way() == 0).await;
            assert_eq!(scoped(outside(&body, 2)).await, 2);
        });
    });
}

#[test]
fn call_outside_of_tokio_returns_at_its_timeout_though_nothing_runs_its_load_on() {
    outside_of_tokio(&ManualClock::new(), |runtime| {
        let (held, open) = (Body::held(), Body::open());
        let scoped = |call| CacheRuntime::scope(runtime.clone(), call);
        assert_eq!(block_on(scoped(every_option(&held, 3))), Err(TimedOut));
        assert_eq!(held.alive(), 0, "the body ended with its caller");
        assert_eq!(block_on(scoped(every_option(&open, 3))), Ok(1));
    });
}

#[test]
fn waiter_outside_of_tokio_loads_when_the_leader_is_dropped() {
    outside_of_tokio(&ManualClock::new(), |runtime| {
        let (held, open) = (Body::held(), Body::open());
        let scoped = |call| CacheRuntime::scope(runtime.clone(), call);
        let mut leader = Box::pin(scoped(outside(&held, 4)));
        assert!(poll_once(&mut leader).is_pending());
        let mut waiter = Box::pin(scoped(outside(&open, 4)));
        assert!(poll_once(&mut waiter).is_pending());
        drop(leader);
        assert_eq!(held.alive(), 0);
        assert_eq!(block_on(waiter), 1);
        assert_eq!(open.began(), 1);
    });
}

/// An argument that is passed by reference is copied when a load begins, and never on a hit.
#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn arguments_are_copied_when_a_load_begins_and_not_on_a_hit() {
    #[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(counted))]
    async fn copies(counted: &Counted, key: u64) -> u64 {
        let _ = counted;
        key
    }

    let clock = ManualClock::new();
    let here = with_clock(&clock).await;
    let counted = Counted(Arc::default());
    let copies_made = || counted.0.load(Ordering::SeqCst);
    let call = async || assert_eq!(here.call(copies(&counted, 1)).await, 1);
    call().await;
    let of_one_load = copies_made();
    assert_eq!(of_one_load, 1);
    for _ in 0..10 {
        call().await;
    }
    assert_eq!(copies_made(), 1, "a hit copies nothing");
    clock.advance(HOUR);
    for _ in 0..10 {
        call().await;
        until_idle(&here).await;
    }
    assert_eq!(copies_made(), 2, "the load that replaces the value");
}
