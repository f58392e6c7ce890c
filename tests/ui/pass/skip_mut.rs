//! A skipped `&mut` that is written `mut` compiles.
use multi_tier_cached::multi_tier_cached;

struct Connection(u64);

#[multi_tier_cached(ttl = "5m", skip(mut conn))]
async fn rows(conn: &mut Connection, id: u64) -> u64 {
    conn.0 += 1;
    conn.0 + id
}

#[multi_tier_cached(ttl = "5m", tiers = "l1", skip(mut log))]
fn parsed(text: &str, log: &mut Vec<String>) -> usize {
    log.push(text.to_owned());
    text.len()
}

impl Connection {
    #[multi_tier_cached(ttl = "5m", skip(mut self))]
    async fn row(&mut self, id: u64) -> u64 {
        self.0 += 1;
        self.0 + id
    }
}

fn main() {
    std::mem::drop((rows(&mut Connection(0), 1), Connection(0).row(1)));
    parsed("a", &mut Vec::new());
}
