//! A jitter is a whole number of percent, from 0 to 50.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", jitter = "10")]
async fn bare(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", jitter = "2.5%")]
async fn broken(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", jitter = "51%")]
async fn large(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", jitter = "1000%")]
async fn huge(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", jitter = 0.1)]
async fn number(id: u64) -> u64 {
    id
}

fn main() {}
