//! An unknown option is reported with the nearest known one.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", teirs = "l1")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
