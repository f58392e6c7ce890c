//! `expire!` takes arguments of the function's types.
use multi_tier_cached::{expire, multi_tier_cached};

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    id
}

fn main() {
    let _ = expire!(get, "1");
}
