//! A pattern has no name that a `key` could say.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "sum:{a}")]
async fn sum(a: u64, (b, c): (u64, u64)) -> u64 {
    a + b + c
}

fn main() {}
