//! The cached functions, which have one key each.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use multi_tier_cached::multi_tier_cached;

use super::source::{LoadFailed, SOURCE};

/// The ttl of all functions.
pub(super) const TTL: Duration = Duration::from_secs(1);

/// The `hard_timeout` of [`hung`].
pub(super) const HARD_TIMEOUT: Duration = Duration::from_millis(500);

/// The `load_limit` of [`hung`].
pub(super) const LOAD_LIMIT: Duration = Duration::from_secs(5);

/// The outage of a short run is longer than the first window, so that it shows the second one too,
/// in which calls wait for a load unless the key is backed off.
#[multi_tier_cached(
    ttl = "1s",
    name = "windows::revalidated",
    stale_while_revalidate = "3s",
    stale_if_error = "1h"
)]
async fn revalidated(_key: u64) -> Result<u64, LoadFailed> {
    SOURCE.load().await
}

#[multi_tier_cached(ttl = "1s", name = "windows::ahead", refresh_ahead)]
async fn ahead(_key: u64) -> Result<u64, LoadFailed> {
    SOURCE.load().await
}

#[multi_tier_cached(
    ttl = "1s",
    name = "windows::hung",
    hard_timeout = "500ms",
    load_limit = "5s"
)]
async fn hung(_key: u64) -> Result<u64, LoadFailed> {
    SOURCE.load().await
}

/// A cached function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HotFunction {
    /// It has `stale_while_revalidate` and `stale_if_error`.
    Revalidated,
    /// It has `refresh_ahead`.
    Ahead,
    /// It has `hard_timeout` and `load_limit`.
    Hung,
}

impl HotFunction {
    const ALL: [Self; 3] = [Self::Revalidated, Self::Ahead, Self::Hung];

    /// Returns the name of the function in statistics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Revalidated => "windows::revalidated",
            Self::Ahead => "windows::ahead",
            Self::Hung => "windows::hung",
        }
    }

    /// Calls the function for its hot key.
    pub(super) async fn call(self) -> Result<u64, LoadFailed> {
        match self {
            Self::Revalidated => revalidated(1).await,
            Self::Ahead => ahead(1).await,
            Self::Hung => hung(1).await,
        }
    }
}

impl fmt::Display for HotFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HotFunction {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = |function: &Self| function.name() == text;
        Self::ALL.into_iter().find(named).ok_or(())
    }
}
