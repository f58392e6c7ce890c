//! `none_ttl` requires a result that can be `None`.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", none_ttl = "30s")]
async fn get(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
