//! The arguments of a batch have the types and the order of the other function's.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64, tenant: u32) -> u64 {
    id + u64::from(tenant)
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn of_another_tenant(ids: &[u64], tenant: u16) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, u64::from(tenant))).collect()
}

fn main() {}
