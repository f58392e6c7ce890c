//! An argument that is passed by value is cloned for each body of a batch.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[derive(serde::Serialize)]
struct Tenant(u64);

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn get(tenant: Tenant, ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, tenant.0)).collect()
}

fn main() {}
