//! `tags` is a list of texts.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", tags = "user:{id}")]
async fn text(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = [user, "all"])]
async fn name(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id}" "all"])]
async fn without_comma(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags)]
async fn alone(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tag = ["all"])]
async fn misspelt(id: u64) -> u64 {
    id
}

fn main() {}
