//! `soft_timeout` requires `stale_if_error`.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m", soft_timeout = "200ms")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
