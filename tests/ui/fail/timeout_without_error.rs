//! A function whose load may take too long has an error that says so.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", hard_timeout = "2s")]
async fn waited(id: u64) -> Option<u64> {
    Some(id)
}

#[multi_tier_cached(ttl = "5m", load_limit = "30s")]
async fn limited(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
