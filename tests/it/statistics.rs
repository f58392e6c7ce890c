//! Statistics and log lines about stale values, loads in the background, and kept results.

mod calls;
mod load_times;
mod read_back;
mod tier_times;

use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, FunctionStats, Level, LoadTimeout, ManualClock, Memory, RefreshAhead,
    multi_tier_cached,
};
use testbed::counts::tier_stats;
use testbed::deployment::Deployment;
use testbed::log::Log;
use testbed::until;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

impl From<LoadTimeout> for Failed {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

async fn runtime(clock: &ManualClock) -> CacheRuntime {
    let builder = CacheRuntime::builder().l1(Memory::builder()).clock(clock);
    builder.build().await.unwrap()
}

fn stats(runtime: &CacheRuntime) -> FunctionStats {
    runtime.stats().functions[0].clone()
}

#[tokio::test]
async fn stale_hits_are_hits_and_background_loads_are_no_calls() {
    let clock = ManualClock::new();
    let runtime = runtime(&clock).await;
    let function = Function::<u64>::builder("statistics::stale")
        .ttl(SECOND)
        .stale_while_revalidate(SECOND * 60)
        .build()
        .unwrap();
    let call = async |value: u64| {
        let result: Result<u64, Failed> = function
            .get_or_load_late((1,), move || async move { Ok(value) })
            .await;
        result
    };
    let test = async {
        assert_eq!(call(1).await, Ok(1));
        assert_eq!(call(2).await, Ok(1));
        clock.advance(SECOND);
        assert_eq!(call(3).await, Ok(1));
        until("the load in the background has ended", || {
            stats(&runtime).refreshes == 1 && runtime.loads_under_way() == 0
        })
        .await;
        assert_eq!(call(4).await, Ok(3));
    };
    CacheRuntime::scope(runtime.clone(), test).await;
    let stats = stats(&runtime);
    let memory = &stats.tiers[0];
    assert_eq!((memory.hits, memory.stale_hits, memory.misses), (3, 1, 1));
    assert_eq!((stats.loads, stats.refreshes), (2, 1));
    assert_eq!(stats.hit_rate(), Some(0.75));
    let table = runtime.snapshot().await.to_string();
    assert!(table.contains("refreshes"), "{table}");
}

#[tokio::test]
async fn stale_value_in_place_of_an_error_is_counted_and_logged_once_a_minute() {
    let log = Log::default();
    let _guard = log.capture();
    let clock = ManualClock::new();
    let runtime = runtime(&clock).await;
    let function = Function::<u64>::builder("statistics::failing")
        .ttl(SECOND)
        .stale_if_error(SECOND * 600)
        .build()
        .unwrap();
    let call = async |result: Result<u64, Failed>| {
        function
            .get_or_load((1,), move || async move { result })
            .await
    };
    let test = async {
        assert_eq!(call(Ok(1)).await, Ok(1));
        // Each time, the back-off of the load before has ended.
        for _ in 0..3 {
            clock.advance(SECOND * 100);
            assert_eq!(call(Err(Failed)).await, Ok(1));
            assert_eq!(call(Err(Failed)).await, Ok(1), "backed off");
        }
    };
    CacheRuntime::scope(runtime.clone(), test).await;
    let stats = stats(&runtime);
    assert_eq!((stats.loads, stats.load_errors), (4, 3));
    assert_eq!((stats.stale_on_error, stats.backed_off), (3, 3));
    let lines = log.lines_with("`stale_if_error` has passed");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("statistics::failing"), "{lines:#?}");
}

#[tokio::test]
async fn kept_absence_and_kept_errors_are_hits() {
    let clock = ManualClock::new();
    let runtime = runtime(&clock).await;
    let function = Function::<u64>::builder("statistics::kept")
        .ttl(SECOND)
        .none_ttl(SECOND)
        .error_ttl(SECOND)
        .error_if::<Failed>(|_| true)
        .build()
        .unwrap();
    let call = async |key: u64, result: Result<Option<u64>, Failed>| {
        function
            .get_or_load((key,), move || async move { result })
            .await
    };
    let test = async {
        assert_eq!(call(1, Ok(None)).await, Ok(None));
        assert_eq!(call(1, Ok(Some(1))).await, Ok(None));
        assert_eq!(call(2, Err(Failed)).await, Err(Failed));
        assert_eq!(call(2, Ok(Some(2))).await, Err(Failed));
    };
    CacheRuntime::scope(runtime.clone(), test).await;
    let stats = stats(&runtime);
    assert_eq!((stats.absent_hits, stats.error_hits), (1, 1));
    assert_eq!((stats.hits(), stats.loads), (2, 2));
}

#[test]
fn built_function_with_times_that_cannot_be_used_is_refused() {
    let builder = || Function::<u64>::builder("statistics::wrong").ttl(SECOND);
    for (wrong, expected) in [
        (
            builder().stale_while_revalidate(Duration::ZERO).build(),
            "`stale_while_revalidate` is zero",
        ),
        (
            builder().soft_timeout(SECOND).build(),
            "`soft_timeout` needs `stale_if_error`",
        ),
        (
            builder().refresh_ahead(SECOND).build(),
            "`refresh_ahead` is 1s, and the shortest ttl is 1s",
        ),
        (builder().jitter(51).build(), "the maximum is 50%"),
        (
            builder().error_ttl(SECOND).build(),
            "`error_ttl` has no effect without `error_if`",
        ),
    ] {
        let error = wrong.map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        assert!(error.contains("(function `statistics::wrong`"), "{error}");
    }
    let stale_if = builder().stale_if::<Failed>(|_| true).build();
    let error = stale_if.map(drop).unwrap_err().to_string();
    let expected = "`stale_if` has no effect without `stale_if_error`";
    assert!(error.contains(expected), "{error}");
    let timeouts = builder().hard_timeout(SECOND).load_limit(SECOND).build();
    let error = timeouts.map(drop).unwrap_err().to_string();
    assert!(error.contains("`hard_timeout` is 1s, and `load_limit` is 1s"));
    let measured = builder().refresh_ahead(RefreshAhead::Measured).build();
    assert!(measured.is_ok());
}

#[multi_tier_cached(
    ttl = "1h",
    stale_if_error = "1h",
    tiers = "l2",
    name = "statistics::below"
)]
async fn below(_key: u64) -> Result<u64, Failed> {
    Ok(1)
}

/// A stale record is a miss, for a strong call too.
#[tokio::test]
async fn each_look_up_of_a_tier_below_memory_is_a_hit_or_a_miss() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let expire = async || here.call(below::entry(1).expire()).await.unwrap();
    here.call(below(1)).await.unwrap();
    here.call(below(1)).await.unwrap();
    expire().await;
    here.call(below::entry(1).strong()).await.unwrap();
    expire().await;
    here.call(below(1)).await.unwrap();
    let tier = tier_stats(&here, "statistics::below", Level::L2).unwrap();
    assert_eq!((tier.hits, tier.misses), (1, 3), "{tier:?}");
}
