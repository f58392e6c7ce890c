//! `invalidate!` takes as many arguments as the function.
use multi_tier_cached::{invalidate, multi_tier_cached};

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {
    let _ = invalidate!(get, 1, 2);
}
