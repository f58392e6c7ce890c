//! Values that a load in the background replaces, in a function without memory.

use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, CallOutcome, Function, Level, NextCall, Redis, StaleReason, expire,
};
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::counts::function_stats;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, until};

use super::{HOUR, answered, assert_next, builder, explain, load, stale};

const MINUTE: Duration = Duration::from_secs(60);

fn due_in_the_last_minute(name: &'static str) -> Function<u64> {
    let function = builder(name).tiers([Level::L2]).jitter(0).tags(["t"]);
    let function = function.refresh_ahead(MINUTE).stale_while_revalidate(HOUR);
    function.build().unwrap()
}

async fn until_counted(here: &Instance, function: &Function<u64>, counted: [u64; 2]) {
    until("the load has begun or failed", || {
        let stats = function_stats(here, function.name());
        stats.is_some_and(|stats| [stats.refreshes, stats.refresh_errors] == counted)
    })
    .await;
}

/// Makes a call that joins the load, and returns how it is answered.
async fn join(here: &Instance, function: &Function<u64>) -> CallOutcome {
    let waits = || function_stats(here, function.name()).unwrap().waits;
    let before = waits();
    let call = function.get_or_load_late((1,), || async { 8 });
    let (value, traces) = here.call(CacheRuntime::traced(call)).await;
    assert_eq!((value, waits()), (7, before + 1), "{traces:?}");
    traces[0].outcome
}

#[tokio::test]
async fn value_of_a_load_under_way_is_fresh_until_it_is_expired_and_answers_each_call() {
    let (tier, clock) = (FakeTier::shared_with_ledger(24 * HOUR), TestClock::new());
    let tiers = CacheRuntime::builder().l2(ClockedTier::new(tier.clone(), &clock));
    let here = Instance::build(tiers.clock(clock.of_runtimes())).await;
    tier.prove();
    let function = due_in_the_last_minute("explain::replaced");
    load(&here, &function, 7).await;
    clock.advance(HOUR - MINUTE / 2);
    let call = function.get_or_load_late((1,), pending::<u64>);
    assert_eq!(here.call(call).await, 7);
    until_counted(&here, &function, [1, 0]).await;
    assert_next(&explain(&here, &function).await, answered(Level::L2, &[]));
    assert_eq!(join(&here, &function).await, CallOutcome::Hit);

    tier.let_through();
    here.invalidate(expire!(tag "t")).await;
    let by_l2 = stale(Level::L2, StaleReason::Revalidated);
    assert_next(&explain(&here, &function).await, by_l2);
    assert_eq!(join(&here, &function).await, CallOutcome::Stale);
}

#[tokio::test]
async fn due_record_whose_key_is_backed_off_begins_no_load() {
    let (server, clock) = (Server::start(), TestClock::new());
    let function = due_in_the_last_minute("explain::due_backed_off");
    let redis = ClockedTier::new(Redis::new(server.url()), &clock);
    let tiers = CacheRuntime::builder().l2(redis);
    let here = Instance::build(tiers.clock(clock.of_runtimes())).await;
    here.until_coherent().await;
    load(&here, &function, 7).await;
    server.until_records(1).await;
    clock.advance(HOUR - MINUTE / 2);
    let failing = function.get_or_load_late((1,), || async { Err::<u64, _>("down") });
    assert_eq!(here.call(failing).await, Ok(7));
    until_counted(&here, &function, [1, 1]).await;
    until("the key is backed off", || here.loads_under_way() == 0).await;
    let explained = testbed::until_ok("the key is backed off", async || {
        let explained = explain(&here, &function).await;
        match explained.to_string().contains("backed off") {
            true => Ok(explained),
            false => Err(explained),
        }
    });
    let begins_no_load = |next: &NextCall| {
        matches!(
            next,
            NextCall::Answered {
                by: Level::L2,
                stale: None,
                begins_load: false,
                ..
            }
        )
    };
    assert_next(&explained.await, begins_no_load);
}
