//! A template names arguments only.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "user:{idd}")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
