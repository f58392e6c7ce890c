//! A value for a shared tier can be written and read.
use multi_tier_cached::multi_tier_cached;

#[derive(Clone)]
struct User;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> Option<User> {
    (id > 0).then_some(User)
}

fn main() {}
