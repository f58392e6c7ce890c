//! `soft_timeout`: a caller gets the stale value once the load is late.

use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use testbed::Instance;
use tokio::time::sleep;

use super::bodies::{Body, Failed, Tiers, assert_timeout, result_after, returned, stats, timed};

const LIFE: Duration = Duration::from_secs(60);
const SOFT: Duration = Duration::from_millis(200);
const MOMENT: Duration = Duration::from_millis(1);

#[multi_tier_cached(
    ttl = "60s",
    jitter = "0%",
    soft_timeout = "200ms",
    hard_timeout = "2s",
    stale_if_error = "20s",
    skip(body)
)]
async fn soft(body: &Body, _key: u64) -> Result<u64, Failed> {
    Ok(body.clone().run().await)
}

fn call(instance: &Instance, body: &Body, key: u64) -> super::bodies::Timed<Result<u64, Failed>> {
    let body = body.clone();
    timed(instance, async move { soft(&body, key).await })
}

/// The value 1 is stale, in the memory of the first instance and in the tier of both.
async fn stale_value(tiers: &Tiers, here: &Instance, body: &Body, key: u64) {
    body.takes(Some(MOMENT));
    assert_eq!(returned(call(here, body, key)).await.0, Ok(1));
    tiers.clock.advance(LIFE);
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_stale_value_at_a_time_that_counts_from_the_begin_of_the_load() {
    let tiers = Tiers::new();
    let (first, second) = (tiers.instance().await, tiers.instance().await);
    for (key, in_memory) in [(1, true), (2, false)] {
        let body = Body::endless();
        stale_value(&tiers, &first, &body, key).await;
        let here = if in_memory { &first } else { &second };
        body.takes(Some(Duration::from_secs(5)));
        let leader = call(here, &body, key);
        sleep(SOFT / 2).await;
        let waiters = [call(here, &body, key), call(here, &body, key)];
        assert_eq!(result_after(SOFT, leader).await, Ok(1));
        for waiter in waiters {
            assert_eq!(result_after(SOFT / 2, waiter).await, Ok(1));
        }
        sleep(SOFT).await;
        let late = call(here, &body, key);
        assert_eq!(
            result_after(Duration::ZERO, late).await,
            Ok(1),
            "the load is late"
        );
        assert_eq!((body.began(), body.alive()), (2, 1));
        // The value is kept that comes late, and no further body runs.
        sleep(Duration::from_secs(5)).await;
        for instance in [&first, &second] {
            if std::ptr::eq(instance, here) || !in_memory {
                assert_eq!(
                    result_after(Duration::ZERO, call(instance, &body, key)).await,
                    Ok(2)
                );
            }
        }
        assert_eq!((body.began(), body.alive()), (2, 0));
    }
    let stats = stats(&first, "soft::soft");
    assert_eq!((stats.timeouts, stats.abandoned), (4, 0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn caller_without_a_stale_value_waits_for_the_hard_timeout() {
    let (here, body) = (Tiers::new().instance().await, Body::endless());
    let calls = [call(&here, &body, 3), call(&here, &body, 3)];
    for call in calls {
        assert_timeout(Duration::from_secs(2), call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn load_that_ends_before_the_soft_timeout_answers_with_its_value() {
    let tiers = Tiers::new();
    let (here, body) = (tiers.instance().await, Body::endless());
    stale_value(&tiers, &here, &body, 4).await;
    body.takes(Some(SOFT - MOMENT));
    let calls = [call(&here, &body, 4), call(&here, &body, 4)];
    for call in calls {
        assert_eq!(result_after(SOFT - MOMENT, call).await, Ok(2));
    }
    assert_eq!(stats(&here, "soft::soft").timeouts, 0);
}

#[tokio::test(start_paused = true)]
async fn stale_value_past_its_window_is_not_returned_at_the_soft_timeout() {
    let tiers = Tiers::new();
    let (here, body) = (tiers.instance().await, Body::endless());
    stale_value(&tiers, &here, &body, 5).await;
    tiers.clock.advance(Duration::from_secs(20));
    body.takes(None);
    assert_timeout(Duration::from_secs(2), call(&here, &body, 5)).await;
}
