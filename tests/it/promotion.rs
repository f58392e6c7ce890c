//! Promotion: a value that is found in a lower tier is copied to the tiers above it.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Level, ManualClock, Memory, Promotion, Redis, TierConfig, invalidate,
    multi_tier_cached,
};
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{Instance, Truth, assert_count, assert_tier, until};

#[multi_tier_cached(ttl = "100s", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

async fn assert_hits(instance: &Instance, level: Level, expected: u64) {
    assert_tier(instance, "read", level, |tier| tier.hits, expected).await;
}

/// Number of records that an instance has copied to the near tier.
fn promotions(instance: &Instance) -> u64 {
    let stats = instance.stats();
    stats.functions[0].tier(Level::L2).unwrap().promotions
}

async fn assert_no_promotion(instance: &Instance) {
    assert_count("promotions", promotions(instance), 0, &[instance]).await;
}

/// Remaining life in milliseconds of the only record on `server`.
fn life_of_record(server: &Server) -> u64 {
    server.command(&["PTTL", &server.records()[0]])
}

/// Two instances that share a near and a far tier.
struct Pair {
    near: Server,
    far: Server,
    here: Instance,
    there: Instance,
}

impl Pair {
    async fn new(promotion: Promotion) -> Self {
        let (near, far) = (Server::start(), Server::start());
        let instance = || {
            let builder = CacheRuntime::builder()
                .l1(Memory::builder())
                // The scale applies to what a load stores here, and not to what is copied here.
                .tier(Redis::new(near.url()), TierConfig::as_l2().ttl_scale(4.0))
                .tier(
                    Redis::new(far.url()).time_limit(Duration::from_secs(2)),
                    TierConfig::as_l4().promotion(promotion),
                );
            Instance::build(builder)
        };
        let (here, there) = (instance().await, instance().await);
        Self {
            near,
            far,
            here,
            there,
        }
    }

    /// Waits until a load on the first instance has filled both tiers, and removes its record from
    /// the near one.
    async fn remove_from_near(&self) {
        until("both tiers are filled", || {
            self.near.records().len() == 1 && self.far.records().len() == 1
        })
        .await;
        let _: u64 = self.near.command(&["DEL", &self.near.records()[0]]);
    }

    async fn promoted(&self) {
        until("the record is promoted", || promotions(&self.there) == 1).await;
    }
}

#[tokio::test]
async fn value_found_in_the_far_tier_is_copied_to_the_near_tier_and_to_memory() {
    let truth = Truth::new();
    let pair = Pair::new(Promotion::Always).await;
    assert_eq!(pair.here.call(read(&truth, 1)).await, 1);
    pair.remove_from_near().await;
    truth.commit();
    assert_eq!(pair.there.call(read(&truth, 1)).await, 1);
    pair.promoted().await;
    let life = life_of_record(&pair.near);
    assert!((94_000..=100_000).contains(&life), "{life}");
    assert_eq!(pair.there.call(read(&truth, 1)).await, 1);
    assert_hits(&pair.there, Level::L1, 1).await;
    assert_hits(&pair.there, Level::L4, 1).await;
}

#[tokio::test]
async fn copy_in_memory_lives_for_the_ttl_without_the_scale_of_memory() {
    let truth = Truth::new();
    let server = Server::start();
    let clock = ManualClock::new();
    let instance = || {
        let builder = CacheRuntime::builder()
            .tier(Memory::builder(), TierConfig::as_l1().ttl_scale(4.0))
            .tier(Redis::new(server.url()), TierConfig::as_l2().ttl_scale(8.0));
        Instance::build(builder.clock(&clock))
    };
    let (loads, copies) = (instance().await, instance().await);
    loads.call(read(&truth, 1)).await;
    copies.call(read(&truth, 1)).await;
    clock.advance(Duration::from_secs(100));
    loads.call(read(&truth, 1)).await;
    copies.call(read(&truth, 1)).await;
    assert_hits(&loads, Level::L1, 1).await;
    assert_hits(&loads, Level::L2, 0).await;
    assert_hits(&copies, Level::L1, 0).await;
    assert_hits(&copies, Level::L2, 2).await;
}

#[tokio::test]
async fn copy_in_the_near_tier_lives_no_longer_than_the_record_it_was_made_from() {
    #[multi_tier_cached(ttl(l1 = "1h", l2 = "1h", l4 = "1s"))]
    async fn short_below(key: u64) -> u64 {
        key
    }

    let pair = Pair::new(Promotion::Always).await;
    pair.here.call(short_below(1)).await;
    pair.remove_from_near().await;
    assert_eq!(pair.there.call(short_below(1)).await, 1);
    pair.promoted().await;
    // The level l4 scales its ttl of one second by eight.
    let life = life_of_record(&pair.near);
    assert!((1..=8_000).contains(&life), "{life}");
}

#[tokio::test]
async fn value_is_not_promoted_when_promotion_is_never() {
    let truth = Truth::new();
    let pair = Pair::new(Promotion::Never).await;
    pair.here.call(read(&truth, 1)).await;
    pair.remove_from_near().await;
    for call in 1..4 {
        assert_eq!(pair.there.call(read(&truth, 1)).await, 1);
        assert_hits(&pair.there, Level::L4, call).await;
    }
    assert_no_promotion(&pair.there).await;
    assert_eq!(pair.near.records(), [""; 0]);
}

#[tokio::test]
async fn every_third_hit_is_promoted_when_promotion_is_one_in_three() {
    let truth = Truth::new();
    let pair = Pair::new(Promotion::OneIn(3)).await;
    pair.here.call(read(&truth, 1)).await;
    pair.remove_from_near().await;
    for call in 1..=3 {
        assert_eq!(pair.near.records(), [""; 0], "before call {call}");
        pair.there.call(read(&truth, 1)).await;
    }
    pair.promoted().await;
}

#[tokio::test]
async fn damaged_record_in_the_near_tier_is_replaced_by_a_copy() {
    let truth = Truth::new();
    let pair = Pair::new(Promotion::Always).await;
    pair.here.call(read(&truth, 1)).await;
    until("both tiers are filled", || {
        pair.near.records().len() == 1 && pair.far.records().len() == 1
    })
    .await;
    let record = pair.near.records().remove(0);
    let _: () = pair.near.command(&["SET", &record, "no record"]);
    pair.there.call(read(&truth, 1)).await;
    pair.promoted().await;
}

/// The copy holds a lease in the near tier and has read the record of the far one when the
/// invalidation comes.
#[tokio::test]
async fn copy_in_progress_is_not_kept_when_its_key_or_function_is_invalidated() {
    let truth = Truth::new();
    for whole_function in [false, true] {
        let version = truth.version();
        let near = Server::start();
        let far = FakeTier::shared(Duration::from_secs(3_600));
        far.prove();
        let instance = || {
            let promoted = TierConfig::as_l4().promotion(Promotion::Always);
            let builder = CacheRuntime::builder().l1(Memory::builder());
            let builder = builder.l2(Redis::new(near.url()));
            Instance::build(builder.tier(far.clone(), promoted))
        };
        let (here, there) = (instance().await, instance().await);
        assert_eq!(here.call(read(&truth, 1)).await, version);
        until("both tiers are filled", || {
            near.records().len() == 1 && far.len() == 1
        })
        .await;
        let _: u64 = near.command(&["DEL", &near.records()[0]]);

        // The far tier is read twice: by the call, and by the copy under its lease.
        far.hold_read(HeldAt::Request).release();
        let copy = far.hold_read(HeldAt::Answer);
        assert_eq!(there.call(read(&truth, 1)).await, version);
        until("the copy has read the record", || copy.is_reached()).await;
        truth.commit();
        far.let_through();
        let invalidation = match whole_function {
            true => invalidate!(read),
            false => invalidate!(read, &truth, 1),
        };
        assert_eq!(here.invalidate(invalidation).await, Receipt::Acked);
        let holds_lease = || near.keys().iter().any(|key| key.ends_with("#lease"));
        // An invalidation of the key voids the lease. One of the function leaves it, and the copy
        // gives it up when it sees that its source is not valid any more.
        assert_eq!(holds_lease(), whole_function, "{:?}", near.keys());
        copy.release();
        until("the copy has ended", || {
            let stats = there.stats();
            let refused = stats.functions[0].tier(Level::L2).unwrap().refused_fills;
            if whole_function {
                !holds_lease()
            } else {
                refused.lease == 1
            }
        })
        .await;
        assert_no_promotion(&there).await;
        let third = Instance::build(CacheRuntime::builder().l2(Redis::new(near.url()))).await;
        let value = third.call(read(&truth, 1)).await;
        assert_eq!(value, version + 1, "{}", third.stats());
    }
}

/// The far tier is unreachable for the invalidation, so another instance still finds the record
/// there and copies it up.
#[tokio::test]
async fn copy_made_while_its_invalidation_is_queued_is_invalidated_with_its_source() {
    let truth = Truth::new();
    let (near, far) = (Server::start(), Server::start());
    let proxy = Proxy::to(far.port()).await;
    let instance = |far: String| {
        let builder = CacheRuntime::builder().l2(Redis::new(near.url()));
        Instance::build(builder.l4(Redis::new(far)))
    };
    let here = instance(proxy.url()).await;
    let there = instance(far.url()).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    until("both tiers are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    proxy.set(NetworkFault::Cut);
    until("the first instance has lost the far tier", || {
        !here.tiers()[1].health.connected
    })
    .await;
    truth.commit();
    assert_eq!(
        here.invalidate(invalidate!(read, &truth, 1)).await,
        Receipt::Queued
    );
    assert_eq!(
        there.call(read(&truth, 1)).await,
        1,
        "the other instance cannot know of the invalidation yet"
    );
    until("the record is promoted", || near.records().len() == 1).await;
    assert_eq!(
        here.call(read(&truth, 1)).await,
        2,
        "an instance's own invalidation applies at once"
    );
    proxy.set(NetworkFault::Fair);
    until("the queued invalidation is sent", || {
        here.tiers()
            .iter()
            .all(|tier| tier.health.connected && tier.health.queued == 0)
    })
    .await;
    until("both tiers have lost the record", || {
        near.records().is_empty() && far.records().is_empty()
    })
    .await;
    assert_eq!(there.call(read(&truth, 1)).await, 2, "{}", there.stats());
}
