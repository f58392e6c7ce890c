//! A ttl is a text.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = 300)]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
