//! A plain fn is refused.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
fn get(id: u64) -> u64 {
    id
}

fn main() {}
