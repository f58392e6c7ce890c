//! A batch is an `async fn`, and no method of a trait.
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tiers = "l1", batch = ids)]
fn plain(ids: &[u64]) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *id)).collect()
}

trait Get {
    async fn get(&self, ids: &[u64]) -> HashMap<u64, u64>;
}

struct Repo;

impl Get for Repo {
    #[multi_tier_cached(ttl = "5m", skip(self), batch = ids, trait_impl)]
    async fn get(&self, ids: &[u64]) -> HashMap<u64, u64> {
        ids.iter().map(|id| (*id, *id)).collect()
    }
}

fn main() {}
