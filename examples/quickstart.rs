//! A memoized function on one page, in memory, and in Redis as well if `REDIS_URL` is set.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Error, Memory, Redis, invalidate, multi_tier_cached};

static QUERIES: AtomicU32 = AtomicU32::new(0);

/// Takes as long as a slow query.
#[multi_tier_cached(ttl = "5m")]
async fn greeting(id: u64) -> String {
    let query = QUERIES.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_millis(100)).await;
    format!("hello, customer {id} (query {query})")
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut builder = CacheRuntime::builder().l1(Memory::builder().max_bytes(64 << 20));
    if let Ok(url) = std::env::var("REDIS_URL") {
        builder = builder.l2(Redis::new(url).namespace("quickstart"));
    }
    let runtime = builder.install().await?;

    let callers: Vec<_> = (0..100).map(|_| tokio::spawn(greeting(42))).collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    println!(
        "100 callers at once: {} query",
        QUERIES.load(Ordering::SeqCst)
    );
    println!("one more call:       {}", greeting(42).await);

    invalidate!(greeting, 42).await?;
    println!("after invalidate!:   {}", greeting(42).await);

    println!("\nwhich tiers answered:\n{}", runtime.stats());
    runtime.shutdown().await
}
