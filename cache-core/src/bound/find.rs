//! Reading: which record of the lower tiers counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::CachedFunction;
use super::lower::{RecordsWork, TierBinding};
use super::visit::{TierHit, TierLookup, TierVisit, TierVisits};
use crate::codec::{ErasedType, Shape};
use crate::entry::Held;
use crate::key::Key;
use crate::policy::Consistency;
use crate::record::{Etag, Header, RecordKind, Unusable, seal_of};
use crate::tier::watch::Operation;
use crate::tier::{HEADER_LEN, ReadOptions, Stamp};

impl CachedFunction {
    /// Asks the lower tiers in order.
    pub(crate) async fn find(
        &self,
        key: &Key,
        lookup: &mut TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) -> TierLookup {
        if !value_type.has_records() {
            return TierLookup::Miss;
        }
        let mut nowhere = TierLookup::Miss;
        for at in 0..lookup.visits.len() {
            let lower = lookup.visits[at].tier;
            // A private tier cannot say whether it is current at this moment.
            let is_behind = lookup.consistency == Consistency::Strong && self.is_fenced_here(lower);
            // Another instance may have copied up what waits to be invalidated below.
            let is_owed = |below: &TierVisit<'_>| below.tier.tier.is_pending(&lookup.record_key);
            let search = if is_behind || lookup.visits[at + 1..].iter().any(is_owed) {
                self.look_past(at, lookup).await
            } else {
                self.find_in(at, key, lookup, value_type).await
            };
            match search {
                TierLookup::Miss => {}
                TierLookup::Unavailable => {
                    lookup.visits[at].is_unread = true;
                    // An instance is not cut off from a tier of its own.
                    if !self.is_fenced_here(lower) {
                        nowhere = TierLookup::Unavailable;
                    }
                }
                TierLookup::Hit(mut hit) => {
                    let above = &lookup.visits[..at];
                    hit.passed_record = above.iter().any(|visit| visit.is_passed_over);
                    hit.is_promoted = lower.promotes(lookup.record_key.digest);
                    if hit.is_promoted && at > 0 {
                        self.promote_later(key, at, lookup);
                    }
                    return TierLookup::Hit(hit);
                }
            }
        }
        nowhere
    }

    /// Notes the record of a tier whose records cannot be used now, so that the tier grants a lease to
    /// replace it.
    async fn look_past(&self, at: usize, lookup: &mut TierVisits<'_>) -> TierLookup {
        let TierVisits {
            record_key, visits, ..
        } = lookup;
        let visit = &mut visits[at];
        let lower = visit.tier;
        let found = visit
            .budget
            .spend(|within| lower.tier.read(record_key, ReadOptions::default(), within))
            .await;
        match found {
            Ok(found) => {
                lower.succeeded(Operation::Read);
                lower.counters.misses.add_one();
                let mut record = found.record.unwrap_or_default();
                record.truncate(HEADER_LEN);
                visit.is_passed_over = !record.is_empty();
                visit.unusable = record;
                TierLookup::Miss
            }
            Err(error) => {
                lower.call_failed(Operation::Read, &self.name, &error);
                TierLookup::Unavailable
            }
        }
    }

    async fn find_in(
        &self,
        at: usize,
        key: &Key,
        lookup: &mut TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) -> TierLookup {
        let TierVisits {
            record_key,
            visits,
            known,
            consistency,
            ..
        } = lookup;
        let visit = &mut visits[at];
        let lower = visit.tier;
        // For the highest tier only: another tier's record differs even if its value is the same.
        let known = known.as_ref().filter(|_| at == 0);
        let question = ReadOptions {
            consistency: *consistency,
            if_none_match: known.map(|(etag, _)| *etag),
        };
        let is_known = self.coherent_now().is_some();
        let found = visit
            .budget
            .spend(|within| lower.tier.read(record_key, question, within))
            .await;
        let mut found = match found {
            Ok(found) => {
                lower.succeeded(Operation::Read);
                found
            }
            Err(error) => {
                lower.call_failed(Operation::Read, &self.name, &error);
                return TierLookup::Unavailable;
            }
        };
        let Some(bytes) = found.record else {
            lower.counters.misses.add_one();
            return TierLookup::Miss;
        };
        if self.is_fenced_here(lower) {
            let is_known = is_known && self.coherent_now().is_some();
            let own = Header::open(&bytes).ok().map(|(header, _)| header.stamp());
            found.stamp = own.filter(|own| self.is_valid_stamp(*own, key, is_known));
        }
        let opened = match known {
            Some((etag, held)) if bytes.len() == HEADER_LEN && seal_of(&bytes) == Some(*etag) => {
                self.open_known(lower, key, found.stamp, &bytes, *etag, value_type)
                    .and_then(|left| match value_type.is_of(held) {
                        true => Ok((Arc::clone(held), left)),
                        false => Err(Some(Unusable::Mismatch)),
                    })
            }
            _ => self.open(lower, key, found.stamp, &bytes, value_type),
        };
        match opened {
            Ok((value, left)) => {
                lower.counters.hits.add_one();
                let own = found.stamp.filter(|_| self.is_fenced_here(lower));
                TierLookup::Hit(TierHit {
                    value,
                    left,
                    number: own.map(|own| own.epoch),
                    record: seal_of(&bytes).map(|etag| (at, etag)),
                    passed_record: false,
                    is_promoted: true,
                })
            }
            Err(unusable) => {
                lower.counters.misses.add_one();
                visit.unusable = bytes[..bytes.len().min(HEADER_LEN)].to_vec();
                match unusable {
                    None if self.is_fenced_here(lower) => {}
                    None => {
                        let own = Header::open(&bytes).ok().map(|(header, _)| header.stamp());
                        visit.stale_stamp = own.filter(|own| found.stamp != Some(*own));
                    }
                    Some(Unusable::Damaged) => lower.counters.decode_errors.add_one(),
                    Some(Unusable::Mismatch) => lower.counters.mismatches.add_one(),
                }
                TierLookup::Miss
            }
        }
    }

    /// Whether records of a tier count by this runtime's fences: it is of this instance alone, and others invalidate too.
    pub(super) fn is_fenced_here(&self, lower: &TierBinding) -> bool {
        lower.is_private() && !self.coherence.is_empty()
    }

    /// Reads a record, and tells how long a copy of it may live. `Err(None)` is a record that was good once, and whose time, epoch
    /// or history is over; or one that says that nothing is there.
    fn open(
        &self,
        lower: &TierBinding,
        key: &Key,
        stamp: Option<Stamp>,
        bytes: &[u8],
        value_type: &dyn ErasedType,
    ) -> Result<(Held, Duration), Option<Unusable>> {
        let (header, payload) = Header::open(bytes).map_err(Some)?;
        let left = self.judge_header(lower, key, stamp, &header, value_type)?;
        let value = value_type.decode(&self.encoding, payload).map_err(|_| {
            // Whole, of this codec, and still unreadable: another build's, or a type that does not survive its codec for
            // some values. The next write tells which.
            self.records
                .state
                .store(RecordsWork::UNKNOWN, Ordering::Relaxed);
            Some(Unusable::Damaged)
        })?;
        Ok((value, left))
    }

    /// The same of a record whose value memory has.
    fn open_known(
        &self,
        lower: &TierBinding,
        key: &Key,
        stamp: Option<Stamp>,
        head: &[u8],
        etag: Etag,
        value_type: &dyn ErasedType,
    ) -> Result<Duration, Option<Unusable>> {
        let header = Header::of_known(head, etag).map_err(Some)?;
        self.judge_header(lower, key, stamp, &header, value_type)
    }

    /// Whether a record is still good, by its header, and how long a copy of it may live.
    fn judge_header(
        &self,
        lower: &TierBinding,
        key: &Key,
        stamp: Option<Stamp>,
        header: &Header,
        value_type: &dyn ErasedType,
    ) -> Result<Duration, Option<Unusable>> {
        let same = header.codec == self.encoding.id()
            && header.version == self.function.version
            && header.shape == self.shape(value_type).fingerprint
            && header.digest == key.digest(self.name_hash);
        if !same {
            return Err(Some(Unusable::Mismatch));
        }
        if stamp != Some(header.stamp()) || header.kind == RecordKind::Nothing {
            return Err(None);
        }
        let left = header.left(lower.tier.now()).ok_or(None)?;
        Ok(lower.left_for_copies(header, left))
    }

    /// What the header says of the type, traced on first use.
    pub(super) fn shape(&self, value_type: &dyn ErasedType) -> Shape {
        *self.shape.get_or_init(|| {
            let shape = value_type.shape();
            if !shape.traced {
                tracing::info!(
                    function = %self.name,
                    value = value_type.name(),
                    "the shape of the value type cannot be traced; its records are told apart by its name, so raise \
                     `version` when its fields change"
                );
            }
            shape
        })
    }
}
