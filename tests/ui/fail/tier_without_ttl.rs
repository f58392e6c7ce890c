//! Each tier needs a ttl.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl(l1 = "30s"), tiers = "l1,l2")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
