//! `expire!` takes what `invalidate!` takes.
use multi_tier_cached::{expire, multi_tier_cached};

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

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
    let _ = expire!(get,);
    let _ = expire!(42);
    let _ = expire!(get 1);
    let _ = expire!(<Repo as Get>::get, &Repo, 1);
}
