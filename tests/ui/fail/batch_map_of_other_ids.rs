//! The map of a batch has the ids of the argument.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn get(ids: &[u64]) -> HashMap<u32, u64> {
    ids.iter().map(|id| (1, *id)).collect()
}

fn main() {}
