use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l1", codec = "json")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
