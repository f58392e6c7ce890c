//! `same_as` is in place of all other options, and needs `batch`.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

#[multi_tier_cached(batch = ids, same_as = get, ttl = "5m")]
async fn with_ttl(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(same_as = get, batch = ids, key = "a:{ids}", tags = ["a"])]
async fn with_key(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(same_as = get)]
async fn without_batch(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(batch = ids, same_as = "get")]
async fn text(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(batch = ids, same_as)]
async fn alone(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}
