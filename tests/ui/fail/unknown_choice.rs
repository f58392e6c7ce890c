//! A choice accepts only its own words.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", when_isolated = "server")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
