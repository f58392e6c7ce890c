//! The ttl is required.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(tiers = "l1")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
