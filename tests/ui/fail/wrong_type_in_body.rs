//! A mistake in the body is reported in the body.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> String {
    id
}

fn main() {}
