//! A ttl is a string.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = 300)]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
