//! A load in the background runs on any thread.
use std::rc::Rc;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", skip(pool), stale_while_revalidate = "1m")]
async fn by_value(pool: Rc<str>, id: u64) -> usize {
    pool.len() + usize::from(id > 0)
}

#[multi_tier_cached(ttl = "5m", skip(pool), stale_while_revalidate = "1m")]
async fn by_reference(pool: &Rc<str>, id: u64) -> usize {
    pool.len() + usize::from(id > 0)
}

#[multi_tier_cached(ttl = "5m", skip(cell), stale_while_revalidate = "1m")]
async fn not_shared(cell: &std::cell::Cell<u64>, id: u64) -> u64 {
    cell.get() + id
}

fn main() {}
