//! Unknown and misspelt options: one mistake, one error.

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached("5m")]
async fn bare(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl("5m"))]
async fn listed(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl(l0 = "5m"))]
async fn none(id: u64) -> u64 {
    id
}

#[multi_tier_cached(l1 = "5m")]
async fn alone(id: u64) -> u64 {
    id
}

#[multi_tier_cached(time = "5m")]
async fn elsewhere(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", max_entries = 5)]
async fn foreign(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", trait_impl = true)]
async fn valued(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "2y")]
async fn long(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m",,)]
async fn nameless(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", 4)]
async fn number(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "")]
async fn empty_ttl(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tiers = "l1,")]
async fn empty_tier(id: u64) -> u64 {
    id
}

fn main() {}
