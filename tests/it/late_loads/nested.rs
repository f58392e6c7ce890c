//! Late functions that call each other: no deadlock, also if a load is handed over in the middle.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{LoadTimeout, Redis, multi_tier_cached};
use testbed::server::Server;
use testbed::{Gate, Instance, assert_count, poll_until, until};
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::{Body, late_function, stats, until_idle, waits};

const SOON: Duration = Duration::from_secs(20);

/// Bodies of two late functions, each of which calls the other one.
#[derive(Debug)]
struct Ring {
    both_run: Barrier,
    /// Opened by the test once the callers have left.
    gate: Gate,
    first: AtomicU64,
    second: AtomicU64,
}

impl Ring {
    fn new(bodies: usize) -> Arc<Self> {
        Arc::new(Self {
            both_run: Barrier::new(bodies),
            gate: Gate::new(),
            first: AtomicU64::new(0),
            second: AtomicU64::new(0),
        })
    }

    fn bodies(&self) -> [u64; 2] {
        [&self.first, &self.second].map(|count| count.load(Ordering::SeqCst))
    }
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(ring))]
async fn first(ring: &Arc<Ring>, key: u64) -> u64 {
    if ring.first.fetch_add(1, Ordering::SeqCst) == 0 {
        ring.both_run.wait().await;
        ring.gate.pass().await;
        call_second(ring, key).await;
    }
    1
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(ring))]
async fn second(ring: &Arc<Ring>, key: u64) -> u64 {
    if ring.second.fetch_add(1, Ordering::SeqCst) == 0 {
        ring.both_run.wait().await;
        ring.gate.pass().await;
        call_first(ring, key).await;
    }
    2
}

/// The compiler does not see through a trait object, so the functions may name each other.
type Called = Pin<Box<dyn Future<Output = u64> + Send>>;

fn call_first(ring: &Arc<Ring>, key: u64) -> Called {
    let ring = Arc::clone(ring);
    Box::pin(async move { first(&ring, key).await })
}

fn call_second(ring: &Arc<Ring>, key: u64) -> Called {
    let ring = Arc::clone(ring);
    Box::pin(async move { second(&ring, key).await })
}

async fn in_time<F: Future>(what: &str, call: F) -> F::Output {
    let called = timeout(SOON, call).await;
    called.unwrap_or_else(|_| panic!("{what}: a deadlock"))
}

#[tokio::test]
async fn late_function_that_calls_itself_through_another_ends() {
    let (here, ring) = (Instance::with_memory().await, Ring::new(1));
    ring.gate.open();
    let value = in_time("one task", here.call(first(&ring, 1))).await;
    assert_eq!(value, 1);
    let bodies = ring.bodies();
    assert!(bodies[0] <= 2 && bodies[1] == 1, "{bodies:?}");
    assert_eq!(here.call(second(&ring, 1)).await, 2);
    assert_eq!(ring.bodies(), bodies, "the values are kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_functions_that_call_each_other_at_the_same_time_end() {
    let server = Server::start();
    let redis = Redis::new(server.url()).lease_time(Duration::from_millis(500));
    for here in [
        Instance::with_memory().await,
        Instance::with_redis(redis).await,
    ] {
        let ring = Ring::new(2);
        ring.gate.open();
        let [a, b] = [Arc::clone(&ring), Arc::clone(&ring)];
        let a = here.spawn(async move { first(&a, 2).await });
        let b = here.spawn(async move { second(&b, 2).await });
        assert_eq!(in_time("first", a).await.unwrap(), 1);
        assert_eq!(in_time("second", b).await.unwrap(), 2);
        let [of_first, of_second] = ring.bodies();
        assert!(of_first + of_second <= 3, "one load continues by itself");
        until_idle(&here).await;
    }
}

/// Both loads are in the background before one calls the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_in_the_background_that_call_each_other_end() {
    let here = Instance::with_memory().await;
    let ring = Ring::new(2);
    let call_first = |_| {
        let ring = Arc::clone(&ring);
        here.spawn(async move { first(&ring, 3).await })
    };
    let call_second = |_| {
        let ring = Arc::clone(&ring);
        here.spawn(async move { second(&ring, 3).await })
    };
    let leaders = [call_first(0), call_second(0)];
    until("both bodies run", || ring.gate.entered() == 2).await;
    let waiters = [call_first(1), call_second(1)];
    until("both loads have a waiter", || {
        waits(&here, "nested::first") == 1 && waits(&here, "nested::second") == 1
    })
    .await;
    for leader in &leaders {
        leader.abort();
    }
    until("both loads are in the background", || {
        here.background_loads().running == 2
    })
    .await;
    ring.gate.open();
    let [a, b] = waiters;
    assert_eq!(in_time("first", a).await.unwrap(), 1);
    assert_eq!(in_time("second", b).await.unwrap(), 2);
    let [of_first, of_second] = ring.bodies();
    assert!(of_first + of_second <= 3, "one load continues by itself");
    until_idle(&here).await;
}

late_function!(below);

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(body))]
async fn above(body: &Arc<Body>, key: u64) -> u64 {
    below(body, key).await
}

#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(body))]
async fn highest(body: &Arc<Body>, key: u64) -> u64 {
    above(body, key).await
}

/// The caller of the highest is dropped at every await point. The lower loads go with the one
/// that contains them.
#[tokio::test]
async fn nested_loads_of_a_dropped_caller_are_one_body_each() {
    let server = Server::start();
    let redis = Redis::new(server.url()).required();
    let redis = redis.time_limit(SOON).staleness_bound(SOON);
    for here in [
        Instance::with_memory().await,
        Instance::with_redis(redis).await,
    ] {
        let mut n = 1;
        loop {
            let body = Body::open();
            let mut leader = Box::pin(here.call(highest(&body, n)));
            let polled = poll_until(&mut leader, usize::try_from(n).unwrap()).await;
            let mut waiter = Box::pin(here.call(highest(&body, n)));
            let waiting = poll_until(&mut waiter, 1).await;
            drop(leader);
            if waiting.is_pending() {
                assert_eq!(in_time("the waiter", waiter).await, 1, "await point {n}");
            }
            assert_count("bodies", body.began(), 1, &[&here]).await;
            until_idle(&here).await;
            assert_eq!(here.call(above(&body, n)).await, 1);
            assert_count("bodies", body.began(), 1, &[&here]).await;
            assert_eq!(body.alive(), 0);
            if polled.is_ready() {
                break;
            }
            n += 1;
        }
        assert!(n >= 3, "{n} await points");
        for function in ["nested::highest", "nested::above", "nested::below"] {
            assert_eq!(stats(&here, function).loads, n, "{function}");
        }
    }
}

/// A caller of the lowest key waits while the load of the highest runs it. That one is dropped
/// without waiters of its own, so the lowest load alone goes to the background.
#[tokio::test]
async fn inner_load_continues_for_its_waiters_when_the_outer_load_is_dropped() {
    let here = Instance::with_memory().await;
    let body = Body::held();
    let mut outer = Box::pin(here.call(highest(&body, 1)));
    assert!(poll_until(&mut outer, 2).await.is_pending());
    let mut waiter = Box::pin(here.call(below(&body, 1)));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    drop(outer);
    assert_eq!((body.alive(), here.loads_under_way()), (1, 1));
    body.gate.open();
    assert_eq!(in_time("the waiter", waiter).await, 1);
    assert_eq!(here.call(highest(&body, 1)).await, 1);
    assert_eq!(body.began(), 1);
}

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// Calls the load that contains it, once the test lets it.
#[multi_tier_cached(ttl = "1h", hard_timeout = "100ms", skip(ring))]
async fn handed_over(ring: &Arc<Ring>, key: u64) -> Result<u64, TimedOut> {
    ring.second.fetch_add(1, Ordering::SeqCst);
    ring.gate.pass().await;
    Ok(call_contains(ring, key).await + 10)
}

fn call_contains(ring: &Arc<Ring>, key: u64) -> Called {
    let ring = Arc::clone(ring);
    Box::pin(async move { contains(&ring, key).await })
}

/// The first body continues when the load inside takes too long.
#[multi_tier_cached(ttl = "1h", stale_while_revalidate = "1h", skip(ring))]
async fn contains(ring: &Arc<Ring>, key: u64) -> u64 {
    if ring.first.fetch_add(1, Ordering::SeqCst) > 0 {
        return 2;
    }
    let inner = handed_over(ring, key).await;
    assert_eq!(inner, Err(TimedOut));
    ring.both_run.wait().await;
    1
}

/// From then on the outer load does not wait for the inner one, so the inner one may wait for it.
#[tokio::test(start_paused = true)]
async fn load_that_was_handed_over_inside_another_may_wait_for_that_one() {
    let here = Instance::with_memory().await;
    let ring = Ring::new(2);
    let own = Arc::clone(&ring);
    let outer = here.spawn(async move { contains(&own, 1).await });
    until("the inner load is in the background", || {
        here.background_loads().running == 1
    })
    .await;
    ring.gate.open();
    until("it waits for the outer load", || {
        waits(&here, "nested::contains") == 1
    })
    .await;
    ring.both_run.wait().await;
    assert_eq!(in_time("the outer call", outer).await.unwrap(), 1);
    until_idle(&here).await;
    assert_eq!(ring.bodies(), [1, 1]);
    assert_eq!(here.call(handed_over(&ring, 1)).await, Ok(11));
}

/// The outer load ends with its caller. The inner one is in the background, and continues.
#[tokio::test(start_paused = true)]
async fn load_that_was_handed_over_inside_another_outlives_it() {
    let here = Instance::with_memory().await;
    let ring = Ring::new(2);
    let own = Arc::clone(&ring);
    let outer = here.spawn(async move { contains(&own, 2).await });
    until("the inner load is in the background", || {
        here.background_loads().running == 1
    })
    .await;
    outer.abort();
    until("the outer load has ended", || here.loads_under_way() == 1).await;
    ring.gate.open();
    until_idle(&here).await;
    assert_eq!(here.call(handed_over(&ring, 2)).await, Ok(12));
    assert_eq!(here.call(contains(&ring, 2)).await, 2);
    assert_eq!(ring.bodies(), [2, 1]);
}
