//! More than one tier below memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Level, Memory, Redis, TierConfig, invalidate, multi_tier_cached,
};
use testbed::server::Server;
use testbed::shelf::Shelf;
use testbed::until;
use tokio::time::{Instant, sleep};

static VERSION: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "100s")]
async fn read(_key: u64) -> u64 {
    VERSION.load(Ordering::SeqCst)
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
    VERSION.store(2, Ordering::SeqCst);
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
    let dropped = tokio::time::timeout(Duration::from_millis(20), invalidation).await;
    assert!(
        dropped.is_err(),
        "the far one is asked first, and does not answer"
    );
    until("the near one is told", || near.records().is_empty()).await;
    far.thaw();
    until("the far one is told", || far.records().is_empty()).await;
}

#[tokio::test]
async fn a_tier_that_hears_of_nobody_is_not_put_beside_a_shared_one() {
    let server = Server::start();
    let error = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .l3(Shelf::new())
        .build()
        .await
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("use l3 (shelf) beside"), "{error}");
}
