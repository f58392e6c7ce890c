//! Step 7: the waiters are answered, and the value is stored in the lower tiers.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use super::visit::TierVisits;
use crate::cached_function::{CachedFunction, TierBinding};
use crate::codec::ErasedType;
use crate::fence::FencedAfter;
use crate::flight::Leader;
use crate::outcome::LoadOutcome;
use crate::record::{Header, RecordKind, RecordMarks};

/// How long a record says that there is no value. It takes the place of a value that could not be
/// stored.
const LIFE_OF_NOTHING: Duration = Duration::from_secs(1);

/// The result of a load that is kept.
pub(super) struct Kept {
    /// The value. `None` if the load found that there is none.
    pub(super) held: Option<Held>,
    /// How long the body ran.
    pub(super) took: Duration,
}

impl Kept {
    fn outcome(&self) -> LoadOutcome {
        match &self.held {
            Some(held) => LoadOutcome::Value(Arc::clone(held)),
            None => LoadOutcome::Absent,
        }
    }
}

impl TierVisits<'_> {
    /// Keeps the result of a load in memory, answers the waiters, and stores the result in the
    /// lower tiers.
    ///
    /// The waiters need not wait for the lower tiers, nor for this caller to live that long, if
    /// memory answers later callers with the result. It does not if it has none, or if it keeps
    /// what a strong call found, which this result is to replace.
    ///
    /// Nor does memory keep the result of a flight that is not the current one of its key, which
    /// another flight has replaced, or beside which a call has read a lower tier. The tier gets the
    /// result nevertheless. If the lease is still valid, nothing has replaced or invalidated the
    /// record that was there when it was granted, so the result is newer than what was read there.
    pub(super) async fn publish(
        self: Box<Self>,
        kept: Kept,
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
        let is_current = leader.as_ref().is_some_and(Leader::is_current);
        let is_kept = match &kept.held {
            _ if !is_current => false,
            Some(held) => {
                let loaded = (held, kept.took);
                function.keep_loaded(loaded, start, &visits, value_type)
            }
            None => function.keep_absent(start, &visits),
        };
        let replaces = visits.replaces || !is_current;
        if function.has_memory()
            && (is_kept || !replaces)
            && let Some(leader) = leader.take()
        {
            leader.complete(kept.outcome());
        }
        // Done also if the future is dropped.
        let replaced =
            replaces.then(|| FencedAfter(|| function.drop_others(&key, kept.held.as_ref())));
        let is_stored = visits.store(&kept, start, value_type).await;
        match replaced {
            // The other result is the newer one.
            Some(replaced) if !visits.replaces && !is_stored => replaced.disarm(),
            replaced => drop(replaced),
        }
        if let Some(leader) = leader {
            leader.complete(kept.outcome());
        }
    }

    /// Stores a result in every lower tier that granted a lease. A tier whose lease is void
    /// refuses it. Returns `true` if a tier has stored it.
    async fn store(&mut self, kept: &Kept, start: u64, value_type: &dyn ErasedType) -> bool {
        if !value_type.has_records() || self.visits.is_empty() {
            return false;
        }
        // Boxed, because a call without lower tiers is to have a small future.
        Box::pin(self.store_in_tiers(kept, start, value_type)).await
    }

    async fn store_in_tiers(
        &mut self,
        kept: &Kept,
        start: u64,
        value_type: &dyn ErasedType,
    ) -> bool {
        let records = &self.function.records;
        // Known from an earlier value, so that no lease was taken.
        let is_unwritable = kept.held.is_some() && !records.can_be_written();
        if is_unwritable {
            self.count_unwritable();
        }
        if !self.holds_a_lease() && !self.replaces {
            return false;
        }
        let (kind, payload) = match &kept.held {
            Some(held) => (RecordKind::Value, records.payload(held, value_type)),
            None => (RecordKind::Absent, Some(Vec::new())),
        };
        if payload.is_none() && !is_unwritable {
            self.count_unwritable();
        }
        let header = Header {
            load: u32::try_from(kept.took.as_millis()).unwrap_or(u32::MAX),
            kind,
            ..records.header(&self.key, value_type)
        };
        // A value that was invalidated by its tags since its load began must not replace anything.
        let is_current = self.function.admits_tags(start, &self.tag_stripes());
        let payload = payload.as_deref().filter(|_| is_current);
        let mut is_stored = false;
        for at in 0..self.visits.len() {
            is_stored |= self.store_in(at, start, &header, payload).await;
        }
        is_stored
    }

    /// Counts a value that no tier gets, because it does not survive its codec.
    fn count_unwritable(&self) {
        let tiers = self.visits.iter().map(|visit| visit.tier);
        tiers.for_each(|tier| tier.counters.unwritable.add_one());
    }

    /// Stores a result in the tier at place `at`. `payload` is `None` if the value cannot be
    /// written. Returns `true` if the tier has stored something.
    async fn store_in(
        &mut self,
        at: usize,
        start: u64,
        header: &Header,
        payload: Option<&[u8]>,
    ) -> bool {
        let marks = self.marks_in(at, &self.tags.digests().into());
        let visit = &mut self.visits[at];
        let tier = visit.tier;
        // The key may be guarded in a shared tier that could not be asked. Then the value is not
        // stored in a private tier, as it is only a stopgap in memory.
        let is_stopgap = self.guard_is_unknown && self.function.is_fenced_here(tier);
        // Calls would return the record that is there as a stale value, also after they returned
        // this newer one.
        let hides_stale = self.function.records.has_window() && !visit.expected_header.is_empty();
        let Some(lease) = visit.lease.take().filter(|_| !is_stopgap) else {
            if self.replaces {
                // The record must be replaced, and cannot be replaced now.
                self.invalidate_later(tier);
            }
            return false;
        };
        let storable = payload.and_then(|payload| {
            let digest = self.record_key.digest;
            let marks = marks.inspect_err(|refusal| visit.fill_refused(digest, *refusal));
            let marks = marks.ok()?;
            let fits = self.function.fits(tier, header, &marks, payload);
            fits.then_some((payload, marks))
        });
        let (kind, (payload, marks), life) = match storable {
            Some(storable) => {
                let life = match header.kind {
                    RecordKind::Absent => {
                        let none_ttl = self.function.times.none_ttl.unwrap_or_default();
                        tier.life_of_absence(self.record_key.digest, none_ttl)
                    }
                    _ => tier.life(self.record_key.digest, self.ttl),
                };
                (header.kind, storable, life)
            }
            // Not by an invalidation, which would also drop the value that memory has now.
            None if self.replaces || hides_stale => (
                RecordKind::Nothing,
                (&[][..], RecordMarks::default()),
                LIFE_OF_NOTHING,
            ),
            None => return false,
        };
        let stamp = self.function.stamp_in(tier, lease.stamp, start);
        let header = Header {
            created: visit.shard.tier.now(),
            epoch: stamp.epoch,
            history: stamp.history,
            kind,
            ..*header
        };
        let record = header.with_life(life).encode(&marks, payload);
        let kept_for = self.function.records.kept_for(kind, life);
        let stored = visit.store(&self.record_key, lease, record, kept_for).await;
        if stored.is_err() && self.replaces {
            // It is not known whether the tier stored the record.
            self.invalidate_later(tier);
        }
        // Without a reply it may be there.
        stored.unwrap_or(true)
    }
}

impl CachedFunction {
    /// Returns `true` if a tier takes a record with this payload. Counts and logs it otherwise.
    pub(super) fn fits(
        &self,
        tier: &TierBinding,
        header: &Header,
        marks: &RecordMarks,
        payload: &[u8],
    ) -> bool {
        let bytes = header.overhead(marks.tags.len()) + payload.len();
        let fits = bytes <= tier.store.settings().max_record_bytes;
        if !fits {
            tier.counters.too_large.add_one();
            tracing::debug!(
                target: "multi_tier_cached::load",
                function = %self.name(),
                tier = %tier.level,
                bytes,
                "a value is too large for the tier and was not sent"
            );
        }
        fits
    }
}
