//! The function of `share_error` must return the function's own error type.
use std::io;

use multi_tier_cached::multi_tier_cached;

fn again(error: &std::fmt::Error) -> std::fmt::Error {
    *error
}

#[multi_tier_cached(ttl = "5m", share_error = again)]
async fn get(id: u64) -> Result<u64, io::Error> {
    Ok(id)
}

fn main() {}
