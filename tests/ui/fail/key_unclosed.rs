//! A brace in a template must be closed.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "user:{id")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
