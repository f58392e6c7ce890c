//! A batch has as many arguments in its key as the other function.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", skip(pool))]
async fn get(pool: &str, id: u64) -> u64 {
    let _ = pool;
    id
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn without_skip(pool: &str, ids: &[u64]) -> HashMap<u64, u64> {
    let _ = pool;
    ids.iter().map(|id| (*id, 1)).collect()
}

fn main() {}
