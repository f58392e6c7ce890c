use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "order#{id}")]
async fn of(id: u64) -> u64 {
    id
}

fn main() {}
