//! A method in the `impl` of a trait has no handle.
use multi_tier_cached::{expire, multi_tier_cached};

struct Repo;

trait Get {
    async fn get(&self, id: u64) -> u64;
}

impl Get for Repo {
    #[multi_tier_cached(ttl = "5m", skip(self), trait_impl)]
    async fn get(&self, id: u64) -> u64 {
        id
    }
}

fn main() {
    let _ = expire!(Repo::get, &Repo, 1);
}
