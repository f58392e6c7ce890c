//! The cached functions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Instance;
use crate::history::{Item, SERVING, SLOW};

/// What a load of a slow key takes.
pub const SLOW_LOAD: Duration = Duration::from_millis(500);

/// Time that a nested load takes: more than ten times the bound.
pub const NESTED_LOAD: Duration = Duration::from_millis(5_400);

/// Time that a load takes before it fails, of the function whose loads all fail.
pub const FAILING_LOAD: Duration = Duration::from_millis(100);

/// A version, and whose it is.
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

#[multi_tier_cached(ttl = "1h", name = "soak::bounded", when_isolated = "load")]
pub(super) async fn bounded(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::strong", consistency = "strong")]
pub(super) async fn strong(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::serving", when_isolated = "serve")]
pub(super) async fn serving(item: Item) -> Result<Versioned, LoadFailed> {
    load(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::in_memory", tiers = "l1")]
pub(super) async fn in_memory(item: Item) -> Result<Versioned, LoadFailed> {
    load_at_once(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::asked")]
pub(super) async fn asked(item: Item) -> Result<Versioned, LoadFailed> {
    load_at_once(item).await
}

#[multi_tier_cached(ttl = "1h", name = "soak::failing")]
pub(super) async fn failing(_item: Item) -> Result<u64, NotShared> {
    sleep(FAILING_LOAD).await;
    Err(NotShared)
}

#[multi_tier_cached(ttl = "1h", name = "soak::nested")]
async fn nested(item: Item) -> Result<Versioned, LoadFailed> {
    let loaded = load_at_once(item).await;
    sleep(NESTED_LOAD).await;
    loaded
}

/// Calls a slow function, as each of its callers does at the same time.
#[multi_tier_cached(ttl = "1h", name = "soak::nesting")]
pub(super) async fn nesting(item: Item, _caller: String) -> Result<Versioned, LoadFailed> {
    nested(item).await
}

/// Reads the database, and takes its time after that: the longer, the older the value when it arrives.
async fn load(item: Item) -> Result<Versioned, LoadFailed> {
    let loaded = load_at_once(item).await?;
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

/// Reads the database.
async fn load_at_once(item: Item) -> Result<Versioned, LoadFailed> {
    let database = &Instance::get().database;
    let version = database.load(item).await.map_err(|_| LoadFailed)?;
    Ok(Versioned { item, version })
}
