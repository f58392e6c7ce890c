//! `stale_if` requires `stale_if_error`.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_if = |_: &std::fmt::Error| true)]
async fn get(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

fn main() {}
