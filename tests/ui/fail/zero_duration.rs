//! A ttl of zero is an error.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "0s")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
