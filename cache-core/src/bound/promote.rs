//! Copying up: a value that a tier has goes to the lower tiers above it, off the caller's path.

use std::time::Duration;

use super::CachedFunction;
use super::visit::TierVisits;
use crate::key::Key;
use crate::policy::Consistency;
use crate::record::{Header, RecordKind};
use crate::tier::watch::Operation;
use crate::tier::{LeaseMode, LeaseResult, ReadOptions};

impl CachedFunction {
    /// Has the record that the tier at `from` has copied to the lower tiers above it, when there is time.
    ///
    /// What those have by now that does not count, `lookup` has seen: that is replaced, and nothing else.
    pub(super) fn promote_later(&self, key: &Key, from: usize, lookup: &TierVisits<'_>) {
        let (Some(this), key) = (self.this.upgrade(), key.clone()) else {
            return;
        };
        let above = &lookup.visits[..from];
        let unusable = above.iter().map(|visit| visit.unusable.clone()).collect();
        self.state
            .background
            .run(async move { this.promote(&key, from, unusable).await });
    }

    /// The leases come first, and the record is read after them: what is invalidated before that is not found any more, from the
    /// bottom up, and what is invalidated after it voids the leases.
    async fn promote(&self, key: &Key, from: usize, unusable: Vec<Vec<u8>>) {
        let start = self.state.fences.now();
        let mut lookup = self.lower_tiers(key);
        for (visit, unusable) in lookup.visits.iter_mut().zip(unusable) {
            visit.unusable = unusable;
        }
        for at in 0..from {
            if self.may_promote(from, at) {
                self.lease_above(at, &mut lookup).await;
            }
        }
        if !lookup.holds_a_lease() {
            return;
        }
        let Some((header, payload, left)) = self.read_again(from, key, &mut lookup).await else {
            return;
        };
        let read = self.state.clock.now();
        // Of a tier of this instance alone the record itself says when its load began.
        let start = match self.is_fenced_here(&self.lower[from]) {
            true => header.epoch,
            false => start,
        };
        let TierVisits {
            record_key, visits, ..
        } = &mut lookup;
        for visit in &mut visits[..from] {
            let lower = visit.tier;
            let Some(lease) = visit.lease.take().filter(|_| self.fits(lower, &payload)) else {
                continue;
            };
            // One copy after the other, and each ends with what it is of.
            let left = left.saturating_sub(self.state.clock.now().since(read));
            if left.is_zero() {
                return;
            }
            let life = lower.life_of_copy(record_key.digest, left);
            let stamp = self.stamp_in(lower, lease.stamp, start);
            let header = Header {
                created: lower.tier.now(),
                life: u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1),
                epoch: stamp.epoch,
                history: stamp.history,
                kind: RecordKind::Copy,
                ..header
            };
            let record = header.etag(&payload);
            let stored = self.store(visit, record_key, &lease, record, life).await;
            if matches!(stored, Ok(true)) {
                lower.counters.promotions.add_one();
            }
        }
    }

    /// Not from a tier of this instance alone into one that others share: by how much this instance is behind, they are not.
    fn may_promote(&self, from: usize, to: usize) -> bool {
        !self.is_fenced_here(&self.lower[from]) || self.lower[to].is_private()
    }

    async fn lease_above(&self, at: usize, lookup: &mut TierVisits<'_>) {
        let TierVisits {
            record_key, visits, ..
        } = lookup;
        let visit = &mut visits[at];
        let lower = visit.tier;
        let unusable = &visit.unusable;
        // Where there is another record by now, or somebody loads, there is nothing to do.
        match visit
            .budget
            .spend(|within| {
                lower
                    .tier
                    .lease(record_key, LeaseMode::Exclusive, unusable, within)
            })
            .await
        {
            Ok(LeaseResult::Granted(lease)) => visit.lease = Some(lease),
            Ok(LeaseResult::Held(_)) => {}
            Ok(LeaseResult::Refused(refusal)) => lower.counters.refused_fills.add_one(refusal),
            Err(error) => lower.call_failed(Operation::Lease, &self.name, &error),
        }
    }

    /// The record of the tier at `from`, if it still counts, and what is left of its life.
    async fn read_again(
        &self,
        from: usize,
        key: &Key,
        lookup: &mut TierVisits<'_>,
    ) -> Option<(Header, Vec<u8>, Duration)> {
        let lower = &self.lower[from];
        let is_known = self.coherent_now().is_some();
        let record_key = &lookup.record_key;
        // As of now: what is copied is under a lease of now.
        let question = ReadOptions {
            consistency: Consistency::Strong,
            if_none_match: None,
        };
        let found = lookup.visits[from]
            .budget
            .spend(|within| lower.tier.read(record_key, question, within))
            .await;
        let found = found
            .inspect_err(|error| lower.call_failed(Operation::Read, &self.name, error))
            .ok()?;
        let bytes = found.record?;
        let (header, payload) = Header::open(&bytes).ok()?;
        let is_known = is_known && self.coherent_now().is_some();
        let is_valid_entry = if self.is_fenced_here(lower) {
            self.is_valid_stamp(header.stamp(), key, is_known)
        } else {
            found.stamp == Some(header.stamp())
        };
        let is_of_key = header.kind != RecordKind::Nothing
            && header.digest == key.digest(self.name_hash)
            && header.version == self.function.version
            && self.shape.get().map(|shape| shape.fingerprint) == Some(header.shape);
        let left = header.left(lower.tier.now())?;
        let left = lower.left_for_copies(&header, left);
        (is_valid_entry && is_of_key).then(|| (header, payload.to_vec(), left))
    }
}
