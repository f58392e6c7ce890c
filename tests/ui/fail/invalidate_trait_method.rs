//! A method in the `impl` of a trait has no handle, by whichever path it is named.
use multi_tier_cached::{Invalidation, invalidate, multi_tier_cached};

trait Pricing {
    async fn price(&self, id: u64) -> u64;
}

struct Repo;

impl Pricing for Repo {
    #[multi_tier_cached(ttl = "5m", skip(self), trait_impl)]
    async fn price(&self, id: u64) -> u64 {
        id
    }
}

impl Repo {
    #[multi_tier_cached(ttl = "5m", skip(self))]
    async fn stock(&self, id: u64) -> u64 {
        id
    }
}

async fn by_trait() {
    invalidate!(<Repo as Pricing>::price, &Repo, 1).await.unwrap();
}

async fn by_type() {
    invalidate!(Repo::price, &Repo, 1).await.unwrap();
}

async fn whole() {
    invalidate!(Repo::price).await.unwrap();
}

async fn settled() -> Invalidation {
    invalidate!(Repo::stock).await.unwrap();
    invalidate!(<Repo>::stock, &Repo, 1)
}

fn main() {
    drop((by_trait(), by_type(), whole(), settled()));
}
