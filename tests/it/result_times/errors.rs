//! `error_ttl` with `error_if`: an error is kept in the memory of its instance, and ends no value.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, Level, LoadTimeout, ManualClock, caching, multi_tier_cached,
};
use testbed::counts::function_stats;
use testbed::server::Server;
use testbed::{Gate, Instance, until, until_returns};
use tokio::time::{sleep, timeout};

use super::{MOMENT, Source, assert_life, in_memory, seconds, stats, with_redis};

const ERROR: Duration = seconds(5);
const HOUR: Duration = seconds(60 * 60);
/// Time in which a message arrives on a machine that is busy.
const SOON: Duration = seconds(30);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    NotFound,
    Busy,
}

impl Failure {
    fn is_not_found(&self) -> bool {
        *self == Self::NotFound
    }
}

type Answer = Result<u64, Failure>;

#[multi_tier_cached(
    ttl = "1h",
    error_ttl = "5s",
    error_if = Failure::is_not_found,
    skip(source)
)]
async fn read(source: &Source<Answer>, _key: u64) -> Answer {
    source.ask()
}

#[tokio::test]
async fn error_that_error_if_accepts_is_kept_for_its_time() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Source::new(Err(Failure::NotFound));
    let call = async || {
        let result = here.call(read(&source, 1)).await;
        assert_eq!(result, Err(Failure::NotFound));
        assert_eq!(here.call(read::entry(&source, 1).peek()).await, None);
    };
    call().await;
    assert_life("an error", ERROR, &clock, || source.asked(), call).await;
    let counted = stats(&here, "errors::read");
    assert_eq!((counted.error_hits, counted.absent_hits), (2, 0));
    assert_eq!(counted.load_errors, 2);
    assert_eq!(counted.tier(Level::L1).unwrap().hits, 2);
}

#[tokio::test]
async fn error_that_error_if_refuses_is_not_kept() {
    let here = in_memory(&ManualClock::new()).await;
    let source = Source::new(Err(Failure::Busy));
    for _ in 0..2 {
        assert_eq!(here.call(read(&source, 1)).await, Err(Failure::Busy));
    }
    assert_eq!(source.asked(), 2);
    assert_eq!(stats(&here, "errors::read").error_hits, 0);
}

#[tokio::test]
async fn error_is_kept_in_its_instance_only() {
    let server = Server::start();
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    let source = Source::new(Err(Failure::NotFound));
    for (instance, asked) in [(&here, 1), (&there, 2), (&here, 2), (&there, 2)] {
        let result = instance.call(read(&source, 1)).await;
        assert_eq!(result, Err(Failure::NotFound));
        assert_eq!(source.asked(), asked);
    }
    until("the leases are released", || !server.has_lease()).await;
    assert_eq!(server.records(), [""; 0]);
}

/// Two instances with one Redis, each of which has the error in memory.
async fn two_with_error(server: &Server, source: &Source<Answer>) -> (Instance, Instance) {
    let here = with_redis(server, 1.0, &ManualClock::new()).await;
    let there = with_redis(server, 1.0, &ManualClock::new()).await;
    for instance in [&here, &here, &there, &there] {
        let result = instance.call(read(source, 1)).await;
        assert_eq!(result, Err(Failure::NotFound));
    }
    assert_eq!(source.asked(), 2);
    (here, there)
}

#[tokio::test]
async fn put_ends_the_error_in_every_instance() {
    let (server, source) = (Server::start(), Source::new(Err(Failure::NotFound)));
    let (here, there) = two_with_error(&server, &source).await;
    let put = async { read::entry(&source, 1).put(5).await };
    here.call(put).await.unwrap();
    assert_eq!(here.call(read(&source, 1)).await, Ok(5));
    until_returns(Ok(5), SOON, async || there.call(read(&source, 1)).await).await;
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn invalidation_ends_the_error_in_every_instance() {
    for whole_function in [false, true] {
        let (server, source) = (Server::start(), Source::new(Err(Failure::NotFound)));
        let (here, there) = two_with_error(&server, &source).await;
        source.answers(Ok(5));
        let invalidation = match whole_function {
            true => read::invalidate_all(),
            false => read::invalidation(&source, 1),
        };
        here.invalidate(invalidation).await;
        assert_eq!(here.call(read(&source, 1)).await, Ok(5));
        until_returns(Ok(5), SOON, async || there.call(read(&source, 1)).await).await;
        assert_eq!(source.asked(), 3);
    }
}

#[tokio::test]
async fn write_guard_ends_the_error_and_keeps_none_while_it_is_held() {
    let (server, source) = (Server::start(), Source::new(Err(Failure::NotFound)));
    let (here, _there) = two_with_error(&server, &source).await;
    let guard = here.call(read::entry(&source, 1).write_guard()).await;
    let guard = guard.unwrap();
    for asked in 3..5 {
        let result = here.call(read(&source, 1)).await;
        assert_eq!(result, Err(Failure::NotFound));
        assert_eq!(source.asked(), asked, "kept under a guard");
    }
    here.call(guard.invalidate()).await.unwrap();
    source.answers(Ok(5));
    assert_eq!(here.call(read(&source, 1)).await, Ok(5));
}

#[tokio::test]
async fn refresh_and_strong_call_do_not_return_a_kept_error() {
    let server = Server::start();
    for here in [
        in_memory(&ManualClock::new()).await,
        with_redis(&server, 1.0, &ManualClock::new()).await,
    ] {
        let source = Source::new(Err(Failure::NotFound));
        let entry = || read::entry(&source, 1);
        let result = here.call(read(&source, 1)).await;
        assert_eq!(result, Err(Failure::NotFound));
        source.answers(Err(Failure::Busy));
        assert_eq!(here.call(entry().strong()).await, Err(Failure::Busy));
        assert_eq!(here.call(entry().refresh()).await, Err(Failure::Busy));
        assert_eq!(source.asked(), 3);
        source.answers(Ok(5));
        assert_eq!(here.call(entry().strong()).await, Ok(5));
        assert_eq!(here.call(read(&source, 1)).await, Ok(5), "the error ended");
        assert_eq!(source.asked(), 4);
    }
}

/// Has windows, in which a value is returned in place of an error, but not of `NotFound`.
#[multi_tier_cached(
    ttl = "60s",
    stale_if_error = "20s",
    stale_if = |error: &Failure| !error.is_not_found(),
    error_ttl = "5s",
    error_if = |_: &Failure| true,
    tiers = "l1",
    skip(source)
)]
async fn with_window(source: &Source<Answer>, _key: u64) -> Answer {
    source.ask()
}

#[tokio::test]
async fn error_is_not_kept_while_a_stale_value_may_be_returned() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Source::new(Ok(1));
    let call = async || here.call(with_window(&source, 1)).await;
    assert_eq!(call().await, Ok(1));
    clock.advance(seconds(60));
    source.answers(Err(Failure::NotFound));
    for asked in 2..4 {
        assert_eq!(call().await, Err(Failure::NotFound));
        assert_eq!(source.asked(), asked, "the error took the place of a value");
    }
    source.answers(Err(Failure::Busy));
    assert_eq!(call().await, Ok(1), "the stale value is still there");
    clock.advance(seconds(20) - MOMENT);
    assert_eq!(call().await, Ok(1), "to the end of the window");
    clock.advance(MOMENT);
    assert_eq!(call().await, Err(Failure::Busy));
    let before = source.asked();
    assert_eq!(call().await, Err(Failure::Busy));
    assert_eq!(source.asked(), before, "after the window the error is kept");
}

#[tokio::test]
async fn waiters_get_an_error_that_is_kept_although_errors_are_not_shared() {
    for (name, is_late) in [
        ("result_times::unshared", false),
        ("result_times::unshared_late", true),
    ] {
        let builder = Function::<u64>::builder(name).ttl(HOUR).error_ttl(ERROR);
        let builder = builder.error_if(Failure::is_not_found);
        let function = match is_late {
            true => builder.stale_while_revalidate(HOUR).build(),
            false => builder.build(),
        };
        let function = function.unwrap();
        let here = in_memory(&ManualClock::new()).await;
        let gate = Arc::new(Gate::new());
        let call = || {
            let (function, gate) = (function.clone(), Arc::clone(&gate));
            here.spawn(async move {
                let load = move || async move {
                    gate.pass().await;
                    Err(Failure::NotFound)
                };
                let result: Answer = match is_late {
                    true => function.get_or_load_late((1,), load).await,
                    false => function.get_or_load((1,), load).await,
                };
                result
            })
        };
        let calls: Vec<_> = (0..10).map(|_| call()).collect();
        let waits = || function_stats(&here, name).map_or(0, |stats| stats.waits);
        until("all others wait", || waits() == 9).await;
        gate.open();
        for call in calls {
            let result = timeout(SOON, call).await.expect("no waiter hangs");
            assert_eq!(result.unwrap(), Err(Failure::NotFound));
        }
        assert_eq!(gate.entered(), 1, "late: {is_late}");
    }
}

/// An error of another type than the one that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other;

/// A handle takes bodies with any type of error. In memory alone its strong call finds the kept
/// error, which it cannot return.
#[tokio::test]
async fn strong_call_with_another_error_type_loads_and_ends_the_kept_error() {
    let here = in_memory(&ManualClock::new()).await;
    let builder = Function::<u64>::builder("result_times::two_errors").ttl(HOUR);
    let builder = builder.error_ttl(ERROR).error_if(Failure::is_not_found);
    let function = builder.build().unwrap();
    let call = async |answer: Answer| {
        let load = || async { answer };
        here.call(function.get_or_load((1,), load)).await
    };
    let not_found = Err(Failure::NotFound);
    assert_eq!(call(not_found.clone()).await, not_found);
    let entry = function.entry((1,));
    let strong = async |answer: Result<u64, Other>| {
        let load = || async { answer };
        let called = timeout(SOON, here.call(entry.strong(load))).await;
        called.expect("the call ends")
    };
    assert_eq!(strong(Err(Other)).await, Err(Other));
    assert_eq!(call(Ok(1)).await, not_found, "the kept error stays");
    assert_eq!(strong(Ok(5)).await, Ok(5));
    assert_eq!(call(Ok(1)).await, Ok(5), "the value that the call loaded");
    assert_eq!(stats(&here, function.name()).loads, 3);
}

#[tokio::test]
async fn error_of_a_body_that_skips_or_fails_is_not_kept() {
    #[multi_tier_cached(
        ttl = "1h",
        error_ttl = "5s",
        error_if = |_: &Failure| true,
        tiers = "l1",
        skip(source)
    )]
    async fn decides(source: &Source<Answer>, skips: bool) -> Answer {
        assert!(if skips {
            caching::skip()
        } else {
            caching::failed()
        });
        source.ask()
    }

    let here = in_memory(&ManualClock::new()).await;
    for skips in [true, false] {
        let source = Source::new(Err(Failure::NotFound));
        for _ in 0..2 {
            let result = here.call(decides(&source, skips)).await;
            assert_eq!(result, Err(Failure::NotFound));
        }
        assert_eq!(source.asked(), 2, "skips: {skips}");
    }
}

#[multi_tier_cached(
    ttl = "1h",
    error_ttl = "5s",
    error_if = Failure::is_not_found,
    tiers = "l1",
    skip(source)
)]
fn plain_read(source: &Source<Answer>, _key: u64) -> Answer {
    source.ask()
}

#[tokio::test]
async fn plain_function_keeps_an_error_for_its_time() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Source::new(Err(Failure::NotFound));
    let call = async || {
        let runtime = here.runtime.clone();
        let result = CacheRuntime::scope_blocking(runtime, || plain_read(&source, 1));
        assert_eq!(result, Err(Failure::NotFound));
    };
    call().await;
    assert_life("plain", ERROR, &clock, || source.asked(), call).await;
}

impl From<LoadTimeout> for Failure {
    fn from(_: LoadTimeout) -> Self {
        Self::Busy
    }
}

/// The error of a call that stops waiting says nothing about the value, which its load still gets.
#[tokio::test(start_paused = true)]
async fn error_of_a_load_that_takes_too_long_is_not_kept() {
    #[multi_tier_cached(
        ttl = "1h",
        hard_timeout = "1s",
        load_limit = "10s",
        error_ttl = "60s",
        error_if = |_: &Failure| true,
        tiers = "l1",
        skip(source)
    )]
    async fn slow(source: &Arc<Source<Duration>>) -> Answer {
        sleep(source.ask()).await;
        Ok(source.asked())
    }

    let here = in_memory(&ManualClock::new()).await;
    let source = Arc::new(Source::new(seconds(60)));
    let call = async || here.call(slow(&source)).await;
    assert_eq!(call().await, Err(Failure::Busy));
    // The body is dropped at its limit.
    until("the load has ended", || here.loads_under_way() == 0).await;
    assert_eq!(stats(&here, "slow").abandoned, 1);
    source.answers(seconds(2));
    assert_eq!(call().await, Err(Failure::Busy));
    assert_eq!(source.asked(), 2, "the error of the limit is not kept");
    until("the load has ended", || here.loads_under_way() == 0).await;
    assert_eq!(call().await, Ok(2));
    assert_eq!(stats(&here, "slow").error_hits, 0);
}
