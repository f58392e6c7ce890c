//! A skipped `&mut` must be written `mut`, and nothing else may be.
use multi_tier_cached::multi_tier_cached;

struct Connection;

struct Repo(Connection);

#[multi_tier_cached(ttl = "5m", skip(conn))]
async fn by_connection(conn: &mut Connection, id: u64) -> u64 {
    let _ = conn;
    id
}

impl Repo {
    #[multi_tier_cached(ttl = "5m", skip(self))]
    async fn by_self(&mut self, id: u64) -> u64 {
        let _ = &self.0;
        id
    }
}

#[multi_tier_cached(ttl = "5m", skip(mut conn))]
async fn shared(conn: &Connection, id: u64) -> u64 {
    let _ = conn;
    id
}

fn main() {}
