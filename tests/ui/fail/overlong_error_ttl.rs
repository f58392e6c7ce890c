//! An error is kept for at most 60 seconds.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", error_ttl = "61s", error_if = |_: &std::fmt::Error| true)]
async fn get(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
