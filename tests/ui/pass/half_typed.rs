//! A body that is not finished expands too: here the signature is used, as an editor would.
#![allow(unreachable_code, unused)]
use std::collections::HashMap;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    todo!()
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id}"], tags_of = |_| todo!() as [_; 0])]
async fn tagged(id: u64) -> u64 {
    todo!()
}

#[multi_tier_cached(ttl = "5m", batch = ids)]
async fn many(ids: &[u64]) -> HashMap<u64, u64> {
    todo!()
}

#[multi_tier_cached(batch = ids, same_as = get)]
async fn all(ids: &[u64]) -> HashMap<u64, u64> {
    todo!()
}

fn main() {
    let _ = get(1);
    let _ = get::entry(1);
    let _ = tagged(1);
    let _ = many(&[1]);
    let _ = many::entry(&[1]);
    let _ = all(&[1]);
    let _ = all::entry(&[1]);
}
