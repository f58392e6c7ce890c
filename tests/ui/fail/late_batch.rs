//! A load of a batch in the background owns its arguments and its ids.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids, refresh_ahead)]
async fn behind_references(ids: &[&&u64]) -> Vec<Option<u64>> {
    ids.iter().map(|id| Some(***id)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids, refresh_ahead)]
async fn borrowing_ids(ids: &[Option<&str>]) -> Vec<Option<u64>> {
    ids.iter().map(|_| Some(1)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids, refresh_ahead)]
async fn borrowing_argument(ids: &[u64], text: Option<&str>) -> HashMap<u64, u64> {
    let _ = text;
    ids.iter().map(|id| (*id, 1)).collect()
}

fn main() {}
