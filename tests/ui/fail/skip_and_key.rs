//! An argument cannot be both in `key` and in `skip`.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "{id}", skip(id))]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
