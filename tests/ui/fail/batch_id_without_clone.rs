//! Ids are cloned for the body.
use multi_tier_cached::multi_tier_cached;

#[derive(serde::Serialize)]
struct Id(u64);

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn get(ids: &[Id]) -> Vec<Option<u64>> {
    ids.iter().map(|id| Some(id.0)).collect()
}

fn main() {}
