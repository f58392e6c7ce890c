//! A `HashSet` cannot be in a key.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(ids: std::collections::HashSet<u64>) -> usize {
    ids.len()
}

fn main() {}
