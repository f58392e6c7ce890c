//! A result of type `impl Trait` cannot be stored.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> Result<impl Iterator<Item = u64>, ()> {
    Ok(0..id)
}

fn main() {}
