//! `load_limit`: the body is dropped, and its key is free.

use std::time::Duration;

use multi_tier_cached::{Function, multi_tier_cached};
use tokio::time::sleep;

use super::bodies::{Body, Failed, Tiers, assert_timeout, result_after, returned, stats, timed};

const LIMIT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(1);

/// A body that borrows from its caller may have a limit, because the caller polls it.
#[multi_tier_cached(ttl = "60s", load_limit = "30s", skip(body))]
async fn limited(body: &Body, _name: &str) -> Result<u64, Failed> {
    Ok(body.clone().run().await)
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_timeout_when_the_body_is_dropped_at_its_limit() {
    let tiers = Tiers::new();
    for here in [tiers.memory().await, tiers.instance().await] {
        let body = Body::endless();
        let call = || {
            let body = body.clone();
            timed(&here, async move { limited(&body, "one").await })
        };
        let leader = call();
        sleep(Duration::from_secs(10)).await;
        let waiters = [call(), call(), call()];
        sleep(LIMIT - Duration::from_secs(10) - MOMENT).await;
        assert_eq!(body.alive(), 1, "before the limit");
        assert_timeout(LIMIT, leader).await;
        for waiter in waiters {
            let waited = LIMIT - Duration::from_secs(10);
            let error = result_after(waited, waiter).await.unwrap_err();
            assert!(matches!(error, Failed::Timeout(timeout) if timeout.after() == LIMIT));
        }
        assert_eq!(
            (body.began(), body.alive(), here.loads_under_way()),
            (1, 0, 0)
        );
        let stats = stats(&here, "limits::limited");
        assert_eq!(
            (stats.abandoned, stats.timeouts, stats.load_errors),
            (1, 0, 0)
        );
        body.takes(Some(MOMENT));
        assert_eq!(result_after(MOMENT, call()).await, Ok(2), "the key is free");
        assert_eq!(
            result_after(Duration::ZERO, call()).await,
            Ok(2),
            "and the value kept"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn lease_of_an_abandoned_load_is_released_for_other_instances() {
    let tiers = Tiers::new();
    let (here, there) = (tiers.instance().await, tiers.instance().await);
    let body = Body::endless();
    let call = |instance| {
        let body = body.clone();
        timed(instance, async move { limited(&body, "two").await })
    };
    let first = call(&here);
    sleep(MOMENT).await;
    let second = call(&there);
    sleep(MOMENT).await;
    assert_eq!(body.began(), 1, "the other instance waits");
    body.takes(Some(MOMENT));
    assert_timeout(LIMIT, first).await;
    let (result, took) = returned(second).await;
    assert_eq!(result, Ok(2), "the other instance leads");
    assert!(took <= LIMIT + Duration::from_millis(100), "{took:?}");
    assert_eq!((body.began(), body.alive()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_stale_value_when_the_body_is_dropped_and_the_key_is_backed_off() {
    let tiers = Tiers::new();
    let function = Function::<u64>::builder("timeouts::limits_with_stale")
        .ttl(Duration::from_secs(60))
        .jitter(0)
        .stale_if_error(Duration::from_secs(600))
        .load_limit(LIMIT)
        .build()
        .unwrap();
    let (here, body) = (tiers.instance().await, Body::taking(MOMENT));
    let call = || {
        let (function, body) = (function.clone(), body.clone());
        timed(&here, async move {
            let load = || async move { Ok::<_, Failed>(body.run().await) };
            function.get_or_load((1_u64,), load).await
        })
    };
    assert_eq!(returned(call()).await.0, Ok(1));
    tiers.clock.advance(Duration::from_secs(60));
    body.takes(None);
    let calls = [call(), call(), call()];
    for call in calls {
        assert_eq!(result_after(LIMIT, call).await, Ok(1));
    }
    assert_eq!(
        (body.began(), body.alive(), here.loads_under_way()),
        (2, 0, 0)
    );
    assert_eq!(
        result_after(Duration::ZERO, call()).await,
        Ok(1),
        "backed off"
    );
    assert_eq!(body.began(), 2);
    let stats = stats(&here, function.name());
    assert_eq!((stats.abandoned, stats.stale_on_error), (1, 3), "{stats:?}");
    // By the runtime's clock the load took no time, so the back-off is the shortest.
    tiers.clock.advance(Duration::from_millis(1_200));
    body.takes(Some(MOMENT));
    assert_eq!(result_after(MOMENT, call()).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn body_in_the_background_is_dropped_after_five_minutes_by_default() {
    #[multi_tier_cached(ttl = "60s", jitter = "0%", stale_while_revalidate = "1h", skip(body))]
    async fn revalidated(body: &Body) -> u64 {
        body.clone().run().await
    }

    let tiers = Tiers::new();
    let (here, body) = (tiers.instance().await, Body::taking(MOMENT));
    let call = || {
        let body = body.clone();
        timed(&here, async move { revalidated(&body).await })
    };
    assert_eq!(returned(call()).await.0, 1);
    tiers.clock.advance(Duration::from_secs(60));
    body.takes(None);
    assert_eq!(result_after(Duration::ZERO, call()).await, 1);
    sleep(Duration::from_secs(299)).await;
    assert_eq!((body.began(), body.alive()), (2, 1));
    assert_eq!(
        result_after(Duration::ZERO, call()).await,
        1,
        "the load runs"
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (body.began(), body.alive(), here.loads_under_way()),
        (2, 0, 0)
    );
    assert_eq!(result_after(Duration::ZERO, call()).await, 1, "backed off");
    let stats = stats(&here, "revalidated");
    assert_eq!(
        (stats.abandoned, stats.refreshes, stats.refresh_errors),
        (1, 1, 1)
    );
    assert_eq!(stats.timeouts, 0, "no caller has waited");
}

#[tokio::test(start_paused = true)]
async fn load_that_its_caller_waits_for_has_no_limit_by_default() {
    #[multi_tier_cached(ttl = "60s", stale_while_revalidate = "1h", skip(body))]
    async fn unlimited(body: &Body) -> u64 {
        body.clone().run().await
    }

    let hour = Duration::from_secs(3_600);
    let (here, body) = (Tiers::new().memory().await, Body::taking(hour));
    let call = timed(&here, async move { unlimited(&body).await });
    assert_eq!(result_after(hour, call).await, 1);
}
