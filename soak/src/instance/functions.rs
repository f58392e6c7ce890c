//! The cached functions.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use multi_tier_cached::{Tag, caching, multi_tier_cached, tag};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::state::Instance;
use crate::items::{Item, SERVING, SLOW, group_of};

/// Duration of a load of a slow key.
pub const SLOW_LOAD: Duration = Duration::from_millis(500);

/// Duration of a nested load: more than ten times the bound.
pub const NESTED_LOAD: Duration = Duration::from_millis(5_400);

/// Duration of a load of the function whose loads all fail.
pub const FAILING_LOAD: Duration = Duration::from_millis(100);

/// A version, with the key that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Versioned {
    pub(super) item: Item,
    pub(super) version: u64,
}

#[derive(Clone, Debug)]
pub(super) struct LoadFailed;

/// An error that is neither `Clone` nor made from a shared one, as most errors are.
#[derive(Debug)]
pub(super) struct NotShared;

/// Its values carry the tag of their group.
#[multi_tier_cached(
    ttl = "1h",
    name = "soak::bounded",
    when_isolated = "load",
    tags_of = |loaded: &Versioned| tag_of_group(loaded.item)
)]
pub(super) async fn bounded(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

/// Calls of [`bounded`] for several keys at once.
#[multi_tier_cached(batch = items, same_as = bounded)]
pub(super) async fn bounded_batch(
    items: Vec<Item>,
) -> Result<HashMap<Item, Versioned>, LoadFailed> {
    let mut loaded = HashMap::new();
    for item in items {
        loaded.insert(item, load(item).await?);
    }
    Ok(loaded)
}

fn tag_of_group(item: Item) -> Option<Tag> {
    let group = group_of(item)?;
    Some(tag!("soak-group:{group}"))
}

#[multi_tier_cached(ttl = "1h", name = "soak::strong", consistency = "strong")]
pub(super) async fn strong(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

/// Each key carries a tag of its own.
#[multi_tier_cached(
    ttl = "1h",
    name = "soak::serving",
    when_isolated = "serve",
    tags = ["soak-item:{item}"]
)]
pub(super) async fn serving(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

/// Its values are returned for up to [`LONGEST_AGE`](crate::items::LONGEST_AGE), as are those of
/// [`stale_if_error`]. Its body tags them.
#[multi_tier_cached(
    ttl = "1s",
    stale_while_revalidate = "2s",
    stale_if_error = "8s",
    refresh_ahead,
    name = "soak::revalidated",
    when_isolated = "load",
    tags = []
)]
pub(super) async fn revalidated(item: Item) -> Result<Versioned, LoadFailed> {
    let loaded = load(item).await?;
    if let Some(tag) = tag_of_group(item) {
        caching::tag(tag);
    }
    Ok(loaded)
}

/// Loads that take longer than its timeout continue in the background.
#[multi_tier_cached(
    ttl = "1s",
    stale_if_error = "8s",
    soft_timeout = "20ms",
    name = "soak::stale_if_error",
    when_isolated = "serve"
)]
pub(super) async fn stale_if_error(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::in_memory", tiers = "l1")]
pub(super) async fn in_memory(item: Item) -> Result<Versioned, LoadFailed> {
    load_immediately(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::unchanged")]
pub(super) async fn unchanged(item: Item) -> Result<Versioned, LoadFailed> {
    load_immediately(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::failing")]
pub(super) async fn failing(_item: Item) -> Result<u64, NotShared> {
    sleep(FAILING_LOAD).await;
    Err(NotShared)
}

#[multi_tier_cached(ttl = "1h", name = "soak::nested")]
async fn nested(item: Item) -> Result<Versioned, LoadFailed> {
    let loaded = load_immediately(item).await;
    sleep(NESTED_LOAD).await;
    loaded
}

/// Calls a slow function, at the same time as its other callers.
#[multi_tier_cached(ttl = "1h", name = "soak::nesting")]
pub(super) async fn nesting(item: Item, _caller: String) -> Result<Versioned, LoadFailed> {
    nested(item).await
}

/// Reads the database, then waits: the longer, the older the value is when the load returns.
async fn load(item: Item) -> Result<Versioned, LoadFailed> {
    let loaded = load_immediately(item).await?;
    let takes = if (SLOW..SERVING).contains(&item) {
        SLOW_LOAD
    } else {
        let micros = match fastrand::u32(..100) {
            0..60 => 0,
            60..90 => fastrand::u64(..3_000),
            90..98 => fastrand::u64(..30_000),
            _ => fastrand::u64(..200_000),
        };
        Duration::from_micros(micros)
    };
    if !takes.is_zero() {
        sleep(takes).await;
    }
    if fastrand::u32(..1_000) < Instance::get().failing.load(Ordering::Relaxed) {
        return Err(LoadFailed);
    }
    Ok(loaded)
}

/// Reads the database, without a wait.
async fn load_immediately(item: Item) -> Result<Versioned, LoadFailed> {
    let database = &Instance::get().database;
    let version = database.load(item).await.map_err(|_| LoadFailed)?;
    Ok(Versioned { item, version })
}
