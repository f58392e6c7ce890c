//! The owner of loads in the background: its places are bounded, one load does not affect another,
//! and `shutdown` leaves nothing.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, LoadTimeout, ManualClock, Memory, Redis, multi_tier_cached,
};
use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, poll_until, until};
use tokio::time::{Instant, timeout};

use super::{Body, late_function, leave, stats, until_idle, waits};

late_function!(hanging);
late_function!(crowded);
late_function!(beside);

const SOON: Duration = Duration::from_secs(20);
/// The number of places of an owner by default.
const PLACES: usize = 64;
/// The number of loads that wait for a place at most.
const QUEUE: usize = 1_024;

/// Hands this many loads over, each of a key of its own, from `first` on.
async fn hand_over(here: &Instance, body: &Arc<Body>, first: u64, number: usize) {
    for key in (first..).take(number) {
        leave(|| here.call(hanging(body, key))).await;
    }
}

/// The ttl of the late functions.
const TTL: Duration = Duration::from_secs(3_600);

/// Loads this many keys from 0 on, and lets their values become stale.
async fn make_stale(here: &Instance, clock: &ManualClock, number: usize) {
    let free = Body::open();
    for key in (0..).take(number) {
        here.call(hanging(&free, key)).await;
    }
    clock.advance(TTL);
}

/// Begins the loads of stale values in the background, of this many keys from `first` on.
async fn revalidate(here: &Instance, body: &Arc<Body>, first: u64, number: usize) {
    for key in (first..).take(number) {
        here.call(hanging(body, key)).await;
    }
}

/// Fills the owner of an instance with one place, by loads of values that become stale here.
async fn fill_up(here: &Instance, clock: &ManualClock, body: &Arc<Body>) {
    make_stale(here, clock, 1 + QUEUE).await;
    revalidate(here, body, 0, 1).await;
    until_numbers(here, 1, 0).await;
    revalidate(here, body, 1, QUEUE).await;
    until_numbers(here, 1, QUEUE).await;
    assert_eq!(stats(here, "owner::hanging").shed, 0);
}

async fn until_numbers(here: &Instance, running: usize, waiting: usize) {
    let what = format!("{running} loads run and {waiting} wait");
    until(&what, || {
        let loads = here.background_loads();
        (loads.running, loads.waiting) == (running, waiting)
    })
    .await;
}

/// Asserts that a shutdown takes 100 ms, and a second on a machine that is busy.
async fn assert_shutdown_leaves_nothing(here: &Instance, body: &Body) {
    let began = Instant::now();
    here.shutdown().await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "shutdown took {took:?}");
    assert_eq!(body.alive(), 0, "bodies are left");
    let loads = here.background_loads();
    assert_eq!((loads.running, loads.waiting), (0, 0));
    assert_eq!(here.loads_under_way(), 0, "flights are left");
}

#[tokio::test]
async fn shutdown_ends_all_loads_that_hang_and_leaves_nothing_of_them() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    hand_over(&here, &body, 0, PLACES).await;
    until_numbers(&here, PLACES, 0).await;
    body.until_began(PLACES as u64).await;
    assert_eq!(here.background_loads().places, PLACES);
    assert_shutdown_leaves_nothing(&here, &body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_loads_that_wait_for_a_place_as_well() {
    let (clock, body) = (ManualClock::new(), Body::held());
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.clock(&clock)).await;
    make_stale(&here, &clock, PLACES + 10).await;
    revalidate(&here, &body, 0, PLACES + 10).await;
    until_numbers(&here, PLACES, 10).await;
    assert_shutdown_leaves_nothing(&here, &body).await;
}

/// The leases of the loads are released, so that another instance need not wait for them to expire.
#[tokio::test]
async fn shutdown_releases_the_leases_of_loads_that_hang() {
    let server = Server::start();
    let redis = Redis::new(server.url()).required().time_limit(SOON);
    let redis = redis.staleness_bound(SOON).lease_time(SOON * 3);
    let (here, body) = (Instance::with_redis(redis).await, Body::held());
    let mut calls = Vec::new();
    for key in 0..8 {
        let call = |_| {
            let body = Arc::clone(&body);
            here.spawn(async move { hanging(&body, key).await })
        };
        calls.push((call(0), call(1)));
    }
    body.until_began(8).await;
    until("the others wait", || waits(&here, "owner::hanging") == 8).await;
    for (number, (first, second)) in (1..).zip(&calls) {
        // The load continues for the second caller, and then without it.
        first.abort();
        until_numbers(&here, number, 0).await;
        second.abort();
    }
    until("all callers have left", || {
        calls.iter().all(|(_, second)| second.is_finished())
    })
    .await;
    assert_eq!((here.background_loads().running, body.alive()), (8, 8));
    assert!(server.has_lease());
    assert_shutdown_leaves_nothing(&here, &body).await;
    until("the leases are released", || !server.has_lease()).await;
}

#[tokio::test]
async fn load_after_shutdown_ends_with_its_caller() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    here.shutdown().await.unwrap();
    let mut leader = Box::pin(here.call(hanging(&body, 1)));
    assert!(poll_until(&mut leader, 2).await.is_pending());
    let mut waiter = Box::pin(here.call(hanging(&body, 1)));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    drop(leader);
    assert_eq!(body.alive(), 0, "no owner runs it");
    body.gate.open();
    let value = timeout(SOON, waiter).await;
    assert_eq!(value.expect("the waiter runs its body"), 2);
}

/// An instance with one place.
async fn with_one_place(clock: &ManualClock) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.background_loads(1).clock(clock)).await
}

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[multi_tier_cached(ttl = "1h", hard_timeout = "10ms", tiers = "l1", skip(body))]
async fn limited(body: &Arc<Body>, _key: u64) -> Result<u64, TimedOut> {
    Ok(body.run().await)
}

#[tokio::test(start_paused = true)]
async fn owner_that_is_full_sheds_loads_and_their_calls_get_values() {
    let clock = ManualClock::new();
    let here = with_one_place(&clock).await;
    let (free, body) = (Body::open(), Body::held());
    assert_eq!(here.call(crowded(&free, 1)).await, 1);
    fill_up(&here, &clock, &body).await;

    // The load of a stale value does not begin.
    assert_eq!(here.call(crowded(&free, 1)).await, 1);
    let counted = stats(&here, "owner::crowded");
    assert_eq!((counted.refreshes, counted.shed), (0, 1), "{counted:?}");
    assert_eq!(free.began(), 1);

    // A load that began on the task of its caller needs no place: it continues.
    let alive = body.alive();
    assert_eq!(here.call(limited(&body, 3)).await, Err(TimedOut));
    assert_eq!(body.alive(), alive + 1);
    assert_eq!(stats(&here, "owner::limited").shed, 0);

    // Whatever was accepted still runs, one after the other.
    body.gate.open();
    until_idle(&here).await;
    assert_eq!(stats(&here, "owner::hanging").shed, 0);
    let of_timeout = 1;
    assert_eq!(body.began(), 1 + QUEUE as u64 + of_timeout);
    // Its body was the second that began.
    assert_eq!(here.call(limited(&free, 3)).await, Ok(2));
    let before = free.began();
    here.call(hanging(&free, QUEUE as u64)).await;
    assert_eq!(free.began(), before, "the last of them has kept its value");
}

/// A load whose body panics when the test lets it continue.
async fn panicking(body: Arc<Body>) -> u64 {
    body.run().await;
    panic!("a body that panics, as the test wants")
}

#[tokio::test]
async fn panic_of_a_load_in_the_background_ends_that_load_alone() {
    let clock = ManualClock::new();
    // One place: a panic that ended the task of the owner would end what waits for the place.
    for here in [with_one_place(&clock).await, Instance::with_memory().await] {
        let function = Function::<u64>::builder("late_loads::panicking")
            .ttl(Duration::from_secs(3_600))
            .stale_while_revalidate(Duration::from_secs(60))
            .build()
            .unwrap();
        let (panics, other) = (Body::held(), Body::held());
        let call = || {
            let (function, body) = (function.clone(), Arc::clone(&panics));
            here.call(async move {
                let load = move || panicking(body);
                function.get_or_load_late((1,), load).await
            })
        };
        leave(call).await;
        leave(|| here.call(beside(&other, 1))).await;
        panics.until_began(1).await;
        panics.gate.open();
        // No caller is left that could run it instead.
        other.until_began(1).await;
        other.gate.open();
        until_idle(&here).await;
        assert_eq!(here.call(beside(&other, 1)).await, 1);
        assert_eq!(other.began(), 1);
        assert_eq!((panics.alive(), other.alive()), (0, 0));
        let counted = stats(&here, "late_loads::panicking");
        assert_eq!(counted.load_errors, 1, "{counted:?}");

        // The key is free, and the owner still takes loads.
        let fresh = Body::open();
        let load = {
            let fresh = Arc::clone(&fresh);
            move || async move { fresh.run().await }
        };
        assert_eq!(here.call(function.get_or_load_late((1,), load)).await, 1);
        let held = Body::held();
        leave(|| here.call(beside(&held, 2))).await;
        held.until_began(1).await;
        held.gate.open();
        until_idle(&here).await;
        assert_eq!(here.call(beside(&held, 2)).await, 1);
    }
}

#[tokio::test]
async fn load_that_is_shed_is_logged_with_what_to_do() {
    let log = Log::default();
    let _guard = log.capture();
    let clock = ManualClock::new();
    let here = with_one_place(&clock).await;
    let body = Body::held();
    here.call(hanging(&Body::open(), 10_000)).await;
    fill_up(&here, &clock, &body).await;
    revalidate(&here, &body, 10_000, 1).await;
    let lines = log.lines_with("background_loads");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("owner::hanging"), "{lines:#?}");
}
