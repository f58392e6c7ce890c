//! `batch = ids`, or `batch(ids, most = 500)`.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch)]
async fn alone(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = "ids")]
async fn text(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(ids, most = 0))]
async fn none_at_all(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(ids, most = "500"))]
async fn number_as_text(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(ids, most = 5000000000))]
async fn too_many(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(ids, max = 5))]
async fn unknown(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch(most = 5))]
async fn nameless(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}
