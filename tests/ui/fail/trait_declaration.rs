//! A declaration without a body cannot be cached.
use multi_tier_cached::multi_tier_cached;

trait Store {
    #[multi_tier_cached(ttl = "5m", skip(self))]
    async fn get(&self, id: u64) -> u64;
}

fn main() {}
