//! A method must define what of `self` is in the key.
use multi_tier_cached::multi_tier_cached;

struct Repo;

impl Repo {
    #[multi_tier_cached(ttl = "5m")]
    async fn get(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
