//! An argument that cannot be encoded is an error that names its type.
use multi_tier_cached::multi_tier_cached;

struct Pool;

#[multi_tier_cached(ttl = "5m")]
async fn get(pool: Pool, id: u64) -> u64 {
    let Pool = pool;
    id
}

fn main() {}
