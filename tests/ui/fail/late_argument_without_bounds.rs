//! A type parameter of an argument needs bounds, so that a load in the background can own it.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", skip(row), stale_while_revalidate = "1m")]
async fn get<T>(row: &T, id: u64) -> u64 {
    let _ = row;
    id
}

fn main() {}
