//! Streams: workers share a stream of orders, and one takes over the orders of a worker that ended.
//!
//! The audit of invalidations is a stream as well.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamEntry, StreamLog};
use multi_tier_cached::{
    CacheRuntime, Error, Memory, Redis, Streams, invalidate, multi_tier_cached,
};

#[path = "shared/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

#[multi_tier_cached(ttl = "1h", tiers = "l1,l2", name = "prices::of")]
async fn price(item: &str) -> usize {
    100 + item.len()
}

fn show(reader: &str, entries: &[StreamEntry]) {
    for entry in entries {
        let fields: Vec<String> = entry
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect();
        println!("{reader}: {}", fields.join(" "));
    }
}

fn ids(entries: &[StreamEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let Some(server) = RedisServer::start() else {
        return Ok(());
    };
    let url = format!("redis://127.0.0.1:{}", server.port());
    let redis = Redis::new(url).audit("shop-1", 10_000);
    let log = redis.streams()?;

    log.create_group("orders", "billing", &After::Start).await?;
    for (item, count) in [("tea", "2"), ("milk", "1"), ("bread", "3")] {
        let fields = [("item", item.as_bytes()), ("count", count.as_bytes())];
        // The stream keeps about a thousand entries.
        log.publish("orders", &fields, Some(1_000)).await?;
    }

    let one = log
        .read_group("orders", "billing", "worker-1", 2, Duration::ZERO)
        .await?;
    show("worker-1 reads", &one);
    log.acknowledge("orders", "billing", &ids(&one[..1]))
        .await?;
    println!("worker-1 acknowledges the first one, and ends");

    // Takes over entries that other workers have not acknowledged for some time. A real program
    // would use a minute, for example.
    let unacknowledged = log
        .claim("orders", "billing", "worker-2", Duration::ZERO, 10)
        .await?;
    show("worker-2 claims", &unacknowledged);
    log.acknowledge("orders", "billing", &ids(&unacknowledged))
        .await?;
    // Waits up to five seconds for entries. A read that waits has its own connection, so it does
    // not delay the cache.
    let five = Duration::from_secs(5);
    let two = log
        .read_group("orders", "billing", "worker-2", 10, five)
        .await?;
    show("worker-2 reads", &two);
    log.acknowledge("orders", "billing", &ids(&two)).await?;

    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis.required())
        .install()
        .await?;
    price("tea").await;
    invalidate!(price, "tea").await?;
    show("audit", &log.latest(Streams::INVALIDATIONS, 10).await?);
    runtime.shutdown().await
}
