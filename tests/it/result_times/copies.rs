//! Copies of a value with a ttl of its own: none lives longer than the value may.

use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Level, ManualClock, Memory, Promotion, TierConfig, caching, multi_tier_cached,
};
use testbed::counts::tier_stats;
use testbed::server::Server;
use testbed::{Instance, Truth, until};

use super::{assert_life, assert_life_of_record, life_of_record, redis, seconds, with_redis};

const LIFE: Duration = seconds(100);

/// The value is the number of seconds for which it is kept. Without one, the body says it.
#[multi_tier_cached(
    ttl = "1h",
    jitter = "0%",
    ttl_from = |value: &u64| Duration::from_secs(*value),
    skip(truth)
)]
async fn read(truth: &Truth, value: u64) -> u64 {
    truth.read();
    if value == 0 {
        assert!(caching::keep_for(LIFE));
    }
    value
}

/// Two instances that share a near and a far tier, whose scales lengthen lives.
struct Pair {
    near: Server,
    far: Server,
    here: Instance,
    there: Instance,
    clock_there: ManualClock,
}

impl Pair {
    async fn new() -> Self {
        let (near, far) = (Server::start(), Server::start());
        let clock_there = ManualClock::new();
        let instance = async |clock: &ManualClock| {
            let promoted = TierConfig::as_l4().promotion(Promotion::Always);
            let builder = CacheRuntime::builder()
                .l1(Memory::builder())
                .tier(redis(&near), TierConfig::as_l2().ttl_scale(4.0))
                .tier(redis(&far), promoted);
            let instance = Instance::build(builder.clock(clock)).await;
            let is_coherent = || {
                let tiers = instance.tiers();
                let mut tiers = tiers.iter();
                tiers.all(|tier| tier.health.coherent_for.is_some())
            };
            until("both tiers are coherent", is_coherent).await;
            instance
        };
        let here = instance(&ManualClock::new()).await;
        let there = instance(&clock_there).await;
        Self {
            near,
            far,
            here,
            there,
            clock_there,
        }
    }
}

#[tokio::test]
async fn copies_of_a_value_live_no_longer_than_the_value_whatever_the_scales() {
    for value in [100, 0] {
        let (pair, truth) = (Pair::new().await, Truth::new());
        assert_eq!(pair.here.call(read(&truth, value)).await, value);
        pair.near.until_records(1).await;
        pair.far.until_records(1).await;
        assert_life_of_record(&pair.near, LIFE * 4);
        assert_life_of_record(&pair.far, LIFE * 8);
        let _: u64 = pair.near.command(&["DEL", &pair.near.records()[0]]);

        let call = async || {
            assert_eq!(pair.there.call(read(&truth, value)).await, value);
        };
        call().await;
        let promotions = || {
            let stats = tier_stats(&pair.there, "copies::read", Level::L2);
            stats.map_or(0, |tier| tier.promotions)
        };
        until("the record is promoted", || promotions() == 1).await;
        let life = life_of_record(&pair.near);
        assert!(life <= LIFE, "the copy in the near tier lives for {life:?}");

        // A copy that is made later, of the copy.
        let clock = ManualClock::new();
        let third = with_redis(&pair.near, 4.0, &clock).await;
        assert_eq!(third.call(read(&truth, value)).await, value);
        let hits = || tier_stats(&third, "copies::read", Level::L1).map_or(0, |tier| tier.hits);
        clock.advance(LIFE);
        assert_eq!(third.call(read(&truth, value)).await, value);
        assert_eq!(hits(), 0, "the copy in memory outlives the value");

        let l1 = || tier_stats(&pair.there, "copies::read", Level::L1).map_or(0, |tier| tier.hits);
        pair.clock_there.advance(LIFE - seconds(20));
        call().await;
        assert_eq!(l1(), 1, "the copy in memory");
        pair.clock_there.advance(seconds(20));
        call().await;
        assert_eq!(l1(), 1, "the copy in memory outlives the value");
        assert_eq!(truth.reads(), 1);
    }
}

/// The value lives in the tier for as long as it says, and its copies for the ttl of the function
/// at most, which operators can change.
#[tokio::test]
async fn copy_of_a_value_lives_no_longer_than_the_ttl_of_the_function() {
    #[multi_tier_cached(
        ttl = "100s",
        jitter = "0%",
        ttl_from = |_: &u64| Duration::from_secs(3_600),
        skip(truth)
    )]
    async fn long(truth: &Truth) -> u64 {
        truth.read()
    }

    let (server, truth) = (Server::start(), Truth::new());
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    here.call(long(&truth)).await;
    server.until_records(1).await;
    assert_life_of_record(&server, seconds(3_600));
    let clock = ManualClock::new();
    let there = with_redis(&server, 1.0, &clock).await;
    let l2 = || tier_stats(&there, "copies::long", Level::L2).map_or(0, |tier| tier.hits);
    let call = async || {
        there.call(long(&truth)).await;
    };
    call().await;
    assert_life("a copy", LIFE, &clock, l2, call).await;
    assert_eq!(truth.reads(), 1);
}

#[tokio::test]
async fn value_lives_in_memory_for_its_ttl_where_the_tier_of_memory_scales_it_down() {
    let (truth, clock) = (Truth::new(), ManualClock::new());
    let scaled = TierConfig::as_l1().ttl_scale(0.5);
    let builder = CacheRuntime::builder().tier(Memory::builder(), scaled);
    let here = Instance::build(builder.clock(&clock)).await;
    let call = async || {
        here.call(read(&truth, 100)).await;
    };
    call().await;
    assert_life("half of it", LIFE / 2, &clock, || truth.reads(), call).await;
}
