//! More than one tier below memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    BoxedTier, CacheRuntime, Disk, Function, IntoTier, Level, ManualClock, Memcached, Memory,
    Objects, Promotion, Redis, TierConfig, invalidate, multi_tier_cached,
};
use opendal::Operator;
use opendal::services::Fs;
use testbed::directory::Directory;
use testbed::fake_tier::FakeTier;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::until;
use tokio::time::{Instant, sleep, timeout};

/// By key: each test has its own.
static VERSIONS: [AtomicU64; 32] = [const { AtomicU64::new(1) }; 32];

#[multi_tier_cached(ttl = "100s")]
async fn read(key: u64) -> u64 {
    version_of(key).load(Ordering::SeqCst)
}

fn version_of(key: u64) -> &'static AtomicU64 {
    &VERSIONS[usize::try_from(key).unwrap() % VERSIONS.len()]
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

#[tokio::test]
async fn two_shared_tiers_are_asked_in_order_and_both_invalidated() {
    let (near, far) = (Server::start(), Server::start());
    let instance = || {
        CacheRuntime::builder()
            // In whatever order they are named.
            .tier(
                Redis::new(far.url()),
                TierConfig::new(Level::L4).ttl_scale(8.0),
            )
            .l2(Redis::new(near.url()))
            .l1(Memory::builder())
            .build()
    };
    let (here, there) = (instance().await.unwrap(), instance().await.unwrap());
    let levels: Vec<_> = here.tiers().iter().map(|tier| tier.level).collect();
    assert_eq!(levels, [Level::L2, Level::L4]);
    assert_eq!(on(&here, read(1)).await, 1);
    until("both are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    let life = |server: &Server| -> u64 {
        let record = server.records().remove(0);
        server.command(&["PTTL", &record])
    };
    assert!((94_000..=100_000).contains(&life(&near)));
    assert!((754_000..=800_000).contains(&life(&far)));
    // The near one has lost it.
    let record = near.records().remove(0);
    let _: u64 = near.command(&["DEL", &record]);
    assert_eq!(on(&there, read(1)).await, 1);
    let hits = |level| there.stats().functions[0].tier(level).unwrap().hits;
    assert_eq!((hits(Level::L2), hits(Level::L4)), (0, 1));
    version_of(1).store(2, Ordering::SeqCst);
    let receipt = on(&here, async { invalidate!(read, 1).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    assert_eq!((near.records().len(), far.records().len()), (0, 0));
    let invalidated = Instant::now();
    while on(&there, read(1)).await == 1 {
        assert!(invalidated.elapsed() < Duration::from_millis(500));
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn records_of_one_moment_do_not_die_at_one_moment() {
    let server = Server::start();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .build()
        .await
        .unwrap();
    for key in 100..120 {
        on(&here, read(key)).await;
    }
    until("all are filled", || server.records().len() == 20).await;
    let lives: Vec<u64> = server
        .records()
        .iter()
        .map(|record| server.command(&["PTTL", record]))
        .collect();
    let (first, last) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
    assert!((94_000..97_500).contains(first), "{first}");
    assert!((97_500..=100_000).contains(last), "{last}");
}

#[tokio::test]
async fn an_invalidation_that_is_dropped_comes_to_every_shared_tier() {
    let (near, far) = (Server::start(), Server::start());
    let here = CacheRuntime::builder()
        .l2(Redis::new(near.url()))
        .l4(Redis::new(far.url()).time_limit(Duration::from_secs(5)))
        .build()
        .await
        .unwrap();
    on(&here, read(9)).await;
    until("both are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    far.freeze();
    let invalidation = on(&here, async { invalidate!(read, 9).await });
    let dropped = timeout(Duration::from_millis(20), invalidation).await;
    assert!(
        dropped.is_err(),
        "the far one is asked first, and does not answer"
    );
    until("the near one is told", || near.records().is_empty()).await;
    far.thaw();
    until("the far one is told", || far.records().is_empty()).await;
}

/// Two instances that share a near and a far tier.
struct Pair {
    near: Server,
    far: Server,
    here: CacheRuntime,
    there: CacheRuntime,
    /// Between there and the far tier.
    proxy: Proxy,
}

impl Pair {
    async fn new(promotion: Promotion) -> Self {
        let (near, far) = (Server::start(), Server::start());
        let proxy = Proxy::to(far.port()).await;
        let instance = |near: String, far: String| {
            CacheRuntime::builder()
                .l1(Memory::builder())
                // What is written here lives for four times as long, and what is copied does not.
                .tier(Redis::new(near), TierConfig::as_l2().ttl_scale(4.0))
                .tier(
                    Redis::new(far).time_limit(Duration::from_secs(2)),
                    TierConfig::as_l4().promotion(promotion),
                )
                .build()
        };
        let here = instance(near.url(), far.url()).await.unwrap();
        let there = instance(near.url(), proxy.url()).await.unwrap();
        Self {
            near,
            far,
            here,
            there,
            proxy,
        }
    }

    /// The value is in the far tier alone, and in the memory of the first.
    async fn fill_far(&self, key: u64) -> u64 {
        let version = on(&self.here, read(key)).await;
        until("both are filled", || {
            self.near.records().len() == 1 && self.far.records().len() == 1
        })
        .await;
        let _: u64 = self.near.command(&["DEL", &self.near.records()[0]]);
        version
    }

    fn promotions(&self) -> u64 {
        let stats = self.there.stats();
        stats.functions[0].tier(Level::L2).unwrap().promotions
    }
}

#[tokio::test]
async fn what_is_found_below_is_copied_up() {
    let pair = Pair::new(Promotion::Always).await;
    let version = pair.fill_far(20).await;
    assert_eq!(on(&pair.there, read(20)).await, version);
    until("it is copied up", || pair.promotions() == 1).await;
    let life: u64 = pair.near.command(&["PTTL", &pair.near.records()[0]]);
    assert!((94_000..=100_000).contains(&life), "{life}");
    // From memory.
    assert_eq!(on(&pair.there, read(20)).await, version);
    let hits = |level| pair.there.stats().functions[0].tier(level).unwrap().hits;
    assert_eq!((hits(Level::L1), hits(Level::L4)), (1, 1));
}

#[tokio::test]
async fn a_copy_in_memory_lives_for_the_functions_own_time_whatever_its_scale() {
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
    on(&here, read(21)).await;
    on(&there, read(21)).await;
    clock.advance(Duration::from_secs(100));
    on(&here, read(21)).await;
    on(&there, read(21)).await;
    let hits = |runtime: &CacheRuntime, level| {
        let stats = runtime.stats();
        stats.functions[0].tier(level).unwrap().hits
    };
    assert_eq!((hits(&here, Level::L1), hits(&here, Level::L2)), (1, 0));
    assert_eq!((hits(&there, Level::L1), hits(&there, Level::L2)), (0, 2));
}

static SHORT: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl(l1 = "1h", l2 = "1h", l4 = "1s"))]
async fn short(_key: u64) -> u64 {
    SHORT.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test]
async fn a_copy_does_not_outlive_what_it_is_of() {
    let pair = Pair::new(Promotion::Always).await;
    on(&pair.here, short(1)).await;
    until("both are filled", || {
        pair.near.records().len() == 1 && pair.far.records().len() == 1
    })
    .await;
    let _: u64 = pair.near.command(&["DEL", &pair.near.records()[0]]);
    assert_eq!(on(&pair.there, short(1)).await, 0);
    until("it is copied up", || pair.promotions() == 1).await;
    // As l4 has it, eight seconds.
    let life: u64 = pair.near.command(&["PTTL", &pair.near.records()[0]]);
    assert!((1..=8_000).contains(&life), "{life}");
}

#[tokio::test]
async fn never_and_one_in_so_many() {
    let pair = Pair::new(Promotion::Never).await;
    let version = pair.fill_far(21).await;
    for hits in 1..4 {
        assert_eq!(on(&pair.there, read(21)).await, version);
        let far = pair.there.stats().functions[0]
            .tier(Level::L4)
            .unwrap()
            .hits;
        assert_eq!(far, hits, "it is in no tier above");
    }
    assert_eq!(pair.promotions(), 0);
    assert!(pair.near.records().is_empty());

    let pair = Pair::new(Promotion::OneIn(3)).await;
    pair.fill_far(22).await;
    for call in 1..=3 {
        assert!(pair.near.records().is_empty(), "call {call}");
        on(&pair.there, read(22)).await;
    }
    until("the third is copied up", || pair.promotions() == 1).await;
}

/// The copy is under way: the lease is taken, and the record on its way, when it is invalidated.
#[tokio::test]
async fn what_is_invalidated_while_it_is_copied_up_is_not_kept() {
    for delay in [5, 20, 50] {
        for all in [false, true] {
            let pair = Pair::new(Promotion::Always).await;
            let version = pair.fill_far(23).await;
            pair.proxy
                .set(NetworkFault::Delay(Duration::from_millis(delay)));
            assert_eq!(on(&pair.there, read(23)).await, version);
            until("the lease is taken", || {
                pair.near.keys().iter().any(|key| key.ends_with("#lease"))
            })
            .await;
            version_of(23).fetch_add(1, Ordering::SeqCst);
            let invalidation = on(&pair.here, async {
                if all {
                    invalidate!(read).await
                } else {
                    invalidate!(read, 23).await
                }
            });
            assert_eq!(invalidation.await.unwrap(), Receipt::Acked);
            // Longer than what is on its way.
            sleep(Duration::from_millis(delay * 4)).await;
            assert_eq!(pair.promotions(), 0);
            let third = CacheRuntime::builder()
                .l2(Redis::new(pair.near.url()))
                .build()
                .await
                .unwrap();
            assert_eq!(on(&third, read(23)).await, version + 1);
        }
    }
}

/// A tier that is told of nothing, under one that others share.
#[tokio::test]
async fn a_private_tier_does_not_bring_back_what_others_invalidated() {
    let server = Server::start();
    let shelves = [FakeTier::new(), FakeTier::new()];
    let instance = |fake_tier: &FakeTier| {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(Redis::new(server.url()))
            .l3(fake_tier.clone())
            .build()
    };
    let here = instance(&shelves[0]).await.unwrap();
    let there = instance(&shelves[1]).await.unwrap();
    let version = on(&here, read(30)).await;
    until("it is on the fake_tier", || shelves[0].len() == 1).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    let fresh_memory = |runtime: &CacheRuntime| {
        let runtime = runtime.clone();
        async move {
            let level = |level| runtime.stats().functions[0].tier(level).unwrap().hits;
            (level(Level::L2), level(Level::L3))
        }
    };
    assert_eq!(fresh_memory(&here).await, (0, 0));
    version_of(30).fetch_add(1, Ordering::SeqCst);
    shelves[1].let_through();
    let receipt = on(&there, async { invalidate!(read, 30).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    let invalidated = Instant::now();
    while on(&here, read(30)).await == version {
        assert!(invalidated.elapsed() < Duration::from_millis(500));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        fresh_memory(&here).await.1,
        0,
        "it was on the fake_tier still"
    );

    // What the fake_tier has from before a restart is not known to be current.
    until("it is on the fake_tier", || shelves[0].len() == 1).await;
    here.shutdown().await.unwrap();
    let _: () = server.command(&["FLUSHALL"]);
    version_of(30).fetch_add(1, Ordering::SeqCst);
    let next = instance(&shelves[0]).await.unwrap();
    assert_eq!(on(&next, read(30)).await, version + 2);
}

/// And answers where memory has evicted it.
#[tokio::test]
async fn a_private_tier_answers_under_a_shared_one() {
    let server = Server::start();
    let fake_tier = FakeTier::new();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    let version = on(&here, read(31)).await;
    until("it is on the fake_tier", || fake_tier.len() == 1).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    version_of(31).fetch_add(1, Ordering::SeqCst);
    assert_eq!(on(&here, read(31)).await, version, "nobody invalidated it");
    assert_eq!(here.stats().functions[0].tier(Level::L3).unwrap().hits, 1);
    // Longer than a copy takes.
    sleep(Duration::from_millis(100)).await;
    assert!(
        server.records().is_empty(),
        "by how much this instance is behind, others are not"
    );
}

/// The invalidation waits below, where another instance still finds the record and copies it up.
#[tokio::test]
async fn what_was_copied_up_while_its_invalidation_waited_below_goes_with_it() {
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
    let version = on(&here, read(14)).await;
    until("both are filled", || {
        near.records().len() == 1 && far.records().len() == 1
    })
    .await;
    proxy.set(NetworkFault::Cut);
    until("it is cut off", || !here.tiers()[1].health.connected).await;
    version_of(14).fetch_add(1, Ordering::SeqCst);
    let receipt = on(&here, async { invalidate!(read, 14).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Queued);
    assert_eq!(
        on(&there, read(14)).await,
        version,
        "it has not heard of it"
    );
    until("it is copied up", || near.records().len() == 1).await;
    assert_eq!(
        on(&here, read(14)).await,
        version + 1,
        "own invalidations count at once"
    );
    proxy.set(NetworkFault::Fair);
    until("nothing waits", || {
        here.tiers()
            .iter()
            .all(|tier| tier.health.connected && tier.health.queued == 0)
    })
    .await;
    until("the copy is gone", || {
        near.records().is_empty() && far.records().is_empty()
    })
    .await;
    assert_eq!(on(&there, read(14)).await, version + 1);
}

#[tokio::test]
async fn all_there_is_to_tell_is_one_piece() {
    let server = Server::start();
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .build()
        .await
        .unwrap();
    on(&here, read(5)).await;
    on(&here, read(5)).await;
    let snapshot = here.snapshot().await;
    let table = snapshot.to_string();
    assert!(table.contains("l2  redis      closed"), "{table}");
    assert!(table.contains("entries in memory: 1"), "{table}");
    let json = serde_json::to_value(&snapshot).unwrap();
    let function = &json["functions"][0];
    assert_eq!(function["tiers"][0]["level"], "l1");
    assert_eq!(function["tiers"][0]["hits"], 1);
    assert_eq!(
        (&json["tiers"][0]["breaker"], &function["loads"]),
        (&"closed".into(), &1.into())
    );
}

static STRONG: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "100s", consistency = "strong")]
async fn strong(_key: u64) -> u64 {
    STRONG.load(Ordering::SeqCst)
}

/// It may be behind by the bound.
#[tokio::test]
async fn a_strong_call_does_not_take_a_private_tiers_word() {
    let server = Server::start();
    let fake_tier = FakeTier::new();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    assert_eq!(on(&here, strong(1)).await, 1);
    until("it is on the fake_tier", || fake_tier.len() == 1).await;
    let _: u64 = server.command(&["DEL", &server.records()[0]]);
    STRONG.store(2, Ordering::SeqCst);
    let call = timeout(Duration::from_secs(10), on(&here, strong(1)));
    assert_eq!(call.await, Ok(2));
}

#[tokio::test]
async fn one_store_is_one_tier() {
    let server = Server::start();
    let stack = |second: Redis| {
        let builder = CacheRuntime::builder().l1(Memory::builder());
        builder.l2(Redis::new(server.url())).l4(second).build()
    };
    let error = stack(Redis::new(server.url())).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("is both l2 and l4; help: give each"),
        "{text}"
    );
    // Under another of its names it is not noticed, and keeps no call waiting.
    let other_name = server.url().replace("127.0.0.1", "localhost");
    let here = stack(Redis::new(other_name)).await.unwrap();
    let call = timeout(Duration::from_secs(10), on(&here, read(22)));
    assert_eq!(call.await, Ok(1));
    stack(Redis::new(server.url()).namespace("far"))
        .await
        .unwrap();
}

/// What a tier has that does not count is replaced by what is found below.
#[tokio::test]
async fn a_copy_takes_the_place_of_what_does_not_count() {
    let pair = Pair::new(Promotion::Always).await;
    on(&pair.here, read(23)).await;
    until("both are filled", || {
        pair.near.records().len() == 1 && pair.far.records().len() == 1
    })
    .await;
    // Foreign bytes.
    let _: () = pair
        .near
        .command(&["SET", &pair.near.records()[0], "rubbish"]);
    on(&pair.there, read(23)).await;
    until("it is copied up", || pair.promotions() == 1).await;
}

/// Taken out by whoever operates it, and put back later: it must not have what was invalidated meanwhile.
#[tokio::test]
async fn a_tier_that_operators_took_out_is_told_all_the_same() {
    #[multi_tier_cached(ttl = "100s", name = "tiers::taken_out")]
    async fn taken_out(_key: u64) -> u64 {
        TAKEN_OUT.load(Ordering::SeqCst)
    }
    static TAKEN_OUT: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let directory = Directory::new("overrides");
    let file = directory.path().join("functions.toml");
    std::fs::create_dir_all(directory.path()).unwrap();
    std::fs::write(&file, "[functions.\"tiers::taken_out\"]\ntiers = \"l1\"").unwrap();
    let without = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .functions_file(&file)
        .build()
        .await
        .unwrap();
    let with = testbed::two_tiers(&server.url()).await;
    for key in [1, 2, 3] {
        TAKEN_OUT.store(1, Ordering::SeqCst);
        on(&with, taken_out(key)).await;
        let is_it = |name: &String| name.ends_with(&key.to_string());
        until("it is in Redis", || server.records().iter().any(is_it)).await;
        on(&without, taken_out(key)).await;
        TAKEN_OUT.store(2, Ordering::SeqCst);
        let receipt = on(&without, async {
            match key {
                1 => invalidate!(taken_out, key).await,
                2 => invalidate!(taken_out).await,
                _ => {
                    assert_eq!(taken_out::entry(key).refresh().await, 2);
                    Ok(Receipt::Acked)
                }
            }
        });
        assert_eq!(receipt.await.unwrap(), Receipt::Acked);
        let later = testbed::two_tiers(&server.url()).await;
        assert_eq!(on(&later, taken_out(key)).await, 2);
    }
}

/// It goes on with memory alone, and others have not lost what it lacks.
#[tokio::test]
async fn a_runtime_that_lacks_a_tier_tells_those_that_it_has() {
    #[multi_tier_cached(ttl = "100s", tiers = "l1,l2,l3")]
    async fn lacking(_key: u64) -> u64 {
        LACKING.load(Ordering::SeqCst)
    }
    static LACKING: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let with = async || {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(Redis::new(server.url()))
            .l3(FakeTier::new())
            .build()
            .await
            .unwrap()
    };
    on(&with().await, lacking(1)).await;
    until("it is in Redis", || server.records().len() == 1).await;
    let without = testbed::two_tiers(&server.url()).await;
    LACKING.store(2, Ordering::SeqCst);
    let receipt = on(&without, async { invalidate!(lacking, 1).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    assert_eq!(on(&with().await, lacking(1)).await, 2);
}

/// A tier that does not keep to its time.
#[tokio::test]
async fn a_tier_that_does_not_end_keeps_nobody() {
    #[multi_tier_cached(ttl = "100s")]
    async fn held(_key: u64) -> u64 {
        1
    }
    let fake_tier = FakeTier::that_holds_fills().time_limit(Duration::from_millis(50));
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(fake_tier)
        .build()
        .await
        .unwrap();
    let call = timeout(Duration::from_secs(5), on(&here, held(1)));
    assert_eq!(call.await, Ok(1));
    let dropped = timeout(
        Duration::from_secs(5),
        on(&here, async { invalidate!(held, 1).await }),
    );
    let error = dropped.await.expect("an end").unwrap_err();
    assert_eq!(error.kind(), multi_tier_cached::ErrorKind::TimedOut);
}

/// Of a function that is made anew nothing counts that was kept before: meanwhile it heard of nothing.
#[tokio::test]
async fn a_function_that_is_made_again_hears_of_what_it_missed() {
    let server = Server::start();
    let fake_tier = FakeTier::new();
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(server.url()))
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    let there = testbed::two_tiers(&server.url()).await;
    let make = || {
        let function = Function::<u64>::builder("tiers::again");
        function.ttl(Duration::from_secs(60)).build().unwrap()
    };
    let function = make();
    on(&here, function.get_or_load((1,), async || 1)).await;
    until("it is on the fake_tier", || fake_tier.len() == 1).await;
    drop(function);
    let function = make();
    on(&there, function.invalidate_all()).await.unwrap();
    // Within the bound.
    testbed::until_ok("it is known", async || {
        let value = on(&here, function.get_or_load((1,), async || 2)).await;
        if value == 2 {
            Ok(())
        } else {
            Err("the old value")
        }
    })
    .await;
}

/// Below it something waits to be invalidated, of which it may have a copy.
#[tokio::test]
async fn a_tier_that_is_passed_over_is_filled_anew() {
    #[multi_tier_cached(ttl = "100s", tiers = "l2,l3")]
    async fn below(_key: u64) -> u64 {
        BELOW.fetch_add(1, Ordering::SeqCst)
    }
    static BELOW: AtomicU64 = AtomicU64::new(1);

    let server = Server::start();
    let fake_tier = FakeTier::new();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    fake_tier.owe();
    for loaded in 1..4 {
        let call = timeout(Duration::from_secs(10), on(&here, below(1)));
        assert_eq!(call.await, Ok(loaded));
        until("it is in Redis", || server.records().len() == 1).await;
    }
}

/// Whether somebody changes the key could not be asked.
#[tokio::test]
async fn what_is_loaded_without_asking_is_in_no_private_tier() {
    let server = Server::start();
    let fake_tier = FakeTier::new();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(fake_tier.clone())
        .build()
        .await
        .unwrap();
    let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
    on(&here, read(32)).await;
    assert!(fake_tier.is_empty());
    let _: () = server.command(&["ACL", "SETUSER", "default", "+evalsha"]);
    on(&here, read(32)).await;
    until("it is on the fake_tier", || fake_tier.len() == 1).await;
    // Nor does what it is to replace stay there.
    let _: () = server.command(&["ACL", "SETUSER", "default", "-evalsha"]);
    on(&here, async { read::entry(32).refresh().await }).await;
    assert!(fake_tier.is_empty());
}

/// Each would wait for what the other holds.
#[tokio::test]
async fn two_tiers_on_one_store_are_told() {
    let directory = Directory::new("one-store");
    let path = |name: &str| directory.path().join(name);
    let files = Fs::default().root(&path("objects").display().to_string());
    let operator = Operator::new(files).unwrap();
    let redis = || Redis::new("redis://127.0.0.1:1");
    let memcached = || Memcached::new("memcached://127.0.0.1:1");
    let disk = |name: &str| Disk::new(path(name));
    let objects = || Objects::new(operator.clone());
    let twice = async |one: BoxedTier, other: BoxedTier| {
        let built = CacheRuntime::builder()
            .tier(one, TierConfig::as_l3())
            .tier(other, TierConfig::as_l4())
            .build();
        built.await.err().map(|error| error.to_string())
    };
    for (one, other, what) in [
        (
            redis().into_tier(),
            redis().into_tier(),
            "the namespace `cache` of",
        ),
        (
            memcached().into_tier(),
            memcached().into_tier(),
            "the namespace `mtc` of",
        ),
        (
            disk("one").into_tier(),
            disk("one").into_tier(),
            "the directory `",
        ),
        (
            objects().into_tier(),
            objects().prefix("mtc/").into_tier(),
            "the prefix `mtc` of fs",
        ),
    ] {
        let error = twice(one, other).await.expect("an error");
        assert!(error.contains(what), "{error}");
        assert!(error.contains("is both l3 and l4"), "{error}");
    }
    for (one, other) in [
        (redis().into_tier(), redis().namespace("other").into_tier()),
        (
            memcached().into_tier(),
            memcached().namespace("other").into_tier(),
        ),
        (disk("one").into_tier(), disk("other").into_tier()),
        (objects().into_tier(), objects().prefix("other").into_tier()),
    ] {
        assert_eq!(twice(one, other).await, None);
    }
}

#[tokio::test]
async fn tiers_that_cannot_be_placed_are_errors() {
    let directory = Directory::new("placed");
    let disk = || Disk::new(directory.path().join("disk"));
    let redis = || Redis::new("redis://127.0.0.1:1");
    let builder = CacheRuntime::builder;
    let every_third = TierConfig::as_l2().promotion(Promotion::OneIn(3));
    for (wrong, says) in [
        (builder().l2(redis()).l2(disk()), "l2 is set twice"),
        (
            builder().tier(disk(), TierConfig::as_l1()),
            "only memory can be l1",
        ),
        (builder().tier(redis(), every_third), "no tier is above it"),
        (
            builder().tier(disk(), TierConfig::as_l3().ttl_scale(f64::NAN)),
            "scale",
        ),
    ] {
        let error = wrong.build().await.unwrap_err().to_string();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    }
}

/// In whatever order and mixture, shared and private: what is loaded is found below, what is put is everywhere, and what is
/// invalidated is nowhere.
#[tokio::test]
async fn every_mixture_of_tiers_answers_and_invalidates() {
    let (redis, memcached) = (Server::start(), testbed::memcached::Memcached::start());
    let directory = Directory::new("mixtures");
    let number = AtomicU64::new(0);
    let tier = |kind: char| -> BoxedTier {
        let unique = format!("n{}", number.fetch_add(1, Ordering::SeqCst));
        let path = directory.path().join(&unique);
        match kind {
            'r' => Redis::new(redis.url())
                .namespace(unique)
                .required()
                .into_tier(),
            'm' => Memcached::new(memcached.url())
                .namespace(unique)
                .required()
                .into_tier(),
            'd' => Disk::new(path).into_tier(),
            'o' => {
                let files = Fs::default().root(&path.display().to_string());
                Objects::new(Operator::new(files).unwrap()).into_tier()
            }
            _ => {
                let fake_tier = FakeTier::new();
                (0..9).for_each(|_| fake_tier.let_through());
                fake_tier.into_tier()
            }
        }
    };
    for (mixture, has_memory) in [
        "rm", "mr", "rd", "dr", "mo", "om", "do", "ds", "sr", "ms", "rdo", "mdo", "rsd", "rmdo",
    ]
    .into_iter()
    .flat_map(|mixture| [(mixture, true), (mixture, false)])
    {
        let mut builder = CacheRuntime::builder();
        if has_memory {
            builder = builder.l1(Memory::builder());
        }
        for (level, kind) in (2..).zip(mixture.chars()) {
            builder = builder.tier(tier(kind), TierConfig::new(Level::new(level).unwrap()));
        }
        let here = builder.build().await.unwrap();
        on(&here, mixed(&here, mixture)).await;
        here.shutdown().await.unwrap();
    }
}

async fn mixed(here: &CacheRuntime, mixture: &str) {
    #[multi_tier_cached(ttl = "1h")]
    async fn mix(_key: u64) -> u64 {
        MIX.fetch_add(1, Ordering::SeqCst)
    }
    static MIX: AtomicU64 = AtomicU64::new(1);

    let first = mix(1).await;
    assert_eq!(mix(1).await, first, "{mixture}: it is found");
    let stored = |tier: usize| {
        let stats = here.stats();
        let tiers = &stats.functions[0].tiers;
        tiers[tiers.len() - 1 - tier].hits
    };
    assert_eq!(
        (0..here.stats().functions[0].tiers.len())
            .map(stored)
            .sum::<u64>(),
        1,
        "{mixture}: one tier has answered"
    );
    mix::entry(1).put(1_000_000).await.unwrap();
    assert_eq!(mix(1).await, 1_000_000, "{mixture}: it was put");
    assert_eq!(invalidate!(mix, 1).await.unwrap(), Receipt::Acked);
    let second = mix(1).await;
    assert!(
        (first + 1..1_000_000).contains(&second),
        "{mixture}: {second}"
    );
    assert_eq!(invalidate!(mix).await.unwrap(), Receipt::Acked);
    let third = mix(1).await;
    assert!(third > second, "{mixture}: the function is invalidated");
    assert_eq!(here.invalidate_all().await.unwrap(), Receipt::Acked);
    assert!(mix(1).await > third, "{mixture}: all is");
}

/// The table knows of the refresh alone by then.
#[tokio::test]
async fn a_put_that_a_refresh_took_the_place_of_does_not_come_back() {
    #[multi_tier_cached(ttl = "1h")]
    async fn placed(_key: u64) -> u64 {
        PLACED.load(Ordering::SeqCst)
    }
    static PLACED: AtomicU64 = AtomicU64::new(1);

    let fake_tier = FakeTier::new();
    (0..3).for_each(|_| fake_tier.let_through());
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(fake_tier.clone())
        .build()
        .await
        .unwrap();
    fake_tier.keep_back();
    let put = tokio::spawn(CacheRuntime::scope(here.clone(), async {
        placed::entry(1).put(1).await
    }));
    until("the put waits", || fake_tier.has_kept_back()).await;
    let refreshed = on(&here, async { placed::entry(1).refresh().await }).await;
    assert_eq!(refreshed, 1);
    PLACED.store(2, Ordering::SeqCst);
    let receipt = on(&here, async { invalidate!(placed, 1).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
    fake_tier.answer();
    put.await.unwrap().unwrap();
    assert_eq!(on(&here, placed(1)).await, 2);
}

/// An instance with that tier alone.
async fn over(fake_tier: &FakeTier) -> CacheRuntime {
    let builder = CacheRuntime::builder().l2(fake_tier.clone());
    builder.build().await.unwrap()
}

/// What is there now nobody knows.
#[tokio::test]
async fn a_refresh_whose_fill_fails_leaves_nothing_old() {
    #[multi_tier_cached(ttl = "1h")]
    async fn failing(_key: u64) -> u64 {
        FAILING.fetch_add(1, Ordering::SeqCst)
    }
    static FAILING: AtomicU64 = AtomicU64::new(1);

    let fake_tier = FakeTier::new();
    let here = over(&fake_tier).await;
    assert_eq!(on(&here, failing(1)).await, 1);
    fake_tier.fill_up();
    let refreshed = on(&here, async { failing::entry(1).refresh().await });
    assert_eq!(refreshed.await, 2);
    let there = over(&fake_tier).await;
    assert_eq!(on(&there, failing(1)).await, 3, "the old value is answered");
}

/// A shared tier above one that is this instance's alone, and fails.
async fn above_a_broken_one(shared: &FakeTier) -> CacheRuntime {
    let broken = FakeTier::new();
    broken.break_down();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let builder = builder.l2(shared.clone()).l3(broken);
    builder.build().await.unwrap()
}

/// The shared one can be asked, and says that it is gone.
#[tokio::test]
async fn a_private_tier_that_fails_is_no_outage_of_the_shared_one() {
    #[multi_tier_cached(ttl = "1h")]
    async fn gone(_key: u64) -> u64 {
        GONE.fetch_add(1, Ordering::SeqCst)
    }
    static GONE: AtomicU64 = AtomicU64::new(1);

    let shared = FakeTier::shared(Duration::from_secs(3_600));
    shared.prove();
    let here = above_a_broken_one(&shared).await;
    assert_eq!(on(&here, gone(1)).await, 1);
    assert_eq!(on(&here, gone(1)).await, 1);
    shared.empty();
    shared.revoke();
    assert_eq!(on(&here, async { gone::entry(1).peek().await }).await, None);
    assert_eq!(on(&here, gone(1)).await, 2);
}

#[tokio::test]
async fn a_private_tier_that_fails_lets_no_two_instances_load_at_a_time() {
    #[multi_tier_cached(ttl = "1h")]
    async fn alone(_key: u64) -> u64 {
        let at_a_time = ALONE.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        OPEN.notified().await;
        ALONE.fetch_sub(1, Ordering::SeqCst);
        OPEN.notify_one();
        at_a_time
    }
    static ALONE: AtomicU64 = AtomicU64::new(0);
    static OPEN: tokio::sync::Notify = tokio::sync::Notify::const_new();

    let shared = FakeTier::shared(Duration::from_secs(3_600));
    shared.prove();
    let (here, there) = (
        above_a_broken_one(&shared).await,
        above_a_broken_one(&shared).await,
    );
    let calls = async {
        tokio::join!(on(&here, alone(1)), on(&there, alone(1)), async {
            tokio::task::yield_now().await;
            OPEN.notify_one();
        })
    };
    let (first, second, ()) = timeout(Duration::from_secs(10), calls).await.unwrap();
    assert_eq!((first, second), (1, 1));
}

/// It contradicts itself: read, it does not know what a valid record carries; leased, it says that one that was passed over is valid.
#[tokio::test]
async fn a_store_that_contradicts_itself_keeps_nobody() {
    #[multi_tier_cached(ttl = "1h")]
    async fn contradicted(_key: u64) -> u64 {
        CONTRADICTED.fetch_add(1, Ordering::SeqCst)
    }
    static CONTRADICTED: AtomicU64 = AtomicU64::new(1);

    let fake_tier = FakeTier::new();
    let here = over(&fake_tier).await;
    assert_eq!(on(&here, contradicted(1)).await, 1);
    fake_tier.say_no_stamp();
    let call = timeout(Duration::from_secs(10), on(&here, contradicted(1)));
    assert_eq!(call.await, Ok(2));
}
