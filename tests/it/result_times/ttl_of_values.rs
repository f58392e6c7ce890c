//! The ttl of a value: `put_for`, then `caching::keep_for`, then `ttl_from`, then `ttl`.

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, ManualClock, caching, multi_tier_cached};
use testbed::server::Server;
use testbed::{Instance, Truth, until};

use super::{assert_life, assert_life_of_record, in_memory, seconds, with_redis};

const YEAR: Duration = seconds(365 * 24 * 60 * 60);
const HOUR: Duration = seconds(60 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

type Seconds = u64;
type Token = Result<Option<Seconds>, Failed>;

/// The value is the number of seconds for which it is kept, unless the body says otherwise.
#[multi_tier_cached(
    ttl = "1h",
    jitter = "0%",
    ttl_from = |value: &Seconds| Duration::from_secs(*value),
    skip(truth, value, keep_for)
)]
async fn token(truth: &Truth, value: Seconds, keep_for: Option<Duration>, _key: u64) -> Token {
    truth.read();
    if let Some(ttl) = keep_for {
        assert!(caching::keep_for(ttl), "the body is in a load");
    }
    Ok(Some(value))
}

/// The value of the body, the ttl that the body sets, and the life of the value.
const CASES: [(Seconds, Option<Duration>, Duration); 6] = [
    (10, None, seconds(10)),
    (u64::MAX, None, YEAR),
    (10, Some(seconds(20)), seconds(20)),
    (20, Some(seconds(10)), seconds(10)),
    (0, Some(seconds(20)), seconds(20)),
    (10, Some(Duration::MAX), YEAR),
];

/// The value of the body and the ttl that the body sets, for values that are not kept.
const UNKEPT: [(Seconds, Option<Duration>); 3] = [
    (0, None),
    (10, Some(Duration::ZERO)),
    (0, Some(Duration::ZERO)),
];

#[tokio::test]
async fn ttl_of_a_value_in_memory_is_that_of_the_body_then_that_of_the_value() {
    let (clock, truth) = (ManualClock::new(), Truth::new());
    let here = in_memory(&clock).await;
    for (key, (value, keep_for, life)) in (0..).zip(CASES) {
        let call = async || {
            let result = here.call(token(&truth, value, keep_for, key)).await;
            assert_eq!(result, Ok(Some(value)));
        };
        call().await;
        let what = format!("{value} with {keep_for:?}");
        assert_life(&what, life, &clock, || truth.reads(), call).await;
    }
    for (key, (value, keep_for)) in (100..).zip(UNKEPT) {
        let before = truth.reads();
        for _ in 0..2 {
            let result = here.call(token(&truth, value, keep_for, key)).await;
            assert_eq!(result, Ok(Some(value)));
        }
        assert_eq!(truth.reads(), before + 2, "{value} with {keep_for:?}");
    }
}

#[tokio::test]
async fn ttl_of_a_value_is_that_of_the_function_without_another() {
    #[multi_tier_cached(ttl = "10m", tiers = "l1", skip(truth))]
    async fn plain(truth: &Truth) -> u64 {
        truth.read()
    }

    let (clock, truth) = (ManualClock::new(), Truth::new());
    let here = in_memory(&clock).await;
    let call = async || {
        here.call(plain(&truth)).await;
    };
    call().await;
    assert_life("ttl", seconds(600), &clock, || truth.reads(), call).await;
}

#[tokio::test]
async fn ttl_of_a_record_is_that_of_the_value_times_the_scale_of_its_tier() {
    let truth = Truth::new();
    for (key, (value, keep_for, life)) in (0..).zip(CASES) {
        let server = Server::start();
        let here = with_redis(&server, 2.0, &ManualClock::new()).await;
        let result = here.call(token(&truth, value, keep_for, key)).await;
        assert_eq!(result, Ok(Some(value)));
        server.until_records(1).await;
        assert_life_of_record(&server, (life * 2).min(YEAR));
    }
}

#[tokio::test]
async fn value_that_is_not_kept_has_no_record_and_no_lease() {
    let (server, truth) = (Server::start(), Truth::new());
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    for (key, (value, keep_for)) in (0..).zip(UNKEPT) {
        let result = here.call(token(&truth, value, keep_for, key)).await;
        assert_eq!(result, Ok(Some(value)));
    }
    until("the leases are released", || !server.has_lease()).await;
    assert_eq!(server.records(), [""; 0]);
}

#[tokio::test]
async fn ttl_of_a_put_is_its_own_then_that_of_the_value() {
    let (server, truth) = (Server::start(), Truth::new());
    let clock = ManualClock::new();
    let here = with_redis(&server, 2.0, &clock).await;
    let entry = || token::entry(&truth, 1, Some(seconds(99)), 1);
    here.call(async { entry().put(10).await }).await.unwrap();
    assert_life_of_record(&server, seconds(20));
    let longer = async { entry().put_for(10, seconds(30)).await };
    here.call(longer).await.unwrap();
    assert_life_of_record(&server, seconds(60));
    let most = async { entry().put(u64::MAX).await };
    here.call(most).await.unwrap();
    assert_life_of_record(&server, YEAR);
    here.call(async { entry().put(0).await }).await.unwrap();
    assert_eq!(server.records(), [""; 0], "a put with a life of zero");
    assert_eq!(here.call(async { entry().peek().await }).await, None);
    assert_eq!(truth.reads(), 0);
}

#[tokio::test]
async fn refresh_with_a_ttl_of_zero_drops_the_value_everywhere() {
    let (server, truth) = (Server::start(), Truth::new());
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    for (value, keep_for) in UNKEPT {
        let entry = || token::entry(&truth, value, keep_for, 1);
        here.call(async { entry().put(10).await }).await.unwrap();
        assert_eq!(server.records().len(), 1);
        let refreshed = here.call(entry().refresh()).await;
        assert_eq!(refreshed, Ok(Some(value)));
        assert_eq!(here.call(async { entry().peek().await }).await, None);
        assert_eq!(server.records(), [""; 0]);
    }
}

/// A call that waits for the load gets the value, and its own ttl does not matter.
#[tokio::test]
async fn waiter_gets_a_value_that_is_not_kept() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
    async fn shared(truth: &Truth) -> u64 {
        assert!(caching::keep_for(Duration::ZERO));
        tokio::task::yield_now().await;
        truth.read();
        truth.reads()
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = || here.call(shared(&truth));
    assert_eq!(tokio::join!(call(), call(), call()), (1, 1, 1));
    assert_eq!(call().await, 2);
}

#[tokio::test]
async fn ttl_of_a_value_of_the_builder_is_that_of_the_body_then_that_of_the_value() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let truth = Truth::new();
    let function = Function::<u64>::builder("result_times::builder_ttl")
        .ttl(HOUR)
        .ttl_from(|value: &u64| Duration::from_secs(*value))
        .build()
        .unwrap();
    for (key, (value, keep_for, life)) in (0_u64..).zip(CASES) {
        let call = async || {
            let load = || async {
                truth.read();
                if let Some(ttl) = keep_for {
                    assert!(caching::keep_for(ttl));
                }
                value
            };
            assert_eq!(here.call(function.get_or_load((key,), load)).await, value);
        };
        call().await;
        let what = format!("{value} with {keep_for:?}");
        assert_life(&what, life, &clock, || truth.reads(), call).await;
    }
}

#[multi_tier_cached(
    ttl = "1h",
    tiers = "l1",
    ttl_from = |value: &Seconds| Duration::from_secs(*value),
    skip(truth, keep_for)
)]
fn plain_token(truth: &Truth, keep_for: Option<Duration>, value: Seconds) -> Seconds {
    truth.read();
    if let Some(ttl) = keep_for {
        assert!(caching::keep_for(ttl));
    }
    value
}

#[tokio::test]
async fn ttl_of_a_value_of_a_plain_function_is_that_of_the_body_then_that_of_the_value() {
    let (clock, truth) = (ManualClock::new(), Truth::new());
    let here = in_memory(&clock).await;
    for (value, keep_for, life) in [(11, None, seconds(11)), (12, Some(HOUR), HOUR)] {
        let call = async || {
            let runtime = here.runtime.clone();
            let call = || plain_token(&truth, keep_for, value);
            assert_eq!(CacheRuntime::scope_blocking(runtime, call), value);
        };
        call().await;
        assert_life("plain", life, &clock, || truth.reads(), call).await;
    }
}
