//! A template cannot name an argument that is a pattern.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "sum:{a}")]
async fn sum(a: u64, (b, c): (u64, u64)) -> u64 {
    a + b + c
}

fn main() {}
