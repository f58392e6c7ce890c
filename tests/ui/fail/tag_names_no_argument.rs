//! A tag names arguments only.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tags = ["user:{idd}", "all"])]
async fn misspelt(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = ["pair:{a}"])]
async fn pattern((a, b): (u64, u64)) -> u64 {
    a + b
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{self.id}"])]
async fn free(id: u64) -> u64 {
    id
}

fn main() {}
