//! Loads that continue after their callers were answered.

use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use testbed::Instance;
use testbed::counts::tier_stats;
use tokio::time::sleep;

use super::bodies::{
    Body, Failed, Tiers, Timed, assert_timeout, result_after, returned, stats, timed,
};

const HARD: Duration = Duration::from_secs(2);
const TAKES: Duration = Duration::from_secs(3);

#[multi_tier_cached(ttl = "60s", jitter = "0%", hard_timeout = "2s", skip(body))]
async fn slow(body: &Body, _key: u64) -> Result<u64, Failed> {
    Ok(body.clone().run().await)
}

fn call(instance: &Instance, body: &Body, key: u64) -> Timed<Result<u64, Failed>> {
    let body = body.clone();
    timed(instance, async move { slow(&body, key).await })
}

#[tokio::test(start_paused = true)]
async fn late_value_is_kept_in_all_tiers_under_its_lease() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::taking(TAKES);
    assert_timeout(HARD, call(&here, &body, 1)).await;
    // A caller that comes now waits for the same load, and not longer than it takes.
    let waiter = call(&here, &body, 1);
    assert_eq!(result_after(TAKES - HARD, waiter).await, Ok(1));
    assert_eq!(
        result_after(Duration::ZERO, call(&here, &body, 1)).await,
        Ok(1)
    );
    assert_eq!(
        result_after(Duration::ZERO, call(&there, &body, 1)).await,
        Ok(1)
    );
    assert_eq!(body.began(), 1);
    assert_eq!(tiers.tier.stored_lives(), [Duration::from_secs(60)]);
    let refused = tier_stats(&here, "late_values::slow", multi_tier_cached::Level::L2);
    assert_eq!(refused.unwrap().refused_fills.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn late_value_reaches_an_instance_that_waited_for_the_lease() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::taking(TAKES);
    let first = call(&here, &body, 2);
    sleep(Duration::from_millis(500)).await;
    let second = call(&there, &body, 2);
    assert_timeout(HARD, first).await;
    assert_timeout(HARD, second).await;
    sleep(TAKES - HARD).await;
    let memory = |instance: &Instance| {
        let stats = tier_stats(instance, "late_values::slow", multi_tier_cached::Level::L1);
        stats.unwrap().hits
    };
    for instance in [&here, &there] {
        let before = memory(instance);
        assert_eq!(
            result_after(Duration::ZERO, call(instance, &body, 2)).await,
            Ok(1)
        );
        assert_eq!(memory(instance), before + 1, "memory has the value");
    }
    assert_eq!(
        (
            body.began(),
            here.loads_under_way(),
            there.loads_under_way()
        ),
        (1, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn late_value_is_kept_nowhere_after_an_invalidation() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::taking(TAKES);
    assert_timeout(HARD, call(&here, &body, 3)).await;
    tiers.fake.let_through();
    here.call(slow::invalidation(&body, 3)).await.unwrap();
    // A caller after the invalidation does not join the load from before.
    body.takes(Some(Duration::from_millis(1)));
    let next = call(&there, &body, 3);
    assert_eq!(result_after(Duration::from_millis(1), next).await, Ok(2));
    sleep(TAKES).await;
    for instance in [&here, &there] {
        assert_eq!(
            result_after(Duration::ZERO, call(instance, &body, 3)).await,
            Ok(2)
        );
    }
    assert_eq!(tiers.tier.stored_lives().len(), 1);
    assert_eq!(body.began(), 2);
}

#[tokio::test(start_paused = true)]
async fn late_value_is_not_kept_if_no_call_follows_the_invalidation() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::taking(TAKES);
    assert_timeout(HARD, call(&here, &body, 4)).await;
    tiers.fake.let_through();
    here.call(slow::invalidation(&body, 4)).await.unwrap();
    sleep(TAKES).await;
    assert!(tiers.tier.stored_lives().is_empty());
    body.takes(Some(Duration::from_millis(1)));
    for instance in [&here, &there] {
        let number = body.began() + u64::from(std::ptr::eq(instance, &raw const here));
        assert_eq!(returned(call(instance, &body, 4)).await.0, Ok(number));
    }
    assert_eq!(body.began(), 2);
}

#[tokio::test(start_paused = true)]
async fn load_continues_for_its_waiters_when_its_caller_is_dropped() {
    let tiers = Tiers::new();
    for (key, here) in [(5, tiers.memory().await), (6, tiers.instance().await)] {
        let body = Body::taking(Duration::from_secs(1));
        let leader = call(&here, &body, key);
        sleep(Duration::from_millis(500)).await;
        let waiters: Vec<_> = (0..10).map(|_| call(&here, &body, key)).collect();
        sleep(Duration::from_millis(1)).await;
        leader.abort();
        for waiter in waiters {
            let left = Duration::from_millis(500);
            assert_eq!(result_after(left, waiter).await, Ok(1));
        }
        assert_eq!((body.began(), body.alive()), (1, 0));
        assert_eq!(
            result_after(Duration::ZERO, call(&here, &body, key)).await,
            Ok(1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn load_ends_with_its_caller_if_no_other_waits() {
    let tiers = Tiers::new();
    for (key, here) in [(7, tiers.memory().await), (8, tiers.instance().await)] {
        let body = Body::taking(Duration::from_secs(1));
        let leader = call(&here, &body, key);
        sleep(Duration::from_millis(500)).await;
        leader.abort();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(
            (body.began(), body.alive(), here.loads_under_way()),
            (1, 0, 0)
        );
        let next = call(&here, &body, key);
        assert_eq!(result_after(Duration::from_secs(1), next).await, Ok(2));
    }
}

#[tokio::test(start_paused = true)]
async fn error_of_a_late_load_frees_the_key() {
    #[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
    async fn fails_late(body: &Body) -> Result<u64, Failed> {
        body.clone().fail().await
    }

    let (here, body) = (Tiers::new().instance().await, Body::taking(TAKES));
    let call = || {
        let body = body.clone();
        timed(&here, async move { fails_late(&body).await })
    };
    assert_timeout(HARD, call()).await;
    sleep(TAKES - HARD + Duration::from_millis(1)).await;
    assert_eq!((body.alive(), here.loads_under_way()), (0, 0));
    let stats = stats(&here, "fails_late");
    assert_eq!(
        (stats.timeouts, stats.load_errors, stats.abandoned),
        (1, 1, 0)
    );
    body.takes(Some(Duration::from_millis(1)));
    let next = result_after(Duration::from_millis(1), call());
    assert_eq!(next.await, Err(Failed::Down));
}
