//! Tiers are l1 to l9.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l1,redis")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
