//! `skip` lists names, each once: one mistake, one error.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", skip(&id))]
async fn reference(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", skip(&mut conn, id))]
async fn mutable_reference(conn: &mut u64, id: u64) -> u64 {
    id + *conn
}

#[multi_tier_cached(ttl = "5m", key = "{id}", skip("pool"))]
async fn text(pool: &str, id: u64) -> u64 {
    id + pool.len() as u64
}

#[multi_tier_cached(ttl = "5m", skip(id, id))]
async fn twice(id: u64) -> u64 {
    id
}

struct Repo;

impl Repo {
    #[multi_tier_cached(ttl = "5m", skip(&self))]
    async fn method(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
