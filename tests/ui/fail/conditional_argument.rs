//! A conditional argument is an error.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64, #[cfg(any())] tenant: u64) -> u64 {
    id
}

fn main() {}
