//! A tag has the grammar of a key, and a text.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tags = ["user:{id"])]
async fn unclosed(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id}{part}"])]
async fn unseparated(id: u64, part: u64) -> u64 {
    id + part
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id + 1}"])]
async fn computed(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = [""])]
async fn empty(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = ["all", "all"])]
async fn twice(id: u64) -> u64 {
    id
}

fn main() {}
