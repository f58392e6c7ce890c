//! Step 3: the read of the tiers below memory.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use super::promote::promote_later;
use super::visit::{TierVisit, TierVisits};
use crate::cached_function::{Expected, InvalidRecord, OpenedRecord};
use crate::codec::ErasedType;
use crate::entry::KnownRecord;
use crate::events::EventKind;
use crate::fence::{Stripe, TagStripes};
use crate::function::options::Consistency;
use crate::outcome::LoadOutcome;
use crate::reason::{Damage, FencedBy, Outdated};
use crate::record::{Etag, Freshness, Header, etag_of};
use crate::tier::{HEADER_LEN, MarksState, ReadOptions, Stamp};

/// The result of reading the lower tiers.
#[derive(Debug)]
pub(crate) enum TierLookup {
    /// A fresh value, or the result that there is none.
    Hit(TierHit),
    /// No tier has a fresh value. This is the one that expired last, of those that may still be
    /// returned.
    Stale(StaleHit),
    /// No tier has a valid record.
    Miss,
    /// A shared tier could not be read. (Failures of private tiers beside shared ones are ignored.)
    Unavailable,
}

/// The use that a call has for a record that was not invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordUse {
    /// It returns what the record says, which is fresh for this long.
    Fresh(Duration),
    /// It may return the value as a stale one.
    Stale,
    /// Nothing.
    Passed,
}

/// Why a record must not be used, valid or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassedOver {
    /// A private tier cannot tell whether its record is current at this moment, as a strong call
    /// needs it.
    MayLag,
    /// A tier below has a pending invalidation: another instance may have copied the stale record
    /// of that tier into this one.
    PendingBelow,
}

/// The reason of a record that the ledger of its tier has voided.
pub(super) const BY_TAG: InvalidRecord =
    InvalidRecord::Outdated(Outdated::FencedOff(FencedBy::Tag));

/// A stale value that was found in a lower tier.
#[derive(Debug)]
pub(crate) struct StaleHit {
    pub(crate) value: Held,
    /// The place of its tier among the lower tiers of the function.
    pub(crate) at: usize,
    /// How long ago its freshness ended. If it was expired, it may not have ended yet.
    pub(crate) freshness: Freshness,
    /// Set if it was expired.
    pub(crate) is_expired: bool,
    /// The fences of its tags.
    pub(crate) tags: TagStripes,
    /// The number of its load, as in [`TierHit::number`].
    pub(crate) number: Option<u64>,
}

/// A fresh value that was found in a lower tier.
#[derive(Debug)]
pub(crate) struct TierHit {
    /// The value. `None` if the record says that there is none.
    pub(crate) value: Option<Held>,
    /// The place of its tier among the lower tiers of the function.
    pub(crate) at: usize,
    /// The size of its record, in bytes.
    pub(crate) size: usize,
    /// The longest time that a copy of it may live.
    pub(crate) left: Duration,
    /// How long it is fresh from its load on.
    pub(crate) life: Duration,
    /// How long its load took.
    pub(crate) load: Duration,
    /// The fence's number when its load began, if this runtime loaded it. A read does not make the
    /// value newer.
    pub(crate) number: Option<u64>,
    /// The record, by which it is recognized.
    pub(crate) record: Option<KnownRecord>,
    /// The fences of its tags.
    pub(crate) tags: TagStripes,
    /// Set if a tier above has a record that the call ignored.
    pub(crate) passed_record: bool,
    /// Set if it is to be copied to the tiers above.
    pub(crate) is_promoted: bool,
}

impl TierHit {
    /// Returns the value as the outcome of a load.
    pub(crate) fn outcome(&self) -> LoadOutcome {
        match &self.value {
            Some(held) => LoadOutcome::Value(Arc::clone(held)),
            None => LoadOutcome::Absent,
        }
    }
}

impl TierVisits<'_> {
    /// Reads the lower tiers in order, up to the first fresh record. The record is copied to the
    /// lower tiers above it in the background.
    pub(super) async fn read(&mut self, value_type: &dyn ErasedType) -> TierLookup {
        if !value_type.has_records() || self.visits.is_empty() {
            return TierLookup::Miss;
        }
        // Boxed, because a call without lower tiers is to have a small future.
        Box::pin(self.read_tiers(value_type)).await
    }

    async fn read_tiers(&mut self, value_type: &dyn ErasedType) -> TierLookup {
        let mut without_hit = TierLookup::Miss;
        let mut stale: Option<StaleHit> = None;
        for at in 0..self.visits.len() {
            let lookup = match self.passes_over(at).is_some() {
                true => self.pass_over(at).await,
                false => self.read_tier(at, value_type).await,
            };
            match lookup {
                TierLookup::Miss => {}
                TierLookup::Stale(hit) => {
                    let is_later = |other: &StaleHit| hit.freshness.ends_after(other.freshness);
                    if stale.as_ref().is_none_or(is_later) {
                        stale = Some(hit);
                    }
                }
                TierLookup::Unavailable => {
                    let visit = &mut self.visits[at];
                    visit.read_failed = true;
                    // An instance is never cut off from a private tier.
                    if !self.function.is_fenced_here(visit.tier) {
                        without_hit = TierLookup::Unavailable;
                    }
                }
                TierLookup::Hit(mut hit) => {
                    if let Some(passed) = &stale {
                        self.count_miss(passed);
                    }
                    let above = &self.visits[..at];
                    hit.passed_record = above.iter().any(|visit| visit.is_passed_over);
                    hit.is_promoted = self.visits[at].tier.promotes(self.record_key.digest);
                    if hit.is_promoted && at > 0 {
                        promote_later(self, at, !hit.tags.is_empty());
                    }
                    return TierLookup::Hit(hit);
                }
            }
        }
        match (without_hit, stale) {
            (TierLookup::Miss, Some(hit)) => TierLookup::Stale(hit),
            (without_hit, _) => without_hit,
        }
    }

    /// Returns why the record of the tier at place `at` must not be used, valid or not. `None` if
    /// it may.
    pub(super) fn passes_over(&self, at: usize) -> Option<PassedOver> {
        let tier = self.visits[at].tier;
        if self.consistency == Consistency::Strong && self.function.is_fenced_here(tier) {
            return Some(PassedOver::MayLag);
        }
        let is_pending = |below: &TierVisit<'_>| below.shard.tier.is_pending(&self.record_key);
        let mut below = self.visits[at + 1..].iter();
        below.any(is_pending).then_some(PassedOver::PendingBelow)
    }

    /// Counts the miss of a tier that has a stale value: it has no fresh one.
    pub(super) fn count_miss(&self, stale: &StaleHit) {
        if !self.is_revalidation {
            self.visits[stale.at].tier.counters.misses.add_one();
        }
    }

    /// Reads the header of a record that must not be used, so that the tier grants a lease to
    /// replace it.
    async fn pass_over(&mut self, at: usize) -> TierLookup {
        let visit = &mut self.visits[at];
        let read = visit.read(&self.record_key, ReadOptions::default()).await;
        let Ok(read) = read else {
            return TierLookup::Unavailable;
        };
        visit.tier.counters.misses.add_one();
        let mut record = read.record.unwrap_or_default();
        record.truncate(HEADER_LEN);
        visit.is_passed_over = !record.is_empty();
        visit.expected_header = record;
        TierLookup::Miss
    }

    /// Reads the record of the tier at place `at`, and checks it.
    async fn read_tier(&mut self, at: usize, value_type: &dyn ErasedType) -> TierLookup {
        let visit = &mut self.visits[at];
        let tier = visit.tier;
        // For the highest tier only: another tier's record differs even if its value is the same.
        let known = self.known.as_ref().filter(|_| at == 0);
        let options = ReadOptions {
            consistency: self.consistency,
            if_none_match: known.map(|(record, _)| record.etag),
        };
        let stripe = Stripe::of(self.record_key.digest);
        let was_coherent = self.function.coherent_now(stripe).is_some();
        let Ok(read) = visit.read(&self.record_key, options).await else {
            return TierLookup::Unavailable;
        };
        let Some(bytes) = read.record else {
            if !self.is_revalidation {
                tier.counters.misses.add_one();
            }
            return TierLookup::Miss;
        };
        let stamp = self.valid_stamp(at, (&bytes, read.stamp), was_coherent);
        let opened = self.open_stamped(at, &bytes, stamp, value_type);
        let number = self.number_of(at, stamp);
        let reason = match opened {
            Ok(opened) => match self.state_of(at, &opened, number).await {
                Some(MarksState::Invalidated) => BY_TAG,
                Some(state) => return self.opened(at, (opened, state), &bytes, number),
                None => return TierLookup::Unavailable,
            },
            Err(reason) => reason,
        };
        self.passed(at, reason, &bytes, stamp.ok());
        TierLookup::Miss
    }

    /// Returns the stamp of a valid record of the tier at place `at`. In a tier that is judged by
    /// the fences of this runtime, this is the record's own stamp, if they say that it is valid.
    /// `was_coherent` says that this instance was coherent before the record was read.
    ///
    /// # Errors
    /// No record is valid, or this one is not, for this reason.
    pub(super) fn valid_stamp(
        &self,
        at: usize,
        (bytes, known): (&[u8], Option<Stamp>),
        was_coherent: bool,
    ) -> Result<Stamp, Outdated> {
        let function = self.function;
        if !function.is_fenced_here(self.visits[at].tier) {
            return known.ok_or(Outdated::UnknownStamp);
        }
        let stripe = Stripe::of(self.record_key.digest);
        let is_coherent = was_coherent && function.coherent_now(stripe).is_some();
        let own = stamp_of(bytes).ok_or(Outdated::UnknownStamp)?;
        function.check_stamp(own, &self.key, is_coherent)?;
        Ok(own)
    }

    /// Returns the number of the load of a record with this stamp, if the tier at place `at` is
    /// judged by the fences of this runtime.
    pub(super) fn number_of(&self, at: usize, stamp: Result<Stamp, Outdated>) -> Option<u64> {
        let is_fenced_here = self.function.is_fenced_here(self.visits[at].tier);
        stamp.ok().filter(|_| is_fenced_here).map(|own| own.epoch)
    }

    /// Opens a record of the tier at place `at`, if it carries this stamp.
    pub(super) fn open(
        &self,
        at: usize,
        bytes: &[u8],
        stamp: Option<Stamp>,
        value_type: &dyn ErasedType,
    ) -> Result<OpenedRecord, InvalidRecord> {
        let stamp = stamp.ok_or(Outdated::UnknownStamp);
        self.open_stamped(at, bytes, stamp, value_type)
    }

    /// Opens a record as [`open`](Self::open) does. `stamp` is the reason why no record is valid,
    /// if none is.
    pub(super) fn open_stamped(
        &self,
        at: usize,
        bytes: &[u8],
        stamp: Result<Stamp, Outdated>,
        value_type: &dyn ErasedType,
    ) -> Result<OpenedRecord, InvalidRecord> {
        let expected = Expected {
            tier: self.visits[at].tier,
            key: &self.key,
            stamp,
            now: self.read_at,
            value_type,
        };
        let records = &self.function.records;
        match self.known.as_ref().filter(|_| at == 0) {
            Some((known, held)) if is_header_of(bytes, known.etag) => {
                records.open_known(bytes, (known, held), expected)
            }
            _ => records.open(bytes, expected),
        }
    }

    /// Judges a record by its marks. `None` if the tier had to be asked, and was not reached.
    async fn state_of(
        &mut self,
        at: usize,
        opened: &OpenedRecord,
        number: Option<u64>,
    ) -> Option<MarksState> {
        let judged = self.judge_marks(at, &opened.marks, number, self.consistency);
        judged.await.ok()
    }

    /// Counts a record that cannot be used, and notes it, so that a lease can replace it.
    fn passed(&mut self, at: usize, reason: InvalidRecord, bytes: &[u8], stamp: Option<Stamp>) {
        let visit = &mut self.visits[at];
        let counters = &visit.tier.counters;
        if !self.is_revalidation {
            counters.misses.add_one();
        }
        visit.expected_header = header_of(bytes);
        let (level, digest) = (visit.tier.level, self.record_key.digest);
        let note = |kind| self.function.note(Some(level), Some(digest), kind);
        match reason {
            InvalidRecord::Outdated(_) if self.function.is_fenced_here(visit.tier) => {}
            InvalidRecord::Outdated(_) => {
                visit.stale_stamp = stamp_of(bytes).filter(|own| stamp != Some(*own));
            }
            InvalidRecord::Damaged(damage) => {
                counters.decode_errors.add_one();
                note(EventKind::RecordDamaged);
                if damage == Damage::Value {
                    self.function.records.doubt_round_trip();
                }
            }
            InvalidRecord::Mismatch(of) => {
                counters.mismatches.add_one();
                note(EventKind::RecordMismatch { of });
            }
        }
    }

    /// Returns what a record that was not invalidated is good for. `has_value` is not set for one
    /// that says that there is no value.
    pub(super) fn use_of(
        &self,
        freshness: Freshness,
        has_value: bool,
        state: MarksState,
    ) -> RecordUse {
        let is_expired = state != MarksState::Valid;
        match freshness {
            Freshness::Fresh(left) if left > self.due_within && !is_expired => {
                RecordUse::Fresh(left)
            }
            _ if !has_value => RecordUse::Passed,
            Freshness::Stale(_) => RecordUse::Stale,
            Freshness::Fresh(_) if is_expired && self.function.has_window() => RecordUse::Stale,
            Freshness::Fresh(_) => RecordUse::Passed,
        }
    }

    /// Returns the result that a record of the tier at place `at` has, which was not invalidated.
    pub(super) fn opened(
        &mut self,
        at: usize,
        (opened, state): (OpenedRecord, MarksState),
        bytes: &[u8],
        number: Option<u64>,
    ) -> TierLookup {
        let tags = self.function.state.fences.tag_stripes(&opened.marks.tags);
        let is_expired = state != MarksState::Valid;
        let (freshness, value) = (opened.freshness, opened.value);
        let used = self.use_of(freshness, value.is_some(), state);
        let visit = &mut self.visits[at];
        let counters = &visit.tier.counters;
        match (used, value) {
            (RecordUse::Fresh(left), value) => {
                // A load in the background answers no call.
                if !self.is_revalidation {
                    counters.hits.add_one();
                    if value.is_none() {
                        self.function.counters.absent_hits.add_one();
                    }
                }
                if value.is_none() {
                    // A call that needs a value replaces the record.
                    visit.expected_header = header_of(bytes);
                }
                let marks = opened.marks;
                TierLookup::Hit(TierHit {
                    value,
                    at,
                    size: bytes.len(),
                    left,
                    life: opened.life,
                    load: opened.load,
                    number,
                    record: etag_of(bytes).map(|etag| KnownRecord { at, etag, marks }),
                    tags,
                    passed_record: false,
                    is_promoted: true,
                })
            }
            // The record is to be replaced, so a lease must name it.
            (RecordUse::Stale, Some(value)) => {
                visit.expected_header = header_of(bytes);
                TierLookup::Stale(StaleHit {
                    value,
                    at,
                    freshness,
                    is_expired,
                    tags,
                    number,
                })
            }
            (RecordUse::Stale | RecordUse::Passed, _) => {
                if !self.is_revalidation {
                    counters.misses.add_one();
                }
                visit.expected_header = header_of(bytes);
                TierLookup::Miss
            }
        }
    }
}

/// The beginning of a record, by which a lease names the record that it replaces.
fn header_of(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(HEADER_LEN)].to_vec()
}

/// Returns `true` if a tier sent a header alone, because the record is the one with this etag.
fn is_header_of(bytes: &[u8], etag: Etag) -> bool {
    bytes.len() == HEADER_LEN && etag_of(bytes) == Some(etag)
}

/// The stamp that an intact record carries.
fn stamp_of(bytes: &[u8]) -> Option<Stamp> {
    let record = Header::open(bytes).ok()?;
    Some(record.header.stamp())
}
