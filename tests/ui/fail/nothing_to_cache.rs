//! A function that returns nothing cannot be cached.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn log(id: u64) {
    println!("{id}");
}

fn main() {}
