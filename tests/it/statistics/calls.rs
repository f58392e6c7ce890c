//! Counters of calls that get a stale value, and of invalidations and expiries.

use std::future::pending;

use multi_tier_cached::caching;
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::fake_tier::FakeTier;
use testbed::{Instance, poll_once};

use super::*;

/// The failure comes after the look-up of a call that waits. The flight for which it waits was
/// replaced by that of the refresh, so it learns of the failure when it leads a flight itself.
#[tokio::test]
async fn call_that_is_backed_off_after_its_look_up_is_counted() {
    let clock = ManualClock::new();
    let runtime = runtime(&clock).await;
    let function = Function::<u64>::builder("statistics::backed_off")
        .ttl(SECOND)
        .stale_if_error(SECOND * 60)
        .build()
        .unwrap();
    let hung = || async { pending::<Result<u64, Failed>>().await };
    let unused = || async { panic!("the key is backed off") };
    let test = async {
        let call = function.get_or_load((1,), || async { Ok::<u64, Failed>(1) });
        assert_eq!(call.await, Ok(1));
        clock.advance(SECOND);
        let mut first = Box::pin(function.get_or_load((1,), hung));
        assert!(poll_once(&mut first).is_pending());
        let mut second = Box::pin(function.get_or_load((1,), unused));
        assert!(poll_once(&mut second).is_pending());
        let entry = function.entry((1,));
        let fails = || async {
            caching::failed();
            2_u64
        };
        assert_eq!(entry.refresh(fails).await, 2);
        drop(first);
        let stale: Result<u64, Failed> = second.await;
        assert_eq!(stale, Ok(1));
    };
    CacheRuntime::scope(runtime.clone(), test).await;
    assert_eq!(stats(&runtime).backed_off, 1, "{}", runtime.stats());
}

/// Two instances with one tier below memory. Their function has the stale value 1 there, which the
/// second instance has not read.
async fn stale_elsewhere(function: &Function<u64>) -> [Instance; 2] {
    let (tier, clock) = (FakeTier::shared(SECOND * 3_600), TestClock::new());
    let instance = || {
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let builder = builder.l2(ClockedTier::new(tier.clone(), &clock));
        Instance::build(builder.clock(clock.of_runtimes()))
    };
    let (here, there) = (instance().await, instance().await);
    tier.prove();
    here.call(function.get_or_load((1,), || async { 1_u64 }))
        .await;
    until("the tier is filled", || tier.len() == 1).await;
    clock.advance(SECOND);
    [here, there]
}

fn below_memory(instance: &Instance, name: &str) -> (u64, u64, u64) {
    let tier = tier_stats(instance, name, Level::L2).unwrap();
    (tier.hits, tier.stale_hits, tier.misses)
}

#[tokio::test]
async fn stale_value_of_a_tier_below_memory_is_a_stale_hit_there() {
    let name = "statistics::stale_below";
    let builder = Function::<u64>::builder(name).ttl(SECOND);
    let function = builder.stale_while_revalidate(SECOND * 60).build().unwrap();
    let [_, there] = stale_elsewhere(&function).await;
    let call = function.get_or_load_late((1,), || async { Ok::<u64, Failed>(2) });
    assert_eq!(there.call(call).await, Ok(1));
    // The load in the background is no call.
    until("the load in the background has ended", || {
        stats(&there).refreshes == 1 && there.loads_under_way() == 0
    })
    .await;
    assert_eq!(below_memory(&there, name), (1, 1, 1));
    let memory = tier_stats(&there, name, Level::L1).unwrap();
    assert_eq!((memory.hits, memory.misses), (0, 1));
}

#[tokio::test]
async fn call_that_is_backed_off_by_a_failure_elsewhere_is_counted() {
    let name = "statistics::backed_off_elsewhere";
    let builder = Function::<u64>::builder(name).ttl(SECOND);
    let function = builder.stale_if_error(SECOND * 60).build().unwrap();
    let [here, there] = stale_elsewhere(&function).await;
    let call = async |instance: &Instance| {
        let failing = function.get_or_load((1,), || async { Err::<u64, _>(Failed) });
        assert_eq!(instance.call(failing).await, Ok(1));
        let stats = stats(instance);
        (stats.loads, stats.stale_on_error, stats.backed_off)
    };
    assert_eq!(call(&here).await, (2, 1, 0));
    assert_eq!(call(&there).await, (0, 0, 1));
    assert_eq!(below_memory(&there, name), (0, 0, 1));
}

#[tokio::test]
async fn invalidations_and_expiries_are_counted_by_scope() {
    let clock = ManualClock::new();
    let runtime = runtime(&clock).await;
    let builder = Function::<u64>::builder("statistics::scopes").ttl(SECOND);
    // Without a window, an expiry invalidates.
    let function = builder.stale_if_error(SECOND * 60).build().unwrap();
    let entry = function.entry((1,));
    let test = async {
        function.get_or_load((1,), || async { 1_u64 }).await;
        entry.invalidate().await.unwrap();
        entry.put(2).await.unwrap();
        function.invalidate_all().await.unwrap();
        let matching = runtime.invalidate_matching(function.name(), "*");
        matching.await.unwrap();
        entry.expire().await.unwrap();
        function.expire_all().await.unwrap();
    };
    CacheRuntime::scope(runtime.clone(), test).await;
    let stats = stats(&runtime);
    let scopes = &stats.invalidations_by_scope;
    assert_eq!((scopes.key, scopes.function, scopes.pattern), (2, 1, 1));
    let scopes = &stats.expiries_by_scope;
    assert_eq!((scopes.key, scopes.function), (1, 1));
}

#[tokio::test]
async fn strong_call_of_a_function_in_memory_alone_is_a_hit_or_a_miss() {
    let here = Instance::with_memory().await;
    let name = "statistics::strong_in_memory";
    let function = Function::<u64>::builder(name).ttl(SECOND * 60);
    let function = function.build().unwrap();
    let entry = function.entry((1,));
    for expected in [(0, 1), (1, 1)] {
        assert_eq!(here.call(entry.strong(|| async { 1_u64 })).await, 1);
        let memory = tier_stats(&here, name, Level::L1).unwrap();
        assert_eq!((memory.hits, memory.misses), expected);
    }
}

#[tokio::test]
async fn record_that_a_strong_call_passes_over_is_a_miss() {
    let (shared, private) = (FakeTier::shared(SECOND * 3_600), FakeTier::new());
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let builder = builder.l2(shared.clone()).l3(private.clone());
    let here = Instance::build(builder).await;
    shared.prove();
    let name = "statistics::passed_over";
    let function = Function::<u64>::builder(name).ttl(SECOND * 60);
    let function = function.build().unwrap();
    here.call(function.get_or_load((1,), || async { 1_u64 }))
        .await;
    until("the private tier is filled", || private.len() == 1).await;
    shared.empty();
    let entry = function.entry((1,));
    assert_eq!(here.call(entry.strong(|| async { 2_u64 })).await, 2);
    let tier = tier_stats(&here, name, Level::L3).unwrap();
    assert_eq!((tier.hits, tier.misses), (0, 2), "{tier:?}");
}

#[tokio::test]
async fn expired_result_that_there_is_no_value_is_a_miss() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let name = "statistics::expired_absence";
    let builder = Function::<u64>::builder(name).ttl(SECOND * 60);
    let builder = builder.tiers([Level::L2]).none_ttl(SECOND * 60);
    let function = builder.stale_if_error(SECOND * 60).build().unwrap();
    let call = async || {
        let call = function.get_or_load((1,), || async { None::<u64> });
        assert_eq!(here.call(call).await, None);
        let tier = tier_stats(&here, name, Level::L2).unwrap();
        (tier.hits, tier.misses)
    };
    assert_eq!(call().await, (0, 1));
    assert_eq!(call().await, (1, 1));
    here.call(function.entry((1,)).expire()).await.unwrap();
    assert_eq!(call().await, (1, 2));
}
