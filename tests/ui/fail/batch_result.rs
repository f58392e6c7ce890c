//! The result of a batch says which value belongs to which id.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn list(ids: &[u64]) -> Vec<u64> {
    ids.to_vec()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn fallible(ids: &[u64]) -> Result<Vec<u64>, std::fmt::Error> {
    Ok(ids.to_vec())
}

fn main() {}
