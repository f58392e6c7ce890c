//! With memory alone there is nobody to agree with; and the words are few.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l1", consistency = "strong")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
