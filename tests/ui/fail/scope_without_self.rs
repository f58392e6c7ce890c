//! `scope = self…` requires a `self`. A free function has its handles despite such a mistake.
use multi_tier_cached::{invalidate, multi_tier_cached};

#[multi_tier_cached(ttl = "5m", scope = self.tenant)]
async fn get(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", scope(self.tenant))]
async fn listed(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", trait_impl = true)]
async fn in_no_trait(id: u64) -> u64 {
    id
}

async fn invalidations() {
    invalidate!(get, 1).await.unwrap();
    invalidate!(listed, 1).await.unwrap();
    invalidate!(in_no_trait, 1).await.unwrap();
}

fn main() {
    drop(invalidations());
}
