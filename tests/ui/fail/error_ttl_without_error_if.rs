//! `error_ttl` and `error_if` require each other.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", error_ttl = "5s")]
async fn without_errors(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", error_if = |_: &std::fmt::Error| true)]
async fn without_time(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
