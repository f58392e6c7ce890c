//! Promotion: a record of a lower tier is copied to the lower tiers above it, in the background.

use std::sync::Arc;
use std::time::Duration;

use super::visit::TierVisits;
use crate::cached_function::CachedFunction;
use crate::fence::Stripe;
use crate::function::options::Consistency;
use crate::key::Key;
use crate::record::{Header, RecordKind};
use crate::tier::{LeaseMode, LeaseResult, ReadOptions};

/// Has the record that the tier at place `from` holds copied to the lower tiers above it, when
/// there is time.
///
/// A copy replaces only the invalid records that the call read there, and nothing newer.
pub(super) fn promote_later(visits: &TierVisits<'_>, from: usize) {
    let Some(function) = visits.function.this.upgrade() else {
        return;
    };
    let key = Arc::clone(&visits.key);
    let above = visits.visits[..from].iter();
    let expected = above.map(|visit| visit.expected_header.clone()).collect();
    let background = &visits.function.state.background;
    background.run(Box::pin(async move {
        promote(&function, &key, from, expected).await;
    }));
}

/// Takes the leases, and reads the record after that. An invalidation before the read has deleted
/// the record, because tiers are invalidated from the lowest to the highest. An invalidation after
/// the read voids the leases.
async fn promote(function: &CachedFunction, key: &Arc<Key>, from: usize, expected: Vec<Vec<u8>>) {
    let start = function.state.fences.now();
    let mut visits = TierVisits::new(function, key);
    for (visit, expected) in visits.visits.iter_mut().zip(expected) {
        visit.expected_header = expected;
    }
    for at in 0..from {
        // Not from a private tier into a shared one: the shared tier must not lag behind by as much
        // as this instance does.
        let into_private = visits.visits[at].tier.is_private();
        if !function.is_fenced_here(&function.lower[from]) || into_private {
            visits.lease_for_copy(at).await;
        }
    }
    if !visits.holds_a_lease() {
        return;
    }
    if let Some(source) = visits.read_again(from).await {
        // The record of a private tier says itself when its load began.
        let start = match function.is_fenced_here(&function.lower[from]) {
            true => source.header.epoch,
            false => start,
        };
        visits.copy(&source, from, start).await;
    }
}

/// The record that is copied.
struct Source {
    header: Header,
    payload: Vec<u8>,
    /// The longest time that a copy may live, from when the record was read.
    left: Duration,
}

impl TierVisits<'_> {
    /// Takes the lease of the tier at place `at`. If another caller holds it, or if the tier has
    /// another record, there is nothing to copy.
    async fn lease_for_copy(&mut self, at: usize) {
        let visit = &mut self.visits[at];
        let leased = visit.lease(&self.record_key, LeaseMode::Exclusive).await;
        if let Ok(LeaseResult::Granted(lease)) = leased {
            visit.lease = Some(lease);
        }
    }

    /// Returns the record of the tier at place `from`, if it is still valid.
    async fn read_again(&mut self, from: usize) -> Option<Source> {
        let function = self.function;
        let visit = &mut self.visits[from];
        let stripe = Stripe::of(self.record_key.digest);
        let was_coherent = function.coherent_now(stripe).is_some();
        // As of now, because the leases for the copies are of now.
        let options = ReadOptions {
            consistency: Consistency::Strong,
            if_none_match: None,
        };
        let read = visit.read(&self.record_key, options).await.ok()?;
        let bytes = read.record?;
        let (header, payload) = Header::open(&bytes).ok()?;
        let is_coherent = was_coherent && function.coherent_now(stripe).is_some();
        let is_valid = if function.is_fenced_here(visit.tier) {
            function.is_valid_stamp(header.stamp(), &self.key, is_coherent)
        } else {
            read.stamp == Some(header.stamp())
        };
        if !is_valid || !function.records.is_of(&header, &self.key) {
            return None;
        }
        let left = header.freshness(visit.shard.tier.now()).left()?;
        Some(Source {
            left: visit.tier.left_for_copies(&header, left),
            payload: payload.to_vec(),
            header,
        })
    }

    /// Stores copies in the tiers above place `from`, under the leases that were taken.
    async fn copy(&mut self, source: &Source, from: usize, start: u64) {
        let function = self.function;
        let read = function.state.clock.now();
        for visit in &mut self.visits[..from] {
            let tier = visit.tier;
            let lease = visit.lease.take();
            let Some(lease) =
                lease.filter(|_| function.fits(tier, &source.header, &source.payload))
            else {
                continue;
            };
            // Copies are stored one after the other, and none may outlive its source.
            let since_read = function.state.clock.now().since(read);
            let left = source.left.saturating_sub(since_read);
            if left.is_zero() {
                return;
            }
            let life = tier.life_of_copy(self.record_key.digest, left);
            let stamp = function.stamp_in(tier, lease.stamp, start);
            let header = Header {
                created: visit.shard.tier.now(),
                epoch: stamp.epoch,
                history: stamp.history,
                kind: match source.header.kind {
                    RecordKind::Absent => RecordKind::Absent,
                    RecordKind::Value | RecordKind::Copy | RecordKind::Nothing => RecordKind::Copy,
                },
                ..source.header
            };
            let record = header.with_life(life).encode(&source.payload);
            let kept_for = function.records.kept_for(header.kind, life);
            let stored = visit.store(&self.record_key, &lease, record, kept_for);
            let stored = stored.await;
            if matches!(stored, Ok(true)) {
                tier.counters.promotions.add_one();
            }
        }
    }
}
