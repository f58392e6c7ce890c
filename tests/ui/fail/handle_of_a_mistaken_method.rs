//! A mistake in the attribute of a method is one error: its handles are declared.
use multi_tier_cached::{invalidate, multi_tier_cached};

struct Repo<T>(T);

impl<T: Clone + Send + Sync + 'static> Repo<T> {
    #[multi_tier_cached(ttl = "5m", scpe = self.0)]
    pub async fn method(&self, (a, b): (u64, u64), by: impl AsRef<str>) -> Result<u64, String> {
        Err(format!("{a}{b}{}", by.as_ref()))
    }

    #[multi_tier_cached(ttl = "0s", scope = Self)]
    async fn associated(id: u64) -> u64 {
        id
    }

    #[multi_tier_cached(ttl = "5m", scope: Self)]
    async fn unreadable_scope(id: u64) -> u64 {
        id
    }
}

trait Pricing {
    async fn price(&self, id: u64) -> u64;
}

impl Pricing for Repo<u8> {
    #[multi_tier_cached(ttl = "5m", skip(self), trait_imp)]
    async fn price(&self, id: u64) -> u64 {
        id
    }
}

async fn keys(repo: &Repo<u8>) {
    invalidate!(Repo::<u8>::method, repo, (1, 2), "x").await.unwrap();
    invalidate!(Repo::<u8>::associated, 1).await.unwrap();
    invalidate!(Repo::<u8>::unreadable_scope, 1).await.unwrap();
}

async fn functions() {
    invalidate!(Repo::<u8>::method).await.unwrap();
    invalidate!(Repo::<u8>::associated).await.unwrap();
    invalidate!(Repo::<u8>::unreadable_scope).await.unwrap();
}

async fn handle(repo: &Repo<u8>) -> Option<u64> {
    Repo::<u8>::method_entry(repo, (1, 2), "x").refresh().await.ok()
}

fn main() {
    drop((keys(&Repo(1)), functions(), handle(&Repo(1)), Repo(1).price(1)));
}
