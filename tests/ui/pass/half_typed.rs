//! A body that is not finished expands too: here the signature is used, as an editor would.
#![allow(unreachable_code, unused)]
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn get(id: u64) -> u64 {
    todo!()
}

fn main() {
    let _ = get(1);
    let _ = get::entry(1);
}
