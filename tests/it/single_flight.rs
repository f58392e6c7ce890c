//! One load per key at a time, whatever happens to the caller that runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, SharedError, multi_tier_cached};
use tokio::sync::Barrier;
use tokio::time::timeout;

use testbed::counts::function_stats;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Gate, Instance, Truth, assert_count, assert_loads, poll_once, poll_until, until};

/// Time for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

/// Returns the number of the load.
#[multi_tier_cached(ttl = "1h", skip(gate))]
async fn gated(gate: &Gate, _key: u64) -> u64 {
    let load = gate.pass().await;
    tokio::task::yield_now().await;
    load
}

fn waits(instance: &Instance) -> u64 {
    function_stats(instance, "single_flight::gated").map_or(0, |function| function.waits)
}

/// An instance with memory only, and one with the server as well.
async fn instances(server: &Server) -> [Instance; 2] {
    [
        Instance::with_memory().await,
        Instance::with_redis_at(&server.url()).await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_of_a_cold_key_make_one_load() {
    let server = Server::start();
    for here in instances(&server).await {
        let gate = Arc::new(Gate::new());
        let call = |_| {
            let gate = Arc::clone(&gate);
            here.spawn(async move { gated(&gate, 1).await })
        };
        let calls: Vec<_> = (0..10_000).map(call).collect();
        until("all others wait", || waits(&here) == 9_999).await;
        gate.open();
        for call in calls {
            assert_eq!(call.await.unwrap(), 1);
        }
        assert_loads(&here, "single_flight::gated", 1).await;
        assert_count("bodies", gate.entered(), 1, &[&here]).await;
    }
}

#[tokio::test]
async fn leader_dropped_at_any_await_point_costs_at_most_one_more_load() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let mut is_finished = false;
    let mut n = 0;
    while !is_finished {
        let gate = Arc::new(Gate::new());
        gate.open();
        let mut leader = Box::pin(here.call(gated(&gate, n)));
        is_finished = poll_until(&mut leader, usize::try_from(n).unwrap())
            .await
            .is_ready();
        let call = |_| {
            let gate = Arc::clone(&gate);
            here.spawn(async move { gated(&gate, n).await })
        };
        let waiters: Vec<_> = (0..5).map(call).collect();
        tokio::task::yield_now().await;
        drop(leader);
        for waiter in waiters {
            let value = timeout(SOON, waiter).await;
            let value = value.unwrap_or_else(|_| panic!("a waiter hangs after await point {n}"));
            value.unwrap();
        }
        let loads = gate.entered();
        assert!(loads <= 2, "{loads} loads after a drop at await point {n}");
        n += 1;
    }
    assert!(n > 4, "a load through Redis has more await points than {n}");
}

/// The leader is dropped while another caller is kept without being polled, as a branch of a
/// `select!` may be. A waiter that is not polled must not keep the others from becoming leader.
#[tokio::test]
async fn waiter_that_is_not_polled_does_not_hold_the_key() {
    let server = Server::start();
    for here in instances(&server).await {
        let gate = Gate::new();
        let mut leader = Box::pin(here.call(gated(&gate, 1)));
        until("the load runs", || {
            assert!(poll_once(&mut leader).is_pending());
            gate.entered() == 1
        })
        .await;
        let mut kept = Box::pin(here.call(gated(&gate, 1)));
        assert!(poll_until(&mut kept, 1).await.is_pending());
        let mut polled = Box::pin(here.call(gated(&gate, 1)));
        assert!(poll_until(&mut polled, 1).await.is_pending());
        assert_eq!(waits(&here), 2);
        drop(leader);
        gate.open();
        let value = timeout(SOON, polled).await;
        assert_eq!(value.expect("the waiter runs its body"), 2);
        assert_eq!(kept.await, 2, "the value that the new leader loaded");
        assert_count("bodies", gate.entered(), 2, &[&here]).await;
    }
}

/// No waiter waits for a second load of a body that may panic again.
#[tokio::test]
async fn waiters_load_by_themselves_when_the_leader_panics() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn panics_once(truth: &Truth) -> u64 {
        truth.read();
        let load = truth.reads();
        tokio::task::yield_now().await;
        assert!(load > 1, "the first load panics, as the test wants");
        load
    }

    let (here, truth) = (Instance::with_memory().await, Arc::new(Truth::new()));
    let call = || {
        let truth = Arc::clone(&truth);
        here.spawn(async move { panics_once(&truth).await })
    };
    let (first, second, third) = (call(), call(), call());
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!((second.await.unwrap(), third.await.unwrap()), (2, 3));
}

#[tokio::test]
async fn waiter_that_is_dropped_does_not_disturb_the_load() {
    let (here, gate) = (Instance::with_memory().await, Gate::new());
    let mut leader = Box::pin(here.call(gated(&gate, 1)));
    assert!(poll_until(&mut leader, 1).await.is_pending());
    let mut waiter = Box::pin(here.call(gated(&gate, 1)));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    drop(waiter);
    gate.open();
    assert_eq!(leader.await, 1);
    assert_eq!(here.call(gated(&gate, 1)).await, 1);
}

#[derive(Clone, Debug, PartialEq)]
struct CloneError(u64);

#[tokio::test]
async fn error_that_can_be_cloned_goes_to_all_waiters_and_is_not_kept() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn fails_with_a_clone(truth: &Truth) -> Result<u64, CloneError> {
        tokio::task::yield_now().await;
        truth.read();
        Err(CloneError(truth.reads()))
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = || here.call(fails_with_a_clone(&truth));
    let (a, b, c) = tokio::join!(call(), call(), call());
    assert_eq!([a, b, c], [1; 3].map(|load| Err(CloneError(load))));
    assert_eq!(call().await, Err(CloneError(2)), "the error was kept");
}

#[tokio::test]
async fn error_that_cannot_be_cloned_is_shared_as_text() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn fails_with_anyhow(truth: &Truth) -> anyhow::Result<u64> {
        tokio::task::yield_now().await;
        truth.read();
        Err(anyhow::anyhow!("the database is down").context("get a user"))
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = || here.call(fails_with_anyhow(&truth));
    let (leader, waiter) = tokio::join!(call(), call());
    assert_count("loads", truth.reads(), 1, &[&here]).await;
    assert!(leader.unwrap_err().downcast_ref::<SharedError>().is_none());
    let waiter = waiter.unwrap_err();
    let shared = waiter.downcast_ref::<SharedError>();
    let text = shared.expect("a shared error").to_string();
    assert_eq!(text, "get a user: the database is down");
}

#[derive(Debug)]
struct OwnError;

#[tokio::test]
async fn waiters_load_by_themselves_when_the_error_cannot_be_shared() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn fails_twice(truth: &Truth) -> Result<u64, OwnError> {
        tokio::task::yield_now().await;
        truth.read();
        match truth.reads() {
            1 | 2 => Err(OwnError),
            _ => Ok(7),
        }
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = || here.call(fails_twice(&truth));
    let (a, b, c, d) = tokio::join!(call(), call(), call(), call());
    let values: Vec<_> = [a, b, c, d].into_iter().filter_map(Result::ok).collect();
    assert_eq!(values, [7, 7], "the first two loads fail");
    assert_count("loads", truth.reads(), 4, &[&here]).await;
}

#[tokio::test]
async fn body_may_call_its_own_function_for_another_key() {
    #[multi_tier_cached(ttl = "1h")]
    async fn factorial(n: u64) -> u64 {
        match n {
            0 => 1,
            _ => n * Box::pin(factorial(n - 1)).await,
        }
    }

    let here = Instance::with_memory().await;
    let call = timeout(SOON, here.call(factorial(10))).await;
    assert_eq!(call.expect("no deadlock"), 3_628_800);
}

#[tokio::test]
async fn body_that_calls_its_own_key_runs_again_instead_of_waiting_for_itself() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn calls_itself(truth: &Truth, value: u8) -> u8 {
        truth.read();
        match truth.reads() {
            1..=3 => Box::pin(calls_itself(truth, value)).await + 1,
            _ => value,
        }
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = timeout(SOON, here.call(calls_itself(&truth, 5))).await;
    assert_eq!(call.expect("no deadlock"), 8);
}

/// Two bodies that each call the other's key. The call that would close the ring runs its body.
struct Ring {
    both_run: Barrier,
    loads_of_right: AtomicU64,
}

#[multi_tier_cached(ttl = "1h", skip(ring))]
async fn left(ring: &Ring) -> u8 {
    ring.both_run.wait().await;
    Box::pin(right(ring)).await
}

#[multi_tier_cached(ttl = "1h", skip(ring))]
async fn right(ring: &Ring) -> u8 {
    if ring.loads_of_right.fetch_add(1, Ordering::SeqCst) == 0 {
        ring.both_run.wait().await;
        Box::pin(left(ring)).await
    } else {
        2
    }
}

#[tokio::test]
async fn loads_that_wait_for_each_other_do_not_deadlock() {
    let here = Instance::with_memory().await;
    let ring = Ring {
        both_run: Barrier::new(2),
        loads_of_right: AtomicU64::new(0),
    };
    let calls = here.call(async { tokio::join!(left(&ring), right(&ring)) });
    let values = timeout(SOON, calls).await.expect("no deadlock");
    assert_eq!(values, (2, 2));
}

/// Without memory, later callers can be answered by the lower tier only, so no caller is answered
/// before the fill.
#[tokio::test]
async fn function_without_memory_fills_the_tier_before_it_answers() {
    #[multi_tier_cached(ttl = "1h", tiers = "l2", skip(truth))]
    async fn below(truth: &Truth) -> u64 {
        truth.read()
    }

    let fake_tier = FakeTier::that_holds_fills();
    let here = Instance::build(CacheRuntime::builder().l2(fake_tier.clone())).await;
    let truth = Truth::new();
    let mut leader = Box::pin(here.call(below(&truth)));
    let mut waiter = Box::pin(here.call(below(&truth)));
    assert!(poll_until(&mut leader, 1).await.is_pending());
    assert_count("loads", truth.reads(), 1, &[&here]).await;
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    assert_count("loads beside a waiter", truth.reads(), 1, &[&here]).await;
    fake_tier.let_a_fill_through();
    assert_eq!((leader.await, waiter.await), (1, 1));
    assert_eq!(here.call(below(&truth)).await, 1);
    assert_count("loads", truth.reads(), 1, &[&here]).await;
}
