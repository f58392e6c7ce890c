//! `soft_timeout` is shorter than `hard_timeout`, and that is shorter than `load_limit`.
use multi_tier_cached::{LoadTimeout, multi_tier_cached};

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", soft_timeout = "2s", hard_timeout = "2s")]
async fn soft(id: u64) -> Result<u64, LoadTimeout> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", hard_timeout = "30s", load_limit = "2s")]
async fn hard(id: u64) -> Result<u64, LoadTimeout> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", soft_timeout = "30s", load_limit = "2s")]
async fn limit(id: u64) -> Result<u64, LoadTimeout> {
    Ok(id)
}

fn main() {}
