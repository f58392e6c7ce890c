//! An option is given at most once.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", version = 2, ttl = "6m")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
