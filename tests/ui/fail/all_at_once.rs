//! All mistakes of an attribute are reported.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5 minuts", teirs = "l1", key = "{idd}", version = "two")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
