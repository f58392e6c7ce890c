//! `stale_if` takes the error of the function.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", stale_if = |_: &String| true)]
async fn get(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
