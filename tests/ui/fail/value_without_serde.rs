//! A value in a tier below memory must implement serde's traits.
use multi_tier_cached::multi_tier_cached;

#[derive(Clone)]
struct User;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> Option<User> {
    (id > 0).then_some(User)
}

fn main() {}
