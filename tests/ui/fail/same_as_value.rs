//! A batch has the values of the other function.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn of_texts(ids: &[u64]) -> HashMap<u64, String> {
    ids.iter().map(|id| (*id, id.to_string())).collect()
}

fn main() {}
