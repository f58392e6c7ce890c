//! Tiers are listed in the order of their numbers.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l2,l1")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
