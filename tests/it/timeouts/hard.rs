//! `hard_timeout`: no call waits longer, for its own load or for that of another caller.

use std::pin::Pin;
use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use testbed::Instance;
use tokio::time::sleep;

use super::bodies::{Body, Failed, Tiers, assert_timeout, result_after, returned, stats, timed};

const HARD: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

#[multi_tier_cached(ttl = "60s", hard_timeout = "2s", load_limit = "30s", skip(body))]
async fn limited(body: &Body, _key: u64) -> Result<u64, Failed> {
    Ok(body.clone().run().await)
}

/// A hundred calls that begin one after another return each after its own timeout.
async fn assert_wave(instance: &Instance, body: &Body) {
    let mut calls = Vec::new();
    for _ in 0..100 {
        let body = body.clone();
        calls.push(timed(instance, async move { limited(&body, 1).await }));
        sleep(Duration::from_millis(1)).await;
    }
    for call in calls {
        assert_timeout(HARD, call).await;
    }
}

async fn no_call_waits_longer(instance: Instance) {
    let body = Body::endless();
    let began = tokio::time::Instant::now();
    assert_wave(&instance, &body).await;
    sleep(Duration::from_secs(5)).await;
    assert_wave(&instance, &body).await;
    assert_eq!(
        (body.began(), body.alive()),
        (1, 1),
        "one load for both waves"
    );
    assert_eq!(instance.loads_under_way(), 1);
    sleep(LIMIT - began.elapsed() - Duration::from_millis(10)).await;
    assert_eq!(body.alive(), 1, "before the limit");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(body.alive(), 0, "the body is dropped at the limit");
    assert_eq!(instance.loads_under_way(), 0);
    let stats = stats(&instance, "hard::limited");
    assert_eq!((stats.loads, stats.timeouts, stats.abandoned), (1, 200, 1));
    assert_eq!((stats.load_errors, stats.waits), (0, 199), "{stats:?}");
    // The key is free: the next call runs a body at once.
    body.takes(Some(Duration::from_millis(100)));
    let next = {
        let body = body.clone();
        timed(&instance, async move { limited(&body, 1).await })
    };
    assert_eq!(result_after(Duration::from_millis(100), next).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_body_that_never_ends_return_in_memory() {
    no_call_waits_longer(Tiers::new().memory().await).await;
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_body_that_never_ends_return_with_a_tier_below() {
    no_call_waits_longer(Tiers::new().instance().await).await;
}

#[tokio::test(start_paused = true)]
async fn wait_for_the_load_of_another_instance_counts() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::endless();
    let call = |instance: &Instance| {
        let body = body.clone();
        timed(instance, async move { limited(&body, 2).await })
    };
    let first = call(&here);
    sleep(Duration::from_millis(500)).await;
    let others = [call(&there), call(&there)];
    assert_timeout(HARD, first).await;
    for other in others {
        assert_timeout(HARD, other).await;
    }
    assert_timeout(HARD, call(&there)).await;
    assert_eq!(body.began(), 1, "the lease is held");
}

#[tokio::test(start_paused = true)]
async fn body_without_a_limit_of_its_own_is_dropped_after_four_hard_timeouts() {
    #[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
    async fn without_limit(body: &Body) -> Result<u64, Failed> {
        Ok(body.clone().run().await)
    }

    let (here, body) = (Tiers::new().memory().await, Body::endless());
    let of_call = body.clone();
    let call = timed(&here, async move { without_limit(&of_call).await });
    assert_timeout(HARD, call).await;
    sleep(HARD * 3 - Duration::from_millis(50)).await;
    assert_eq!(body.alive(), 1);
    sleep(Duration::from_millis(100)).await;
    assert_eq!((body.alive(), here.loads_under_way()), (0, 0));
    assert_eq!(stats(&here, "without_limit").abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn stale_value_is_returned_in_place_of_a_timeout() {
    #[multi_tier_cached(
        ttl = "60s",
        jitter = "0%",
        hard_timeout = "2s",
        load_limit = "30s",
        stale_if_error = "20s",
        skip(body)
    )]
    async fn with_stale(body: &Body) -> Result<u64, Failed> {
        Ok(body.clone().run().await)
    }

    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::taking(Duration::from_millis(1));
    let call = |instance: &Instance| {
        let body = body.clone();
        timed(instance, async move { with_stale(&body).await })
    };
    assert_eq!(returned(call(&here)).await.0, Ok(1));
    body.takes(None);
    let moment = Duration::from_millis(1);
    tiers.clock.advance(Duration::from_secs(60));
    let calls = [call(&here), call(&here), call(&there), call(&there)];
    for call in calls {
        assert_eq!(
            result_after(HARD, call).await,
            Ok(1),
            "at the begin of the window"
        );
    }
    tiers.clock.advance(Duration::from_secs(20) - moment);
    for instance in [&here, &there] {
        let last = call(instance);
        assert_eq!(
            result_after(HARD, last).await,
            Ok(1),
            "to the end of the window"
        );
    }
    tiers.clock.advance(moment);
    for instance in [&here, &there] {
        assert_timeout(HARD, call(instance)).await;
    }
    assert_eq!(stats(&here, "with_stale").timeouts, 4);
    assert_eq!(body.began(), 2);
}

#[tokio::test(start_paused = true)]
async fn window_that_ends_while_a_call_waits_gives_it_nothing() {
    #[multi_tier_cached(
        ttl = "60s",
        jitter = "0%",
        hard_timeout = "2s",
        load_limit = "30s",
        stale_if_error = "20s",
        skip(body)
    )]
    async fn at_the_end(body: &Body) -> Result<u64, Failed> {
        Ok(body.clone().run().await)
    }

    let tiers = Tiers::new();
    let (here, body) = (tiers.memory().await, Body::taking(Duration::from_millis(1)));
    let call = || {
        let body = body.clone();
        timed(&here, async move { at_the_end(&body).await })
    };
    assert_eq!(returned(call()).await.0, Ok(1));
    body.takes(None);
    tiers.clock.advance(Duration::from_secs(70));
    let calls = [call(), call()];
    sleep(Duration::from_secs(1)).await;
    tiers.clock.advance(Duration::from_secs(10));
    for call in calls {
        assert_timeout(HARD, call).await;
    }
}

type BoxedLoad = Pin<Box<dyn Future<Output = Result<u64, Failed>> + Send>>;

/// Calls [`right`] with its key, which calls this function in turn, until six bodies have begun.
#[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
async fn left(body: &Body, key: u64) -> Result<u64, Failed> {
    match body.clone().run().await {
        number @ 6.. => Ok(number),
        _ => boxed_right(body.clone(), key).await,
    }
}

#[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
async fn right(body: &Body, key: u64) -> Result<u64, Failed> {
    match body.clone().run().await {
        number @ 6.. => Ok(number),
        _ => boxed_left(body.clone(), key).await,
    }
}

fn boxed_left(body: Body, key: u64) -> BoxedLoad {
    Box::pin(async move { left(&body, key).await })
}

fn boxed_right(body: Body, key: u64) -> BoxedLoad {
    Box::pin(async move { right(&body, key).await })
}

#[tokio::test(start_paused = true)]
async fn late_functions_that_call_each_other_for_one_key_return() {
    for (key, takes) in [
        (1, Duration::from_millis(10)),
        (2, Duration::from_millis(1_500)),
    ] {
        let (here, body) = (Tiers::new().instance().await, Body::taking(takes));
        let calls = [
            timed(&here, boxed_left(body.clone(), key)),
            timed(&here, boxed_right(body.clone(), key)),
        ];
        for call in calls {
            let (result, took) = returned(call).await;
            let is_timeout = matches!(result, Err(Failed::Timeout(_)));
            assert!(result.is_ok() || is_timeout, "{result:?}");
            assert!(took <= HARD + Duration::from_millis(50), "{took:?}");
        }
        sleep(HARD * 5).await;
        assert_eq!((body.alive(), here.loads_under_way()), (0, 0));
    }
}
