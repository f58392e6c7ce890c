//! A plain `fn` cannot load in the background, and its body cannot be dropped.
use multi_tier_cached::{LoadTimeout, multi_tier_cached};

#[multi_tier_cached(ttl = "5m", tiers = "l1", stale_while_revalidate = "1m")]
fn revalidated(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tiers = "l1", refresh_ahead)]
fn ahead(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tiers = "l1", load_limit = "30s", hard_timeout = "1s")]
fn limited(id: u64) -> Result<u64, LoadTimeout> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", tiers = "l1", load_limit = "30s")]
fn dropped(id: u64) -> Result<u64, LoadTimeout> {
    Ok(id)
}

fn main() {}
