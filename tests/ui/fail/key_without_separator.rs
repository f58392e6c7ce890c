//! Two placeholders must be separated.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "{a}{b}")]
async fn get(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {}
