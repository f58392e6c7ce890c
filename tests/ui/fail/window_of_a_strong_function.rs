//! A function whose values are never stale returns no stale value.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", consistency = "strong", stale_while_revalidate = "1m")]
async fn revalidated(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", consistency = "strong")]
async fn failing(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", refresh_ahead, consistency = "strong")]
async fn ahead(id: u64) -> u64 {
    id
}

fn main() {}
