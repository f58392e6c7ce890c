//! `same_as` names a cached function.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

async fn get(id: u64) -> u64 {
    id
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn batch(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {
    let _ = get(1);
}
