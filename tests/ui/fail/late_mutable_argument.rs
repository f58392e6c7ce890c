//! A load in the background cannot own an `&mut`, also if it is skipped.
use multi_tier_cached::multi_tier_cached;

struct Conn {
    tenant: u64,
}

#[multi_tier_cached(ttl = "5m", skip(mut conn), stale_while_revalidate = "1m")]
async fn get(conn: &mut Conn, id: u64) -> u64 {
    conn.tenant + id
}

impl Conn {
    #[multi_tier_cached(ttl = "5m", scope = self.tenant, refresh_ahead)]
    async fn find(&mut self, id: u64) -> u64 {
        self.tenant + id
    }
}

fn main() {}
