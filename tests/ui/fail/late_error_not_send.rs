//! The result of a load in the background is sent between threads.
use std::rc::Rc;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m")]
async fn get(id: u64) -> Result<u64, Rc<str>> {
    Ok(id)
}

fn main() {}
