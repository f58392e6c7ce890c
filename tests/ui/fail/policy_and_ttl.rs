use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", policy = "short")]
async fn both(id: u64) -> u64 {
    id
}

#[multi_tier_cached(policy = "")]
async fn unnamed(id: u64) -> u64 {
    id
}

fn main() {}
