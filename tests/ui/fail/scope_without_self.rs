//! `scope = self…` requires a `self`.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", scope = self.tenant)]
async fn get(id: u64) -> u64 {
    id
}

fn main() {}
