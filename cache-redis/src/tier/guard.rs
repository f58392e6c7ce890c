//! A guard that a transaction holds.

use std::sync::Arc;

use cache_core::tier::GuardHeld;
use tokio::time::Instant;

use crate::commands::guard::GuardedKey;
use crate::journal::{Invalidated, Writer};
use crate::link::Shared;

/// Holds a guard. If its key was invalidated, dropping it ends the guard. Otherwise dropping it
/// invalidates the key, and the guard expires by itself.
pub(super) struct Holder {
    shared: Arc<Shared>,
    number: u64,
    invalidates: Option<Invalidated>,
    _file: Option<Arc<Writer>>,
}

impl Holder {
    pub(super) fn new(
        shared: &Arc<Shared>,
        number: u64,
        key: GuardedKey,
        invalidates: Invalidated,
    ) -> Self {
        shared.guards.hold(number, key);
        Self {
            shared: Arc::clone(shared),
            number,
            invalidates: Some(invalidates),
            _file: shared.journal.keep_file(),
        }
    }
}

impl GuardHeld for Holder {
    fn is_placed(&self) -> bool {
        self.shared.guards.is_placed(self.number, Instant::now())
    }

    fn was_invalidated(&mut self) {
        self.invalidates = None;
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        match self.invalidates.take() {
            // The outcome of the transaction is unknown, and its commit may still be running: the
            // guard is not ended, only no longer renewed.
            Some(what) => {
                self.shared.guards.abandon(self.number);
                self.shared.journal.queue(what);
            }
            None => self.shared.guards.end(self.number),
        }
    }
}
