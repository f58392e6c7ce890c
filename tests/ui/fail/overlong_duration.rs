//! A ttl is at most a year.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "400days")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
