//! A value in memory must be `Clone`.
use multi_tier_cached::multi_tier_cached;

struct User;

#[multi_tier_cached(ttl = "5m", tiers = "l1")]
async fn get(id: u64) -> Option<User> {
    (id > 0).then_some(User)
}

fn main() {}
