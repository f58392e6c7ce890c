//! Times are durations, longer than zero and at most a year.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "60")]
async fn unitless(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "0s")]
async fn zero(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "400days", stale_if = |_: &()| true)]
async fn long(id: u64) -> Result<u64, ()> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", refresh_ahead("5m"))]
async fn listed(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", hard_timeout)]
async fn alone(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", none_ttl = 30)]
async fn number(id: u64) -> Option<u64> {
    Some(id)
}

#[multi_tier_cached(ttl = "5m", stale_while_revalidated = "1m", none_ttl = "1m", none_ttl = "2m")]
async fn misspelt(id: u64) -> Option<u64> {
    Some(id)
}

#[multi_tier_cached(ttl = "5m", timeout = "2s")]
async fn elsewhere(id: u64) -> u64 {
    id
}

fn main() {}
