//! The ids of a batch have the type of the other function's id.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn of_other_ids(ids: &[u32]) -> HashMap<u32, u64> {
    ids.iter().map(|id| (*id, 1)).collect()
}

fn main() {}
