//! A result that borrows cannot be stored.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(name: &str) -> Option<&str> {
    Some(name)
}

fn main() {}
