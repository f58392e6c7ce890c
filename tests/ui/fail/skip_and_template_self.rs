//! `self` cannot be both in `key` and in `skip`.
use multi_tier_cached::multi_tier_cached;

struct Shop(u64);

impl Shop {
    #[multi_tier_cached(ttl = "5m", skip(self), key = "{self.0}:{id}")]
    async fn price(&self, id: u64) -> u64 {
        self.0 + id
    }
}

fn main() {}
