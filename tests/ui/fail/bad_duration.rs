//! A duration needs a unit.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5 minuts")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
