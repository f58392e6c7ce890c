//! The body of a batch can run several times, so it has no `&mut`.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids, skip(mut conn))]
async fn get(conn: &mut u64, ids: &[u64]) -> HashMap<u64, u64> {
    *conn += 1;
    ids.iter().map(|id| (*id, *conn)).collect()
}

#[multi_tier_cached(ttl = "5m", batch = ids, skip(mut conn), refresh_ahead)]
async fn late(conn: &mut u64, ids: &[u64]) -> HashMap<u64, u64> {
    *conn += 1;
    ids.iter().map(|id| (*id, *conn)).collect()
}

fn main() {}
