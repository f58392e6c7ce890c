//! A load in the background owns a copy of each argument that is passed by reference.
use multi_tier_cached::multi_tier_cached;

struct Conn;

#[multi_tier_cached(ttl = "5m", skip(conn), stale_while_revalidate = "1m")]
async fn get(conn: &Conn, id: u64) -> u64 {
    let _ = conn;
    id
}

impl Conn {
    #[multi_tier_cached(ttl = "5m", skip(self), refresh_ahead)]
    async fn find(&self, id: u64) -> u64 {
        id
    }
}

fn main() {}
