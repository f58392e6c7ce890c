//! A load in the background cannot own what an argument borrows.
use std::borrow::Cow;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m")]
async fn elided(name: Option<&str>) -> usize {
    name.map_or(0, str::len)
}

#[multi_tier_cached(ttl = "5m", refresh_ahead)]
async fn named<'a>(name: &'a str, title: Cow<'a, str>) -> usize {
    name.len() + title.len()
}

fn main() {}
