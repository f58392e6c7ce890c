//! `refresh_ahead` is shorter than each ttl.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", refresh_ahead = "5m")]
async fn everywhere(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl(l1 = "30s", l2 = "1h"), refresh_ahead = "5m")]
async fn each(id: u64) -> u64 {
    id
}

fn main() {}
