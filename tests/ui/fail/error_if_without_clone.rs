//! `error_if` requires an error that memory can hold and return to many callers.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", error_ttl = "5s", error_if = |_: &std::io::Error| true)]
async fn get(id: u64) -> Result<u64, std::io::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", error_ttl = "5s", error_if = |_: &std::io::Error| true)]
async fn find(id: u64) -> Option<u64> {
    Some(id)
}

fn main() {}
