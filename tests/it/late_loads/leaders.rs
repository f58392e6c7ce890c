//! A caller that is dropped while it runs a load: the load continues for those that wait, and ends
//! with its caller if no other waits.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{LoadTimeout, Redis, multi_tier_cached};
use testbed::server::Server;
use testbed::{Instance, assert_count, poll_until, until};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Body, late_function, leave, stats, until_idle, waits};

late_function!(dropped);
late_function!(alone);
late_function!(left);

/// Time for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);
const WAITERS: u64 = 5;

/// An instance with memory only, and one with the server as well.
async fn instances(server: &Server) -> [Instance; 2] {
    let redis = Redis::new(server.url()).required();
    let redis = redis.time_limit(SOON).staleness_bound(SOON);
    [
        Instance::with_memory().await,
        Instance::with_redis(redis).await,
    ]
}

#[tokio::test]
async fn leader_dropped_at_any_await_point_makes_one_body_if_others_wait() {
    let server = Server::start();
    for (place, here) in instances(&server).await.into_iter().enumerate() {
        let mut handed_over = 0;
        let mut n = 0;
        loop {
            let body = Body::open();
            let mut leader = Box::pin(here.call(dropped(&body, n)));
            let polled = poll_until(&mut leader, usize::try_from(n).unwrap()).await;
            let is_finished = polled.is_ready();
            let waits_before = waits(&here, "leaders::dropped");
            let call = |_| -> JoinHandle<u64> {
                let body = Arc::clone(&body);
                here.spawn(async move { dropped(&body, n).await })
            };
            let waiters: Vec<_> = (0..WAITERS).map(call).collect();
            if n == 0 {
                tokio::task::yield_now().await;
            } else {
                // A value that is kept already answers at once.
                until("the others wait, or are answered", || {
                    let waiting = waits(&here, "leaders::dropped") - waits_before;
                    waiting == WAITERS || waiters.iter().all(JoinHandle::is_finished)
                })
                .await;
                handed_over += u64::from(waits(&here, "leaders::dropped") > waits_before);
            }
            drop(leader);
            for waiter in waiters {
                let value = timeout(SOON, waiter).await;
                let value = value.unwrap_or_else(|_| panic!("a waiter hangs after point {n}"));
                assert_eq!(value.unwrap(), 1, "await point {n}");
            }
            assert_count("bodies", body.began(), 1, &[&here]).await;
            assert_eq!(here.call(dropped(&body, n)).await, 1);
            until_idle(&here).await;
            assert_eq!(body.alive(), 0, "await point {n}");
            if is_finished {
                break;
            }
            n += 1;
        }
        let least = [2, 4][place];
        assert!(handed_over >= least, "{handed_over} loads were handed over");
        assert_eq!(stats(&here, "leaders::dropped").shed, 0);
    }
}

#[tokio::test]
async fn leader_dropped_at_any_await_point_ends_its_body_if_no_other_waits() {
    let server = Server::start();
    for here in instances(&server).await {
        let mut has_begun = false;
        let mut n = 0;
        loop {
            let body = Body::open();
            let mut leader = Box::pin(here.call(alone(&body, n)));
            let polled = poll_until(&mut leader, usize::try_from(n).unwrap()).await;
            has_begun |= body.alive() == 1;
            drop(leader);
            // Without a wait: nothing of it is left when the caller has been dropped.
            assert_eq!(body.alive(), 0, "await point {n}");
            assert_eq!(here.loads_under_way(), 0, "await point {n}");
            assert_eq!(here.background_loads().running, 0, "await point {n}");
            if polled.is_ready() {
                break;
            }
            let next = timeout(SOON, here.call(alone(&body, n))).await;
            next.unwrap_or_else(|_| panic!("the key is held after await point {n}"));
            n += 1;
        }
        assert!(has_begun, "some body was dropped");
        assert_eq!(stats(&here, "leaders::alone").shed, 0);
    }
}

/// Once the load was handed over, its waiters may leave too: its value is kept.
#[tokio::test]
async fn load_that_was_handed_over_keeps_its_value_though_all_callers_left() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    leave(|| here.call(left(&body, 1))).await;
    let loads = here.background_loads();
    assert_eq!((loads.running + loads.waiting, body.alive()), (1, 1));
    body.until_began(1).await;
    body.gate.open();
    until_idle(&here).await;
    assert_eq!(here.call(left(&body, 1)).await, 1);
    assert_eq!((body.began(), body.alive()), (1, 0));
}

/// A call that comes later waits for the load in the background, and does not begin another.
#[tokio::test]
async fn call_joins_a_load_in_the_background() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    leave(|| here.call(left(&body, 2))).await;
    let before = waits(&here, "leaders::left");
    let own = Arc::clone(&body);
    let call = here.spawn(async move { left(&own, 2).await });
    until("it waits", || waits(&here, "leaders::left") == before + 1).await;
    body.gate.open();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(body.began(), 1);
}

#[tokio::test]
async fn waiters_that_are_dropped_before_the_leader_do_not_keep_its_load() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    let mut leader = Box::pin(here.call(left(&body, 3)));
    assert!(poll_until(&mut leader, 2).await.is_pending());
    let mut waiter = Box::pin(here.call(left(&body, 3)));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    drop(waiter);
    drop(leader);
    assert_eq!((body.began(), body.alive()), (1, 0));
    assert_eq!(here.loads_under_way(), 0);
}

/// The waiter is not polled, as a branch of a `select!` may be. The load does not depend on it.
#[tokio::test]
async fn waiter_that_is_not_polled_does_not_hold_a_load_that_was_handed_over() {
    let (here, body) = (Instance::with_memory().await, Body::held());
    let mut leader = Box::pin(here.call(left(&body, 4)));
    assert!(poll_until(&mut leader, 1).await.is_pending());
    let mut kept = Box::pin(here.call(left(&body, 4)));
    assert!(poll_until(&mut kept, 1).await.is_pending());
    drop(leader);
    body.gate.open();
    until_idle(&here).await;
    assert_eq!(here.call(left(&body, 4)).await, 1);
    assert_eq!(kept.await, 1);
    assert_eq!(body.began(), 1);
}

#[derive(Debug, PartialEq, Eq)]
struct TimedOut;

impl From<LoadTimeout> for TimedOut {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// A strong function, whose load begins its flight only after it has read the tier.
#[multi_tier_cached(
    ttl = "1h",
    consistency = "strong",
    hard_timeout = "300ms",
    load_limit = "60s",
    skip(body)
)]
async fn strong(body: &Arc<Body>, _key: u64) -> Result<u64, TimedOut> {
    Ok(body.run().await)
}

#[tokio::test]
async fn late_load_of_a_strong_function_continues_after_its_timeout_and_is_stored() {
    let server = Server::start();
    let [_, here] = instances(&server).await;
    let body = Body::held();
    assert_eq!(here.call(strong(&body, 1)).await, Err(TimedOut));
    // A busy machine may reach the body later.
    body.until_began(1).await;
    body.gate.open();
    until_idle(&here).await;
    server.until_records(1).await;
    let [_, there] = instances(&server).await;
    for instance in [&here, &there] {
        let strong = strong::entry(&body, 1);
        assert_eq!(instance.call(strong.strong()).await, Ok(1));
    }
    assert_eq!((body.began(), body.alive()), (1, 0));
}

#[multi_tier_cached(ttl = "1h", consistency = "strong", hard_timeout = "60s", skip(body))]
async fn patient(body: &Arc<Body>, _key: u64) -> Result<u64, TimedOut> {
    Ok(body.run().await)
}

/// Strong callers share no flight, so the load ends with its caller, and its lease with it.
#[tokio::test]
async fn strong_call_takes_the_lease_of_a_caller_that_is_dropped_at_any_await_point() {
    let server = Server::start();
    let [_, here] = instances(&server).await;
    let mut n = 1;
    loop {
        let body = Body::open();
        let mut first = Box::pin(here.call(patient(&body, n)));
        let polled = poll_until(&mut first, usize::try_from(n).unwrap()).await;
        let mut second = Box::pin(here.call(patient(&body, n)));
        let waiting = poll_until(&mut second, 1).await;
        drop(first);
        assert_eq!(body.alive(), 0, "await point {n}");
        if waiting.is_pending() {
            let value = timeout(SOON, second).await;
            let value = value.unwrap_or_else(|_| panic!("a call hangs after await point {n}"));
            assert!(value.is_ok(), "await point {n}");
        }
        assert!(body.began() <= 2, "await point {n}");
        if polled.is_ready() {
            break;
        }
        n += 1;
    }
    until_idle(&here).await;
    until("the leases are released", || !server.has_lease()).await;
}
