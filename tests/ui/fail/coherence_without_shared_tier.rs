//! Options for shared tiers are errors without one, and their values are checked.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l1", consistency = "strong")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
