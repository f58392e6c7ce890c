//! `ttl_from` takes the value and returns a `Duration`.
use std::time::Duration;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", ttl_from = |seconds: &u64| *seconds)]
async fn number(id: u64) -> Option<u64> {
    Some(id)
}

#[multi_tier_cached(ttl = "5m", ttl_from = |_: &Option<u64>| Duration::from_secs(1))]
async fn whole(id: u64) -> Option<u64> {
    Some(id)
}

fn main() {}
