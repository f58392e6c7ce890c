//! Promotion: a value that is found in a lower tier is copied to the tiers above it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Level, ManualClock, Memory, Promotion, Redis, TierConfig, invalidate,
    multi_tier_cached,
};
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::until;

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

fn hits(runtime: &CacheRuntime, level: Level) -> u64 {
    runtime.stats().functions[0].tier(level).unwrap().hits
}

fn promotions(runtime: &CacheRuntime) -> u64 {
    let stats = runtime.stats();
    stats.functions[0].tier(Level::L2).unwrap().promotions
}

/// Remaining life in milliseconds of the only record on `server`.
fn life_of_record(server: &Server) -> u64 {
    server.command(&["PTTL", &server.records()[0]])
}

/// Two instances that share a near and a far tier.
struct Pair {
    near: Server,
    far: Server,
    here: CacheRuntime,
    there: CacheRuntime,
}

impl Pair {
    async fn new(promotion: Promotion) -> Self {
        let (near, far) = (Server::start(), Server::start());
        let instance = || {
            CacheRuntime::builder()
                .l1(Memory::builder())
                // The scale applies to what a load stores here, and not to what is copied here.
                .tier(Redis::new(near.url()), TierConfig::as_l2().ttl_scale(4.0))
                .tier(
                    Redis::new(far.url()).time_limit(Duration::from_secs(2)),
                    TierConfig::as_l4().promotion(promotion),
                )
                .build()
        };
        let (here, there) = (instance().await.unwrap(), instance().await.unwrap());
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
    #[multi_tier_cached(ttl = "100s")]
    async fn copied(_key: u64) -> u64 {
        COPIED.fetch_add(1, Ordering::SeqCst)
    }
    static COPIED: AtomicU64 = AtomicU64::new(1);

    let pair = Pair::new(Promotion::Always).await;
    assert_eq!(on(&pair.here, copied(1)).await, 1);
    pair.remove_from_near().await;
    assert_eq!(on(&pair.there, copied(1)).await, 1);
    pair.promoted().await;
    let life = life_of_record(&pair.near);
    assert!((94_000..=100_000).contains(&life), "{life}");
    assert_eq!(on(&pair.there, copied(1)).await, 1);
    let found = (hits(&pair.there, Level::L1), hits(&pair.there, Level::L4));
    assert_eq!(found, (1, 1), "{}", pair.there.stats());
}

#[tokio::test]
async fn copy_in_memory_lives_for_the_ttl_without_the_scale_of_memory() {
    #[multi_tier_cached(ttl = "100s")]
    async fn scaled(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let clock = ManualClock::new();
    let instance = || {
        CacheRuntime::builder()
            .tier(Memory::builder(), TierConfig::as_l1().ttl_scale(4.0))
            .tier(Redis::new(server.url()), TierConfig::as_l2().ttl_scale(8.0))
            .clock(&clock)
            .build()
    };
    let (here, there) = (instance().await.unwrap(), instance().await.unwrap());
    on(&here, scaled(1)).await;
    on(&there, scaled(1)).await;
    clock.advance(Duration::from_secs(100));
    on(&here, scaled(1)).await;
    on(&there, scaled(1)).await;
    let found = |runtime| (hits(runtime, Level::L1), hits(runtime, Level::L2));
    assert_eq!(found(&here), (1, 0), "the load:\n{}", here.stats());
    assert_eq!(found(&there), (0, 2), "the copy:\n{}", there.stats());
}

#[tokio::test]
async fn copy_in_the_near_tier_lives_no_longer_than_the_record_it_was_made_from() {
    #[multi_tier_cached(ttl(l1 = "1h", l2 = "1h", l4 = "1s"))]
    async fn short_below(key: u64) -> u64 {
        key
    }

    let pair = Pair::new(Promotion::Always).await;
    on(&pair.here, short_below(1)).await;
    pair.remove_from_near().await;
    assert_eq!(on(&pair.there, short_below(1)).await, 1);
    pair.promoted().await;
    // The level l4 scales its ttl of one second by eight.
    let life = life_of_record(&pair.near);
    assert!((1..=8_000).contains(&life), "{life}");
}

#[tokio::test]
async fn value_is_not_promoted_when_promotion_is_never() {
    #[multi_tier_cached(ttl = "100s")]
    async fn unpromoted(key: u64) -> u64 {
        key
    }

    let pair = Pair::new(Promotion::Never).await;
    on(&pair.here, unpromoted(1)).await;
    pair.remove_from_near().await;
    for call in 1..4 {
        assert_eq!(on(&pair.there, unpromoted(1)).await, 1);
        let stats = pair.there.stats();
        assert_eq!(hits(&pair.there, Level::L4), call, "call {call}\n{stats}");
    }
    assert_eq!(promotions(&pair.there), 0, "{}", pair.there.stats());
    assert_eq!(pair.near.records(), [""; 0]);
}

#[tokio::test]
async fn every_third_hit_is_promoted_when_promotion_is_one_in_three() {
    #[multi_tier_cached(ttl = "100s")]
    async fn every_third(key: u64) -> u64 {
        key
    }

    let pair = Pair::new(Promotion::OneIn(3)).await;
    on(&pair.here, every_third(1)).await;
    pair.remove_from_near().await;
    for call in 1..=3 {
        assert_eq!(pair.near.records(), [""; 0], "before call {call}");
        on(&pair.there, every_third(1)).await;
    }
    pair.promoted().await;
}

#[tokio::test]
async fn damaged_record_in_the_near_tier_is_replaced_by_a_copy() {
    #[multi_tier_cached(ttl = "100s")]
    async fn damaged(key: u64) -> u64 {
        key
    }

    let pair = Pair::new(Promotion::Always).await;
    on(&pair.here, damaged(1)).await;
    until("both tiers are filled", || {
        pair.near.records().len() == 1 && pair.far.records().len() == 1
    })
    .await;
    let record = pair.near.records().remove(0);
    let _: () = pair.near.command(&["SET", &record, "no record"]);
    on(&pair.there, damaged(1)).await;
    pair.promoted().await;
}

/// The copy holds a lease in the near tier and has read the record of the far one when the
/// invalidation comes.
#[tokio::test]
async fn copy_in_progress_is_not_kept_when_its_key_or_function_is_invalidated() {
    #[multi_tier_cached(ttl = "100s")]
    async fn overtaken(_key: u64) -> u64 {
        OVERTAKEN.load(Ordering::SeqCst)
    }
    static OVERTAKEN: AtomicU64 = AtomicU64::new(1);

    for whole_function in [false, true] {
        OVERTAKEN.store(1, Ordering::SeqCst);
        let near = Server::start();
        let far = FakeTier::shared(Duration::from_secs(3_600));
        far.prove();
        let instance = || {
            CacheRuntime::builder()
                .l1(Memory::builder())
                .l2(Redis::new(near.url()))
                .tier(
                    far.clone(),
                    TierConfig::as_l4().promotion(Promotion::Always),
                )
                .build()
        };
        let (here, there) = (instance().await.unwrap(), instance().await.unwrap());
        assert_eq!(on(&here, overtaken(1)).await, 1);
        until("both tiers are filled", || {
            near.records().len() == 1 && far.len() == 1
        })
        .await;
        let _: u64 = near.command(&["DEL", &near.records()[0]]);

        // The far tier is read twice: by the call, and by the copy under its lease.
        far.hold_read(HeldAt::ReadOptions).release();
        let copy = far.hold_read(HeldAt::Answer);
        assert_eq!(on(&there, overtaken(1)).await, 1);
        until("the copy has read the record", || copy.is_reached()).await;
        OVERTAKEN.store(2, Ordering::SeqCst);
        far.let_through();
        let invalidation = on(&here, async {
            if whole_function {
                invalidate!(overtaken).await
            } else {
                invalidate!(overtaken, 1).await
            }
        });
        assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
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
        assert_eq!(promotions(&there), 0, "{}", there.stats());
        let third = CacheRuntime::builder()
            .l2(Redis::new(near.url()))
            .build()
            .await
            .unwrap();
        assert_eq!(on(&third, overtaken(1)).await, 2, "{}", third.stats());
    }
}

/// The far tier is unreachable for the invalidation, so another instance still finds the record
/// there and copies it up.
#[tokio::test]
async fn copy_made_while_its_invalidation_is_queued_is_invalidated_with_its_source() {
    #[multi_tier_cached(ttl = "100s")]
    async fn queued(_key: u64) -> u64 {
        QUEUED.load(Ordering::SeqCst)
    }
    static QUEUED: AtomicU64 = AtomicU64::new(1);

    let (near, far) = (Server::start(), Server::start());
    let proxy = Proxy::to(far.port()).await;
    let instance = |far: String| {
        CacheRuntime::builder()
            .l2(Redis::new(near.url()))
            .l4(Redis::new(far))
            .build()
    };
    let here = instance(proxy.url()).await.unwrap();
    let there = instance(far.url()).await.unwrap();
    assert_eq!(on(&here, queued(1)).await, 1);
    until("both tiers are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    proxy.set(NetworkFault::Cut);
    until("the first instance has lost the far tier", || {
        !here.tiers()[1].health.connected
    })
    .await;
    QUEUED.store(2, Ordering::SeqCst);
    let receipt = on(&here, async { invalidate!(queued, 1).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Queued);
    assert_eq!(
        on(&there, queued(1)).await,
        1,
        "the other instance cannot know of the invalidation yet"
    );
    until("the record is promoted", || near.records().len() == 1).await;
    assert_eq!(
        on(&here, queued(1)).await,
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
    assert_eq!(on(&there, queued(1)).await, 2, "{}", there.stats());
}
