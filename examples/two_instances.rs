//! Two instances share a Redis: each reads what the other has loaded, and notices its
//! invalidations.

use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::{CacheRuntime, Error, Memory, Redis, invalidate, multi_tier_cached};

#[path = "shared/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

/// Stands in for a database with one price.
static PRICE: AtomicU64 = AtomicU64::new(100);
static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1,l2", name = "prices::of")]
async fn price(item: &str) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    PRICE.load(Ordering::SeqCst) + item.len() as u64
}

async fn instance(url: &str) -> Result<CacheRuntime, Error> {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(url).required())
        .build()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let Some(server) = RedisServer::start() else {
        return Ok(());
    };
    let url = format!("redis://127.0.0.1:{}", server.port());
    // Usually these are two processes. Here they are two runtimes, each with its own memory.
    let (one, two) = (instance(&url).await?, instance(&url).await?);

    let call = async |name: &str, runtime: &CacheRuntime| {
        let price = CacheRuntime::scope(runtime.clone(), async { price("tea").await }).await;
        println!(
            "{name}: tea costs {price}, loads so far: {}",
            LOADS.load(Ordering::SeqCst)
        );
    };
    call("one", &one).await;
    call("two", &two).await;

    PRICE.store(200, Ordering::SeqCst);
    // Returns when no instance can return the old price any more. Without `settled` it returns
    // earlier, and the other instance notices within milliseconds, or within the staleness bound of
    // 500 ms at the latest.
    let settled = async { invalidate!(price, "tea").settled().await };
    CacheRuntime::scope(one.clone(), settled).await?;
    println!("the price has changed, and one has invalidated it");
    call("two", &two).await;
    call("one", &one).await;

    println!("\none:\n{}\ntwo:\n{}", one.stats(), two.stats());
    one.shutdown().await?;
    two.shutdown().await
}
