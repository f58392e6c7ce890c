use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "{id}#lease")]
async fn of(id: u64) -> u64 {
    id
}

fn main() {}
