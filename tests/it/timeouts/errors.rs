//! The errors that a timeout becomes, and functions whose calls all ask the shared tier.

use std::error::Error;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, LoadTimeout, Memory, multi_tier_cached};
use testbed::Instance;
use testbed::fake_tier::FakeTier;
use tokio::time::sleep;

use super::bodies::{Body, Failed, Tiers, assert_timeout, result_after, stats, timed};

const HARD: Duration = Duration::from_secs(2);

fn assert_is_about(timeout: &LoadTimeout, function: &str) {
    assert!(timeout.function().ends_with(function), "{timeout:?}");
    let text = format!("the load of `{}` took longer than 2s", timeout.function());
    assert_eq!(timeout.to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn timeout_becomes_an_anyhow_error() {
    #[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
    async fn with_anyhow(body: &Body) -> anyhow::Result<u64> {
        Ok(body.clone().run().await)
    }

    let (here, body) = (Tiers::new().memory().await, Body::endless());
    let call = || {
        let body = body.clone();
        timed(&here, async move { with_anyhow(&body).await })
    };
    let (leader, waiter) = (call(), call());
    for call in [leader, waiter] {
        let error = result_after(HARD, call).await.unwrap_err();
        assert_is_about(error.downcast_ref().expect("a timeout"), "with_anyhow");
    }
}

#[tokio::test(start_paused = true)]
async fn timeout_becomes_a_boxed_error() {
    type Boxed = Box<dyn Error + Send + Sync>;

    #[multi_tier_cached(ttl = "60s", hard_timeout = "2s", load_limit = "5s", skip(body))]
    async fn with_box(body: &Body) -> Result<u64, Boxed> {
        Ok(body.clone().run().await)
    }

    let (here, body) = (Tiers::new().memory().await, Body::endless());
    let call = || {
        let body = body.clone();
        timed(&here, async move { with_box(&body).await })
    };
    let error = result_after(HARD, call()).await.unwrap_err();
    assert_is_about(error.downcast_ref().expect("a timeout"), "with_box");
    // A caller that waits when the body is dropped.
    sleep(Duration::from_secs(2)).await;
    let error = result_after(Duration::from_secs(1), call())
        .await
        .unwrap_err();
    let timeout: &LoadTimeout = error.downcast_ref().expect("a timeout");
    assert_eq!(timeout.after(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn timeout_becomes_an_error_in_an_alias_of_an_optional_result() {
    type Found = Result<Option<u64>, Failed>;

    #[multi_tier_cached(ttl = "60s", hard_timeout = "2s", skip(body))]
    async fn optional(body: &Body) -> Found {
        Ok(Some(body.clone().run().await))
    }

    let (here, body) = (Tiers::new().memory().await, Body::endless());
    let call = timed(&here, async move { optional(&body).await });
    match result_after(HARD, call).await {
        Err(Failed::Timeout(timeout)) => assert_is_about(&timeout, "optional"),
        other => panic!("expected a timeout, found {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_strong_function_return_at_the_hard_timeout() {
    #[multi_tier_cached(
        ttl = "60s",
        hard_timeout = "2s",
        load_limit = "5s",
        consistency = "strong",
        skip(body)
    )]
    async fn strong(body: &Body) -> Result<u64, Failed> {
        Ok(body.clone().run().await)
    }

    let fake = FakeTier::shared(Duration::from_secs(3_600));
    fake.prove();
    let builder = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(fake.clone());
    let here = Instance::build(builder).await;
    let body = Body::endless();
    let call = || {
        let body = body.clone();
        timed(&here, async move { strong(&body).await })
    };
    let calls = [call(), call(), call()];
    for call in calls {
        assert_timeout(HARD, call).await;
    }
    assert_timeout(HARD, call()).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!((body.alive(), here.loads_under_way()), (0, 0));
    let stats = stats(&here, "strong");
    assert_eq!(stats.timeouts, 4, "{stats:?}");
    body.takes(Some(Duration::from_millis(100)));
    let expected = body.began() + 1;
    let next = result_after(Duration::from_millis(100), call());
    assert_eq!(next.await, Ok(expected));
    assert_eq!(
        result_after(Duration::ZERO, call()).await,
        Ok(expected),
        "kept"
    );
}
