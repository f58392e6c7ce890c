//! `cache.background`, and calls that are answered before their load ends.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, LoadTimeout, ManualClock, Memory, TierConfig};
use testbed::fake_tier::FakeTier;
use testbed::spans::Spans;
use testbed::{Gate, Instance, until};
use tracing::{Instrument, Level};

use super::{HOUR, builder};

#[derive(Clone, Debug)]
struct TooLate;

impl From<LoadTimeout> for TooLate {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[tokio::test]
async fn load_in_the_background_is_a_root_that_follows_from_the_span_of_its_caller() {
    let clock = ManualClock::new();
    let memory = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(memory).await;
    let function = builder("traces::revalidated").stale_while_revalidate(HOUR);
    let function = function.build().unwrap();
    let call = |value| function.get_or_load_late((1_u64,), move || async move { value });
    assert_eq!(here.call(call(1)).await, 1);
    clock.advance(HOUR + HOUR / 2);
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let around = tracing::info_span!(target: "shop", "request");
    assert_eq!(here.call(call(2)).instrument(around).await, 1);
    until("the load has ended", || {
        spans.names().len() == 3 && spans.are_closed()
    })
    .await;
    assert_eq!(spans.names(), ["request", "cache.background", "cache.load"]);
    let (background, load) = (spans.only("cache.background"), spans.only("cache.load"));
    assert_eq!((background.parent, &*background.causes), (None, &[0][..]));
    assert_eq!(background.field("work"), "load");
    assert_eq!(background.field("cache.function"), "traces::revalidated");
    assert_eq!(load.parent, Some(1));
    assert_eq!(load.field("outcome"), "value");
}

#[tokio::test(start_paused = true)]
async fn call_that_is_answered_before_its_load_says_so() {
    let here = Instance::with_memory().await;
    let second = Duration::from_secs(1);
    let function = Function::<u64>::builder("traces::late").ttl(HOUR);
    let function = function.hard_timeout(second).build().unwrap();
    let gate = Arc::new(Gate::new());
    let passed = Arc::clone(&gate);
    let body = move || async move {
        passed.pass().await;
        Ok::<_, TooLate>(1)
    };
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let call = here.call(function.get_or_load_late((1_u64,), body)).await;
    call.unwrap_err();
    let get = spans.only("cache.get");
    assert_eq!(
        (get.field("outcome"), get.field("cache.hit")),
        ("timed_out", "false")
    );
    let background = spans.only("cache.background");
    assert_eq!((background.parent, &*background.causes), (None, &[0][..]));
    gate.open();
    until("the load has ended", || spans.are_closed()).await;
    assert_eq!(spans.only("cache.load").field("outcome"), "value");
    assert_eq!(spans.only("cache.get").field("outcome"), "timed_out");
}

#[tokio::test]
async fn call_of_a_late_function_has_the_spans_of_any_call() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let function = builder("traces::in_time").stale_while_revalidate(HOUR);
    let function = function.build().unwrap();
    here.call(function.get_or_load_late((1_u64,), || async { 1 }))
        .await;
    assert_eq!(spans.names(), ["cache.get", "cache.load"]);
    assert_eq!(spans.only("cache.get").field("outcome"), "loaded");
    assert_eq!(spans.only("cache.load").parent, Some(0));
    assert!(spans.are_closed());
}

#[tokio::test]
async fn promotion_is_a_root_that_follows_from_the_call() {
    let (near, far) = (FakeTier::new(), FakeTier::new());
    let build = async || {
        let tiers = CacheRuntime::builder().l2(near.clone());
        Instance::build(tiers.tier(far.clone(), TierConfig::as_l3())).await
    };
    let function = Function::<u64>::builder("traces::promoted").ttl(HOUR);
    let function = function.build().unwrap();
    let here = build().await;
    let call = || function.get_or_load((1_u64,), async || 1);
    here.call(call()).await;
    until("both tiers have the record", || near.len() + far.len() == 2).await;
    near.empty();
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    here.call(call()).await;
    until("the record is copied", || {
        !near.is_empty() && spans.are_closed()
    })
    .await;
    let promotion = spans.only("cache.background");
    assert_eq!((promotion.level, promotion.parent), (Level::TRACE, None));
    assert_eq!(promotion.field("work"), "promotion");
    assert_eq!(promotion.causes, [0]);
    assert_eq!(spans.only("cache.get").field("cache.tier"), "l3");
}
