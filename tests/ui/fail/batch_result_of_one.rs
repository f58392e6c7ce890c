//! The result of a batch has several values.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn one(ids: &[u64]) -> Option<u64> {
    ids.first().copied()
}

fn main() {}
