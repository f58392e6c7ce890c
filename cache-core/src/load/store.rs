//! Step 7: the waiters are answered, and the value is stored in the lower tiers.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use super::visit::TierVisits;
use crate::cached_function::{CachedFunction, FencedAfter, TierBinding};
use crate::codec::ErasedType;
use crate::flight::Leader;
use crate::outcome::LoadOutcome;
use crate::record::{HEADER, Header, RecordKind};

/// How long a record says that there is no value. It takes the place of a value that could not be
/// stored.
const LIFE_OF_NOTHING: Duration = Duration::from_secs(1);

impl TierVisits<'_> {
    /// Keeps a value in memory, answers the waiters, and stores the value in the lower tiers.
    /// `took` is how long the body ran.
    ///
    /// The waiters need not wait for the lower tiers, nor for this caller to live that long, if
    /// memory answers later callers with the value. Memory does not if it has none, or if it keeps
    /// what a strong call found, which this value is to replace.
    pub(super) async fn publish(
        self,
        held: Held,
        took: Duration,
        leader: Leader,
        value_type: &dyn ErasedType,
    ) {
        // Declared in this order, so that the leases are released before the lead if the future is
        // dropped, or if the value's own code panics: a waiter that takes the lead takes the same
        // leases.
        let mut leader = Some(leader);
        let mut visits = self;
        let (function, key) = (visits.function, Arc::clone(&visits.key));
        let start = leader.as_ref().map_or(0, Leader::start);
        let is_kept = function.keep_loaded((&held, took), start, &visits, value_type);
        let outcome = LoadOutcome::Value(Arc::clone(&held));
        if function.has_memory()
            && (is_kept || !visits.replaces)
            && let Some(leader) = leader.take()
        {
            leader.complete(outcome.clone());
        }
        // Done also if the future is dropped.
        let replaced = visits
            .replaces
            .then(|| FencedAfter(|| function.drop_others(&key, Some(&held))));
        visits.store(&held, start, took, value_type).await;
        drop(replaced);
        if let Some(leader) = leader {
            leader.complete(outcome);
        }
    }

    /// Stores a value in every lower tier that granted a lease. A tier whose lease is void
    /// refuses it.
    async fn store(
        &mut self,
        held: &Held,
        start: u64,
        took: Duration,
        value_type: &dyn ErasedType,
    ) {
        if !value_type.has_records() || (!self.holds_a_lease() && !self.replaces) {
            return;
        }
        let payload = self.function.records.payload(held, value_type);
        let header = Header {
            load: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            ..self.function.records.header(&self.key, value_type)
        };
        for at in 0..self.visits.len() {
            self.store_in(at, start, &header, payload.as_deref()).await;
        }
    }

    /// Stores a value in the tier at place `at`. `payload` is `None` if the value cannot be
    /// written.
    async fn store_in(&mut self, at: usize, start: u64, header: &Header, payload: Option<&[u8]>) {
        let visit = &mut self.visits[at];
        let tier = visit.tier;
        // The key may be guarded in a shared tier that could not be asked. Then the value is not
        // stored in a private tier, as it is only a stopgap in memory.
        let is_stopgap = self.guard_is_unknown && self.function.is_fenced_here(tier);
        let Some(lease) = visit.lease.take().filter(|_| !is_stopgap) else {
            if self.replaces {
                // The record must be replaced, and cannot be replaced now.
                self.invalidate_later(tier);
            }
            return;
        };
        let payload = payload.filter(|payload| self.function.fits(tier, payload));
        let (kind, payload, life) = match payload {
            Some(payload) => {
                let life = tier.life(self.record_key.digest, self.ttl);
                (RecordKind::Value, payload, life)
            }
            // Not by an invalidation, which would also drop the value that memory has now.
            None if self.replaces => (RecordKind::Nothing, &[][..], LIFE_OF_NOTHING),
            None => return,
        };
        let stamp = self.function.stamp_in(tier, lease.stamp, start);
        let header = Header {
            created: tier.tier.now(),
            epoch: stamp.epoch,
            history: stamp.history,
            kind,
            ..*header
        };
        let record = header.with_life(life).encode(payload);
        let stored = visit.store(&self.record_key, &lease, record, life).await;
        if stored.is_err() && self.replaces {
            // It is not known whether the tier stored the record.
            self.invalidate_later(tier);
        }
    }
}

impl CachedFunction {
    /// Returns `true` if a tier takes a record with this payload. Counts and logs it otherwise.
    pub(super) fn fits(&self, tier: &TierBinding, payload: &[u8]) -> bool {
        let bytes = HEADER + payload.len();
        let fits = bytes <= tier.tier.settings().max_record_bytes;
        if !fits {
            tier.counters.too_large.add_one();
            tracing::debug!(
                function = %self.name(),
                tier = %tier.level,
                bytes,
                "a value is too large for the tier and was not sent"
            );
        }
        fits
    }
}
