//! `stale_if` requires a result with an error.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", stale_if = |_: &std::fmt::Error| true)]
async fn get(id: u64) -> Option<u64> {
    Some(id)
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", stale_if = |error| error.is_transient())]
async fn find(id: u64) -> u64 {
    id
}

fn main() {}
