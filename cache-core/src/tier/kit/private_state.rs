//! The state of a private tier beside its records: leases, guards and pending invalidations.

use std::future::ready;
use std::sync::Arc;

use super::pending::PendingInvalidations;
use crate::record::Stamp;
use crate::stats::Refusal;
use crate::tier::key::RecordKey;
use crate::tier::lease::{Guard, LeaseMode, LeaseResult, Wakeup};
use crate::tier::local::LocalLeases;
use crate::tier::operation::{HEADER_LEN, Target};

/// The leases, the guards and the pending invalidations of a private tier.
///
/// A store that one process uses needs no leases of its own: everybody who could hold one is in
/// this process. [`PrivateTier`](super::PrivateTier) is a complete tier on top of this; a store
/// that does more than four functions, such as one with threads of its own, uses this directly.
#[derive(Debug, Default)]
pub struct PrivateState {
    /// The leases and the guards.
    leases: Arc<LocalLeases>,
    /// The invalidations that the store does not know yet.
    pending: PendingInvalidations,
}

impl PrivateState {
    /// Returns the leases and the guards.
    #[must_use]
    pub fn leases(&self) -> &Arc<LocalLeases> {
        &self.leases
    }

    /// Returns the invalidations that the store does not know yet.
    #[must_use]
    pub fn pending(&self) -> &PendingInvalidations {
        &self.pending
    }

    /// Begins an invalidation, and returns its number. From now on its records are missing, and
    /// nothing is stored for its keys until it is [done](PendingInvalidations::done).
    pub fn begin_invalidation(&self, target: Target<'_>) -> u64 {
        // The order matters. A fill that checked its lease before it was voided, and writes after
        // that, is found and deleted when the pending invalidation is done. In the opposite order,
        // a lease could be granted after the void and before the invalidation is pending.
        let number = self.pending.add(target);
        self.leases.void(target);
        number
    }

    /// Grants a lease, unless it has to wait or is refused; see
    /// [`Tier::lease`](crate::tier::Tier::lease).
    ///
    /// `record` is the record that the store has now; it matters only for a mode that
    /// [waits](LeaseMode::waits).
    /// `stamp` is the stamp that a valid record carries now.
    pub fn grant(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
        record: Option<&[u8]>,
        stamp: Stamp,
    ) -> LeaseResult {
        let is_another = |record: &[u8]| record[..record.len().min(HEADER_LEN)] != *expected_header;
        if mode.waits() && record.is_some_and(is_another) {
            // The key was filled since the caller read it, so the caller reads it again at once.
            return LeaseResult::Held(Wakeup::new(ready(())));
        }
        self.leases.take(key, mode, stamp)
    }

    /// Returns why a key must not be filled under a lease, if it must not. Call it while the
    /// [lock of the key](super::KeyLocks) is held, and write the record before it is released.
    ///
    /// `leased` is the stamp of the lease, and `now` the stamp that a valid record carries now.
    #[must_use]
    pub fn refusal(
        &self,
        key: &RecordKey,
        token: u64,
        leased: Stamp,
        now: Stamp,
    ) -> Option<Refusal> {
        if !self.leases.holds(key, token) {
            Some(Refusal::Lease)
        } else if self.pending.covers(key) {
            Some(Refusal::Queued)
        } else if now.history != leased.history {
            Some(Refusal::History)
        } else if now.epoch != leased.epoch {
            Some(Refusal::Function)
        } else {
            None
        }
    }

    /// Guards a key. If the guard is dropped before its key was invalidated, `invalidate` runs,
    /// which must not wait.
    pub fn guard(
        &self,
        key: &RecordKey,
        invalidate: impl FnOnce() + Send + Sync + 'static,
    ) -> Guard {
        self.leases.guard(key, invalidate)
    }
}
