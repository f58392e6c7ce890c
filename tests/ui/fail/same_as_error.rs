//! A batch has the error of the other function.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn without_error(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

fn main() {}
