//! `share_error` requires a result with an error.
use multi_tier_cached::multi_tier_cached;

fn again(error: &std::fmt::Error) -> std::fmt::Error {
    *error
}

#[multi_tier_cached(ttl = "5m", share_error = again)]
async fn get(id: u64) -> Option<u64> {
    Some(id)
}

fn main() {}
