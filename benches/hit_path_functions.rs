//! The functions whose hits are measured.

use super::{Arc, HANGS, Ordering, Refused, Row, multi_tier_cached, row};

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
pub(crate) async fn shared(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
pub(crate) async fn whole(shard: u32, id: u64) -> Row {
    row(id + u64::from(shard))
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
pub(crate) async fn by_name(name: &str) -> Arc<Row> {
    Arc::new(row(name.len() as u64))
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
pub(crate) async fn by_name_and_id(name: &str, id: u64) -> Arc<Row> {
    Arc::new(row(name.len() as u64 + id))
}

#[multi_tier_cached(
    ttl = "1h",
    tiers = "l1",
    stale_while_revalidate = "1h",
    stale_if_error = "1h",
    refresh_ahead,
    none_ttl = "1h",
    error_ttl = "1m",
    error_if = |_: &Refused| true
)]
pub(crate) async fn timed(shard: u32, id: u64) -> Result<Option<Arc<Row>>, Refused> {
    match shard {
        1 => Ok(Some(Arc::new(row(id + 1)))),
        2 => Ok(None),
        _ => Err(Refused),
    }
}

/// A function whose values have one tag.
#[multi_tier_cached(ttl = "1h", tiers = "l1", tags = ["one:{id}"])]
pub(crate) async fn one_tag(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// A function whose values have four tags.
#[multi_tier_cached(
    ttl = "1h",
    tiers = "l1",
    tags = ["a:{id}", "b:{id}", "shard:{shard}", "all"]
)]
pub(crate) async fn four_tags(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// Four tags and a stale window.
#[multi_tier_cached(
    ttl = "1h",
    tiers = "l1",
    stale_while_revalidate = "1h",
    tags = ["a:{id}", "b:{id}", "shard:{shard}", "all"]
)]
pub(crate) async fn four_tags_timed(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// A function with a stale window alone.
#[multi_tier_cached(ttl = "1h", tiers = "l1", stale_while_revalidate = "1h")]
pub(crate) async fn windowed(shard: u32, id: u64) -> Arc<Row> {
    Arc::new(row(id + u64::from(shard)))
}

/// A function whose values are stale at once. Its loads never end after the first of each key.
#[multi_tier_cached(ttl = "1ms", tiers = "l1", stale_while_revalidate = "1h")]
pub(crate) async fn stale(shard: u32, id: u64) -> Arc<Row> {
    if HANGS.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    Arc::new(row(id + u64::from(shard)))
}
