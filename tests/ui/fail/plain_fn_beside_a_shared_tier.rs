//! Options for shared tiers are errors on a plain fn.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", consistency = "strong")]
fn get(id: u64) -> u64 {
    id
}

fn main() {}
