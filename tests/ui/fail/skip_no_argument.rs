//! `skip` names arguments only.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", skip(poool))]
async fn get(pool: &str, id: u64) -> u64 {
    id + pool.len() as u64
}

fn main() {}
