//! A tier of your own: a map in this process, which passes `tier_conformance!`.
//! Run it with `cargo run --example custom_tier`.

mod map;

use std::error::Error;

use multi_tier_cached::{CacheRuntime, multi_tier_cached};

use crate::map::Map;

#[multi_tier_cached(ttl = "1m", tiers = "l3")]
async fn square(n: u64) -> u64 {
    println!("computing {n} x {n}");
    n * n
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let runtime = CacheRuntime::builder().l3(Map::default()).install().await?;
    println!("{} {}", square(12).await, square(12).await);
    println!("{}", runtime.snapshot().await);
    Ok(())
}
