//! `tiers` must name a tier.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
