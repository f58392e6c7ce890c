//! An outage of Redis does not touch functions that do not use it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Breaker;
use multi_tier_cached::{CacheRuntime, Disk, Memory, Redis, multi_tier_cached};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{build, until};

const KEYS: u64 = 200;

static MEMORY: AtomicU64 = AtomicU64::new(0);
static DISK: AtomicU64 = AtomicU64::new(0);
static PLAIN: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn in_memory(key: u64) -> u64 {
    MEMORY.fetch_add(1, Ordering::SeqCst);
    key
}

#[multi_tier_cached(ttl = "1h", tiers = "l1,l3")]
async fn on_disk(key: u64) -> u64 {
    DISK.fetch_add(1, Ordering::SeqCst);
    key
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn plain(key: u64) -> u64 {
    PLAIN.fetch_add(1, Ordering::SeqCst);
    key
}

#[multi_tier_cached(ttl = "1h")]
async fn in_redis(key: u64) -> u64 {
    key
}

async fn call_all(runtime: &CacheRuntime) {
    CacheRuntime::scope(runtime.clone(), async {
        for key in 0..KEYS {
            assert_eq!(in_memory(key).await, key);
            assert_eq!(on_disk(key).await, key);
            assert_eq!(plain(key), key);
        }
        assert_eq!(in_redis(0).await, 0);
    })
    .await;
}

fn loads() -> [u64; 3] {
    [&MEMORY, &DISK, &PLAIN].map(|loads| loads.load(Ordering::SeqCst))
}

fn isolations(runtime: &CacheRuntime) -> u64 {
    runtime.tiers()[0].health.isolations
}

async fn connected(runtime: &CacheRuntime) {
    until("Redis is used", || {
        runtime.tiers()[0].breaker == Breaker::Closed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_outages_of_redis_cost_functions_without_it_no_load() {
    let mut server = Server::start();
    let directory = Directory::new("outages");
    let redis = Redis::new(server.url())
        .time_limit(Duration::from_millis(50))
        .staleness_bound(Duration::from_millis(100));
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .l3(Disk::new(directory.path()))
        .build()
        .await
        .unwrap();
    call_all(&runtime).await;
    assert_eq!(loads(), [KEYS; 3]);
    for outage in 0..10 {
        let before = isolations(&runtime);
        match outage % 2 {
            0 => server.kill(),
            _ => server.freeze(),
        }
        until("the outage is noticed", || isolations(&runtime) > before).await;
        call_all(&runtime).await;
        match outage % 2 {
            0 => server.restart(),
            _ => server.thaw(),
        }
        connected(&runtime).await;
        call_all(&runtime).await;
        assert_eq!(loads(), [KEYS; 3], "after outage {outage}");
    }
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_channel_voids_no_value_of_a_function_of_memory_alone() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h", tiers = "l1")]
    async fn alone(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let runtime = build(Redis::new(server.url())).await;
    let call = || async {
        for key in 0..1_000 {
            alone(key).await;
        }
    };
    CacheRuntime::scope(runtime.clone(), call()).await;
    let before = isolations(&runtime);
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the link is lost", || isolations(&runtime) > before).await;
    connected(&runtime).await;
    CacheRuntime::scope(runtime.clone(), call()).await;
    assert_eq!(LOADS.load(Ordering::SeqCst), 1_000);
}
