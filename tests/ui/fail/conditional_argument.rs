//! An argument that may not be there has no place in a key.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64, #[cfg(any())] tenant: u64) -> u64 {
    id
}

fn main() {}
