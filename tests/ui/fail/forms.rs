//! Functions that cannot be cached: one mistake, one error.

use std::future::Future;
use std::pin::Pin;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
const fn constant(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m")]
fn boxed(id: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move { id })
}

#[multi_tier_cached(ttl = "5m", tiers = "l1")]
async fn written(out: &mut Vec<u8>) -> usize {
    out.push(1);
    out.len()
}

#[multi_tier_cached(ttl = "5m")]
async fn forever(id: u64) -> Option<&'static str> {
    (id > 0).then_some("some")
}

#[multi_tier_cached(ttl = "5m")]
#[multi_tier_cached(policy = "short")]
async fn twice(id: u64) -> u64 {
    id
}

fn main() {}
