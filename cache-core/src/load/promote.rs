//! Promotion: a record of a lower tier is copied to the lower tiers above it, in the background.

use std::sync::Arc;
use std::time::Duration;

use super::visit::TierVisits;
use crate::cached_function::CachedFunction;
use crate::fence::Stripe;
use crate::function::options::Consistency;
use crate::key::Key;
use crate::record::{Header, Record, RecordKind};
use crate::tier::{LeaseMode, LeaseResult, MarksState, ReadOptions};
use crate::trace::{self, background_promotion, in_background};

/// Has the record that the tier at place `from` holds copied to the lower tiers above it, when
/// there is time.
///
/// A copy replaces only the invalid records that the call read there, and nothing newer.
pub(super) fn promote_later(visits: &TierVisits<'_>, from: usize, has_tags: bool) {
    let Some(function) = visits.function.this.upgrade() else {
        return;
    };
    let key = Arc::clone(&visits.key);
    let above = visits.visits[..from].iter();
    // `None` for a tier that takes no copy, and so is not asked for a lease.
    let takes = |at| !has_tags || visits.takes_tags(at);
    let expected = above
        .enumerate()
        .map(|(at, visit)| takes(at).then(|| visit.expected_header.clone()));
    let expected = expected.collect();
    let background = &visits.function.state.background;
    let span = background_promotion(function.name());
    let promotion = Box::pin(async move {
        promote(&function, &key, from, expected).await;
    });
    background.run(in_background(span, &trace::current(), promotion));
}

/// Takes the leases, and reads the record after that. An invalidation before the read has deleted
/// the record, because tiers are invalidated from the lowest to the highest. An invalidation after
/// the read voids the leases.
async fn promote(
    function: &CachedFunction,
    key: &Arc<Key>,
    from: usize,
    expected: Vec<Option<Vec<u8>>>,
) {
    let start = function.state.fences.now();
    let mut visits = TierVisits::new(function, key);
    for (at, expected) in expected.into_iter().enumerate() {
        let Some(expected) = expected else { continue };
        visits.visits[at].expected_header = expected;
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
    /// The digests of the value's tags.
    tags: Arc<[u64]>,
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
        let Record {
            header,
            marks,
            payload,
        } = Header::open(&bytes).ok()?;
        let is_coherent = was_coherent && function.coherent_now(stripe).is_some();
        let is_fenced_here = function.is_fenced_here(visit.tier);
        let is_valid = if is_fenced_here {
            let checked = function.check_stamp(header.stamp(), &self.key, is_coherent);
            checked.is_ok()
        } else {
            read.stamp == Some(header.stamp())
        };
        if !is_valid || !function.records.is_of((&header, &marks), &self.key) {
            return None;
        }
        let left = header.freshness(visit.shard.tier.now()).left()?;
        let left = visit.tier.left_for_copies(&header, left);
        let number = is_fenced_here.then_some(header.epoch);
        // As of now, as the read.
        let judged = self.judge_marks(from, &marks, number, Consistency::Strong);
        if judged.await.ok()? != MarksState::Valid {
            return None;
        }
        Some(Source {
            left,
            payload: payload.to_vec(),
            tags: marks.tags,
            header,
        })
    }

    /// Stores copies in the tiers above place `from`, under the leases that were taken.
    async fn copy(&mut self, source: &Source, from: usize, start: u64) {
        let function = self.function;
        let read = function.state.clock.now();
        for at in 0..from {
            // The mark is that of the lease, which was taken before the source was read.
            let marks = self.marks_in(at, &source.tags);
            let visit = &mut self.visits[at];
            let tier = visit.tier;
            let Some(lease) = visit.lease.take() else {
                continue;
            };
            let marks = match marks {
                Ok(marks) => marks,
                Err(refusal) => {
                    visit.fill_refused(self.record_key.digest, refusal);
                    continue;
                }
            };
            if !function.fits(tier, &source.header, &marks, &source.payload) {
                continue;
            }
            // Copies are stored one after the other, and none may outlive its source.
            let since_read = function.state.clock.now().since(read);
            let left = source.left.saturating_sub(since_read);
            if left.is_zero() {
                return;
            }
            let life = tier.life_of_copy(self.record_key.digest, left);
            let stamp = function.stamp_in(tier, lease.stamp, start);
            let header = Header {
                format: function.records.format(),
                created: visit.shard.tier.now(),
                epoch: stamp.epoch,
                history: stamp.history,
                kind: match source.header.kind {
                    RecordKind::Absent => RecordKind::Absent,
                    RecordKind::Value | RecordKind::Copy | RecordKind::Nothing => RecordKind::Copy,
                },
                ..source.header
            };
            let record = header.with_life(life).encode(&marks, &source.payload);
            let kept_for = function.records.kept_for(header.kind, life);
            let stored = visit.store(&self.record_key, lease, record, kept_for);
            let stored = stored.await;
            if matches!(stored, Ok(true)) {
                tier.counters.promotions.add_one();
            }
        }
    }
}
