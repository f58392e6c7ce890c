//! A load of a batch in the background can move to another thread.
use std::collections::HashMap;
use std::rc::Rc;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", batch = ids, skip(rc), refresh_ahead)]
async fn get(ids: &[u64], rc: Rc<u64>) -> HashMap<u64, u64> {
    ids.iter().map(|id| (*id, *rc)).collect()
}

fn main() {}
