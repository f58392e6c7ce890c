//! The traces of calls during an outage of the tier below memory.

use multi_tier_cached::{CacheRuntime, CallOutcome, Level, ManualClock, Memory, WhenIsolated};
use testbed::Instance;
use testbed::counts::function_stats;
use testbed::fake_tier::FakeTier;

use super::{HOUR, assert_trace, builder, trace_of};

#[tokio::test]
async fn memory_that_answers_during_an_outage_is_named_after_the_tier_that_failed() {
    let tier = FakeTier::shared(HOUR);
    let tiers = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(tiers.l2(tier.clone())).await;
    tier.prove();
    let function = builder("call_traces::isolated").when_isolated(WhenIsolated::Serve);
    let function = function.build().unwrap();
    here.call(function.get_or_load((1,), async || 1)).await;
    tier.revoke();
    tier.break_down();
    let trace = trace_of(&here, function.get_or_load((1,), async || 2)).await;
    assert_trace(
        &trace,
        CallOutcome::Hit,
        Some(Level::L1),
        &["l2 read: error"],
    );
}

#[tokio::test]
async fn stale_value_of_memory_during_an_outage_is_stale_and_a_peek_counts_nothing() {
    let (tier, clock) = (FakeTier::shared(HOUR), ManualClock::new());
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(tiers.l2(tier.clone())).await;
    tier.prove();
    let function = builder("call_traces::stale_outage").when_isolated(WhenIsolated::Serve);
    let function = function.stale_if_error(HOUR).build().unwrap();
    here.call(function.get_or_load((1,), async || 1)).await;
    clock.advance(HOUR + HOUR / 2);
    tier.revoke();
    tier.break_down();
    let failing = async || Err::<u64, _>("down");
    let failed = trace_of(&here, function.get_or_load((1,), failing)).await;
    assert_eq!(failed.outcome, CallOutcome::Loaded);
    let backed_off = || function_stats(&here, "call_traces::stale_outage").map(|it| it.backed_off);
    assert_eq!(here.call(function.entry((1,)).peek()).await, Some(1));
    assert_eq!(backed_off(), Some(0));
    let trace = trace_of(&here, function.get_or_load((1,), failing)).await;
    let read = ["l2 read: error"];
    assert_trace(&trace, CallOutcome::Stale, Some(Level::L1), &read);
    assert_eq!(backed_off(), Some(1));
}
