//! A value that was invalidated is never returned, in whatever window: at each await point of a
//! load that replaces it in the background, and of one whose caller was dropped.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, ManualClock, Memory, Redis, RuntimeBuilder, invalidate, multi_tier_cached,
};

use testbed::server::Server;
use testbed::{Gate, Instance, Truth, poll_once, poll_until, until};
use tokio::task::yield_now;

/// Reads the truth between await points, so that an invalidation can come before or after that.
async fn read_slowly(truth: &Truth) -> u64 {
    yield_now().await;
    let version = truth.read();
    yield_now().await;
    yield_now().await;
    version
}

#[multi_tier_cached(ttl = "1m", stale_while_revalidate = "1h", skip(truth))]
async fn read_stale(truth: &Arc<Truth>, _key: u64) -> u64 {
    read_slowly(truth).await
}

#[multi_tier_cached(ttl = "10m", refresh_ahead = "9m", skip(truth))]
async fn read_ahead(truth: &Arc<Truth>, _key: u64) -> u64 {
    read_slowly(truth).await
}

#[multi_tier_cached(ttl = "1m", hard_timeout = "1h", skip(truth))]
async fn read_late(truth: &Arc<Truth>, _key: u64) -> Result<u64, multi_tier_cached::LoadTimeout> {
    Ok(read_slowly(truth).await)
}

/// Which load is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    /// The one that replaces a stale value.
    Revalidation,
    /// The one that replaces a value before it expires.
    RefreshAhead,
}

async fn read(which: Interrupted, truth: &Arc<Truth>, key: u64) -> u64 {
    match which {
        Interrupted::Revalidation => read_stale(truth, key).await,
        Interrupted::RefreshAhead => read_ahead(truth, key).await,
    }
}

async fn drop_key(here: &Instance, which: Interrupted, truth: &Arc<Truth>, key: u64) -> Receipt {
    match which {
        Interrupted::Revalidation => here.invalidate(invalidate!(read_stale, truth, key)).await,
        Interrupted::RefreshAhead => here.invalidate(invalidate!(read_ahead, truth, key)).await,
    }
}

/// An instance whose clock is past the ttl of what was loaded before, or past the moment at which
/// it is due.
async fn past_the_ttl(
    builder: RuntimeBuilder,
    which: Interrupted,
    truth: &Arc<Truth>,
    key: u64,
) -> Instance {
    let clock = ManualClock::new();
    let here = Instance::build(builder.clock(&clock)).await;
    assert_eq!(here.call(read(which, truth, key)).await, 1);
    clock.advance(Duration::from_secs(90));
    here
}

/// Lets the load in the background come to its `n`th await point, commits, and invalidates there.
/// Returns `true` if the load had ended before.
async fn interrupt(
    here: &Instance,
    which: Interrupted,
    truth: &Arc<Truth>,
    key: u64,
    n: usize,
) -> bool {
    assert_eq!(
        here.call(read(which, truth, key)).await,
        1,
        "{which:?} has not begun"
    );
    for _ in 0..n {
        yield_now().await;
    }
    let has_ended = truth.reads() == 2 && here.loads_under_way() == 0;
    truth.commit();
    drop_key(here, which, truth, key).await;
    let during = here.call(read(which, truth, key)).await;
    assert_eq!(during, 2, "during the {which:?}, at await point {n}");
    until("the load in the background has ended", || {
        here.loads_under_way() == 0
    })
    .await;
    let after = here.call(read(which, truth, key)).await;
    assert_eq!(after, 2, "after the {which:?}, at await point {n}");
    has_ended
}

const BOTH: [Interrupted; 2] = [Interrupted::Revalidation, Interrupted::RefreshAhead];

#[tokio::test]
async fn an_invalidated_value_is_never_served_stale_in_memory() {
    for which in BOTH {
        let mut points = 0;
        loop {
            let truth = Arc::new(Truth::new());
            let builder = CacheRuntime::builder().l1(Memory::builder());
            let here = past_the_ttl(builder, which, &truth, 1).await;
            if interrupt(&here, which, &truth, 1, points).await {
                break;
            }
            points += 1;
        }
        assert!(points >= 4, "{which:?} has more await points than {points}");
    }
}

/// The clock of Redis is not under control, so the record is fresh there and is not found: the
/// instance has a function of its own namespace version. The load in the background goes through
/// the server, and its await points come with the replies.
#[tokio::test]
async fn an_invalidated_value_is_never_served_stale_through_redis() {
    let server = Server::start();
    let other = Instance::with_redis_at(&server.url()).await;
    for which in BOTH {
        let (mut key, mut points) = (0, 0);
        loop {
            key += 1;
            let truth = Arc::new(Truth::new());
            let builder = CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(Redis::new(server.url()));
            let here = past_the_ttl(builder, which, &truth, key).await;
            // Another load is to be needed, so the record must not answer it.
            server.command::<i64>(&["DEL", &server.records().concat()]);
            let has_ended = interrupt(&here, which, &truth, key, points).await;
            let found = other.call(read(which, &truth, key)).await;
            assert_eq!(
                found, 2,
                "on another instance, {which:?}, at await point {points}"
            );
            here.runtime.shutdown().await.unwrap();
            drop_key(&other, which, &truth, key).await;
            if has_ended {
                break;
            }
            points += 1;
        }
        assert!(points >= 3, "{which:?} has more await points than {points}");
    }
}

/// For each await point of a load: drops its caller there while another caller waits, so that the
/// load continues in the background, commits, invalidates, and lets the load end.
async fn interrupt_handed_over(here: &Instance, truth: &Arc<Truth>, key: u64, n: usize) -> bool {
    let mut leader = Box::pin(here.call(read_late(truth, key)));
    let is_finished = poll_until(&mut leader, n).await.is_ready();
    let mut waiter = Box::pin(here.call(read_late(truth, key)));
    let is_answered = poll_until(&mut waiter, 1).await.is_ready();
    drop(leader);
    truth.commit();
    here.invalidate(invalidate!(read_late, truth, key)).await;
    let during = here.call(read_late(truth, key)).await;
    assert_eq!(during, Ok(2), "during the load, at await point {n}");
    if !is_answered {
        waiter.await.expect("a value");
    }
    until("the load in the background has ended", || {
        here.loads_under_way() == 0
    })
    .await;
    let after = here.call(read_late(truth, key)).await;
    assert_eq!(after, Ok(2), "after the load, at await point {n}");
    is_finished
}

#[tokio::test]
async fn invalidation_at_each_await_point_of_a_handed_over_load_holds_in_memory() {
    let here = Instance::with_memory().await;
    for n in 0..64 {
        let truth = Arc::new(Truth::new());
        if interrupt_handed_over(&here, &truth, n as u64, n).await {
            assert!(n >= 3, "a load has more await points than {n}");
            return;
        }
    }
    panic!("the load does not end");
}

#[tokio::test]
async fn invalidation_at_each_await_point_of_a_handed_over_load_holds_through_redis() {
    let server = Server::start();
    let (here, other) = Instance::two_at(&server.url()).await;
    for n in 0..64 {
        let (truth, key) = (Arc::new(Truth::new()), n as u64);
        let is_finished = interrupt_handed_over(&here, &truth, key, n).await;
        let found = other.call(read_late(&truth, key)).await;
        assert_eq!(found, Ok(2), "another instance, at await point {n}");
        if is_finished {
            assert!(
                n >= 6,
                "a load through Redis has more await points than {n}"
            );
            return;
        }
    }
    panic!("the load does not end");
}

#[multi_tier_cached(ttl = "1m", stale_if_error = "1h", skip(truth, gate))]
async fn read_failing(truth: &Truth, gate: &Gate, _key: u64) -> Result<u64, &'static str> {
    match truth.read() {
        1 => Ok(1),
        _ => {
            gate.pass().await;
            Err("the database is down")
        }
    }
}

/// The caller and its waiter have the stale value in hand when their load fails.
#[tokio::test]
async fn stale_value_in_hand_is_not_returned_after_an_invalidation() {
    for is_invalidated in [false, true] {
        let (truth, gate, clock) = (Truth::new(), Gate::new(), ManualClock::new());
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let here = Instance::build(builder.clock(&clock)).await;
        let call = || here.call(read_failing(&truth, &gate, 1));
        assert_eq!(call().await, Ok(1));
        truth.commit();
        clock.advance(Duration::from_secs(90));
        let (mut leader, mut waiter) = (Box::pin(call()), Box::pin(call()));
        assert!(poll_once(&mut leader).is_pending());
        assert!(poll_once(&mut waiter).is_pending());
        if is_invalidated {
            let invalidation = invalidate!(read_failing, &truth, &gate, 1);
            here.invalidate(invalidation).await;
        }
        gate.open();
        let expected = match is_invalidated {
            false => Ok(1),
            true => Err("the database is down"),
        };
        assert_eq!(leader.await, expected, "invalidated: {is_invalidated}");
        assert_eq!(waiter.await, expected, "invalidated: {is_invalidated}");
    }
}
