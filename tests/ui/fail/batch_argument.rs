//! `batch` names an argument that is a list of ids.
use std::collections::{HashMap, HashSet};

use multi_tier_cached::{KeyArgument, multi_tier_cached};

#[multi_tier_cached(ttl = "5m", batch = idz)]
async fn misspelt(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = id)]
async fn single(id: u64) -> HashMap<u64, u64> {
    [(id, id)].into()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn set(ids: HashSet<u64>) -> HashMap<u64, u64> {
    ids.into_iter().map(|id| (id, id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn opaque(ids: &[impl KeyArgument]) -> Vec<Option<u64>> {
    ids.iter().map(|_| None).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn mutable(ids: &mut Vec<u64>) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids, skip(ids))]
async fn skipped(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids, key = "{tenant}")]
async fn not_in_key(ids: &[u64], tenant: u64) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, tenant)).collect()
}

fn main() {}
