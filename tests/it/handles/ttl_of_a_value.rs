//! `put_for` and `ttl_from`: a value with a ttl of its own.

use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, ErrorKind, Level, ManualClock, Memory, Redis, TierConfig, multi_tier_cached,
};
use testbed::server::Server;
use testbed::{Instance, assert_tier, until_ok};

#[multi_tier_cached(ttl = "1h")]
async fn loaded(_id: u64) -> u64 {
    unreachable!("every value of these tests is put")
}

/// An instance whose clock is set by the test, with a shared tier that scales every ttl.
async fn instance(server: &Server, clock: &ManualClock, scale: f64) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder()).tier(
        Redis::new(server.url()),
        TierConfig::as_l2().ttl_scale(scale),
    );
    Instance::build(builder.clock(clock)).await
}

fn hits(instance: &Instance) -> u64 {
    let stats = instance.stats();
    stats.functions[0].tier(Level::L1).unwrap().hits
}

#[tokio::test]
async fn value_put_with_a_ttl_lives_for_it_in_memory_and_for_the_scaled_ttl_below() {
    let server = Server::start();
    let clock = ManualClock::new();
    let here = instance(&server, &clock, 2.0).await;
    let put = async |value, ttl| {
        let put = here.call(async { loaded::entry(77).put_for(value, ttl).await });
        put.await
    };
    // The put's own message on the channel voids the value in memory if it arrives after the value
    // was stored there.
    until_ok("memory has the value that was put", async || {
        put(5, Duration::from_secs(10)).await.unwrap();
        let before = hits(&here);
        assert_eq!(here.call(loaded(77)).await, 5);
        (hits(&here) > before)
            .then_some(())
            .ok_or("the value was voided")
    })
    .await;
    let life: u64 = server.command(&["PTTL", &server.records()[0]]);
    assert!((19_000 - 500..=20_000).contains(&life), "{life}");
    let before = hits(&here);
    clock.advance(Duration::from_secs(9));
    assert_eq!(here.call(loaded(77)).await, 5);
    assert_tier(&here, "loaded", Level::L1, |tier| tier.hits, before + 1).await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(here.call(loaded(77)).await, 5, "Redis has it for longer");
    assert_tier(&here, "loaded", Level::L1, |tier| tier.hits, before + 1).await;
}

#[tokio::test]
async fn put_with_a_ttl_of_zero_or_without_end_is_refused_and_leaves_the_value() {
    let server = Server::start();
    let here = instance(&server, &ManualClock::new(), 1.0).await;
    let put = async |value, ttl| {
        let put = here.call(async { loaded::entry(79).put_for(value, ttl).await });
        put.await
    };
    put(5, Duration::from_secs(10)).await.unwrap();
    for wrong in [Duration::ZERO, Duration::MAX] {
        let error = put(6, wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
    assert_eq!(here.call(loaded(79)).await, 5);
}

/// The shared tier has the value for longer, because it scales the ttl.
#[tokio::test]
async fn copy_of_a_value_put_with_a_ttl_lives_in_memory_no_longer_than_that_ttl() {
    let server = Server::start();
    let there = instance(&server, &ManualClock::new(), 8.0).await;
    let put = async { loaded::entry(78).put_for(5, Duration::from_secs(10)).await };
    there.call(put).await.unwrap();
    let clock = ManualClock::new();
    let here = instance(&server, &clock, 8.0).await;
    for (seconds, hits) in [(0, 0), (9, 1), (1, 1)] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(here.call(loaded(78)).await, 5);
        assert_tier(&here, "loaded", Level::L1, |tier| tier.hits, hits).await;
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", ttl_from = |seconds: &u64| Duration::from_secs(*seconds))]
async fn timed(_id: u64) -> Option<u64> {
    None
}

#[tokio::test]
async fn value_that_is_put_lives_for_its_ttl_from_unless_put_for_says_otherwise() {
    let clock = ManualClock::new();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.clock(&clock)).await;
    let put = async |value| here.call(async { timed::entry(1).put(value).await }).await;
    let get = async || here.call(timed(1)).await;
    put(5).await.unwrap();
    clock.advance(Duration::from_secs(4));
    assert_eq!(get().await, Some(5));
    clock.advance(Duration::from_secs(1));
    assert_eq!(get().await, None, "the ttl of the value has passed");
    let longer = async { timed::entry(1).put_for(5, Duration::from_secs(9)).await };
    here.call(longer).await.unwrap();
    clock.advance(Duration::from_secs(8));
    assert_eq!(get().await, Some(5));
    put(0).await.unwrap();
    assert_eq!(get().await, None, "a value without a life is not kept");
    put(u64::MAX).await.unwrap();
    clock.advance(Duration::from_secs(364 * 24 * 60 * 60));
    assert_eq!(get().await, Some(u64::MAX));
    clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(get().await, None, "no value lives for more than 365 days");
}
