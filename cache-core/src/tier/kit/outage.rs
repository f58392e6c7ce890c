//! The log of an outage.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock::lock;
use crate::error::{Error, ErrorKind};
use crate::tier::Shard;

/// The failures that the links of one tier have in the log now. The links share it, so that a
/// failure that several of them have is a warning once. It has one entry for each link at most.
#[derive(Clone, Debug, Default)]
pub struct ReportedFailures(Arc<Mutex<Vec<String>>>);

impl ReportedFailures {
    /// Adds a failure. Returns `false` if another link has reported it.
    fn add(&self, failure: &str) -> bool {
        let mut reported = lock(&self.0);
        let is_new = reported.iter().all(|known| known != failure);
        if is_new {
            reported.push(failure.to_owned());
        }
        is_new
    }

    fn remove(&self, failure: &str) {
        lock(&self.0).retain(|known| known != failure);
    }
}

/// Logs an outage of one link once: the first failure as a warning, later ones for debugging only,
/// and the end. A failure that another link of the tier has reported is logged for debugging only.
pub struct Outage {
    store: &'static str,
    /// `None` if the store has one shard.
    shard: Option<u8>,
    failures: ReportedFailures,
    is_noted: bool,
    /// The failure that this link has reported.
    reported: Option<String>,
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage")
            .field("store", &self.store)
            .field("shard", &self.shard)
            .field("reported", &self.reported)
            .finish_non_exhaustive()
    }
}

impl Outage {
    /// Creates a log for a store with this name. There is no outage yet.
    #[must_use]
    pub fn new(store: &'static str) -> Self {
        Self::of_shard(store, Shard::ONLY, &ReportedFailures::default())
    }

    /// Creates a log for the link of one shard. `failures` is that of all shards of the tier.
    #[must_use]
    pub fn of_shard(store: &'static str, shard: Shard, failures: &ReportedFailures) -> Self {
        Self {
            store,
            shard: (!shard.is_only()).then(|| shard.index()),
            failures: failures.clone(),
            is_noted: false,
            reported: None,
        }
    }

    /// Notes that an attempt to use the store failed.
    pub fn failed(&mut self, address: &str, error: &Error) {
        let (store, shard) = (self.store, self.shard);
        if std::mem::replace(&mut self.is_noted, true) {
            tracing::debug!(target: "multi_tier_cached::tier", shard, address, error = ?error, "{store} still cannot be used");
            return;
        }
        let failure = match error.kind() {
            // Of the settings, which all links have in common.
            ErrorKind::Configuration => format!("{error:?}"),
            _ => format!("{address}: {error:?}"),
        };
        if !self.failures.add(&failure) {
            tracing::debug!(target: "multi_tier_cached::tier", shard, address, error = ?error, "{store} cannot be used here either");
            return;
        }
        self.reported = Some(failure);
        tracing::warn!(
            target: "multi_tier_cached::tier",
            shard,
            address,
            error = ?error,
            "{store} cannot be used; calls continue without it until it can"
        );
    }

    /// Notes that no attempt was made, because of a failure of another link, which reports it.
    pub fn waits(&self, address: &str, error: &Error) {
        let (store, shard) = (self.store, self.shard);
        tracing::debug!(target: "multi_tier_cached::tier", shard, address, error = ?error, "{store} cannot be used yet");
    }

    /// Notes that the store can be used.
    pub fn ended(&mut self, address: &str) {
        let (store, shard) = (self.store, self.shard);
        let was_noted = std::mem::take(&mut self.is_noted);
        if let Some(failure) = self.reported.take() {
            self.failures.remove(&failure);
            tracing::info!(target: "multi_tier_cached::tier", shard, address, "{store} can be used again");
        } else if was_noted {
            tracing::debug!(target: "multi_tier_cached::tier", shard, address, "{store} can be used here again");
        }
    }

    /// Notes that the connection was lost.
    pub(super) fn lost(&self, address: &str, lasted: Duration) {
        let (store, shard) = (self.store, self.shard);
        tracing::info!(
            target: "multi_tier_cached::tier",
            shard,
            address,
            ?lasted,
            "connection to {store} lost; connecting again"
        );
    }
}
