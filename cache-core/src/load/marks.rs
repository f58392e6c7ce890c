//! The marks of records: whether a record that was read is still valid by its tags, and the marks
//! that a record gets which is stored.

use std::sync::Arc;

use super::Loaded;
use super::visit::TierVisits;
use crate::caching::Decisions;
use crate::error::Error;
use crate::fence::{Stripe, TagStripes};
use crate::function::options::Consistency;
use crate::record::RecordMarks;
use crate::tier::{Ledger, Marks, MarksState, Refusal};

impl<'a> TierVisits<'a> {
    /// Judges a record of the tier at place `at` by its marks. `number` is that of its load, if the
    /// tier is judged by the fences of this runtime. Called after the record was read, so that
    /// everything that was invalidated before the read is known.
    ///
    /// # Errors
    /// The ledger of the tier had to be asked, and was not reached. The record must not be used.
    pub(super) async fn judge_marks(
        &mut self,
        at: usize,
        marks: &RecordMarks,
        number: Option<u64>,
        consistency: Consistency,
    ) -> Result<MarksState, Error> {
        match self.judge_marks_here(at, marks, number, consistency) {
            Ok(state) => Ok(state),
            Err(ledger) => {
                let marks = self.marks_of(marks);
                self.visits[at].state_in_store(ledger, marks).await
            }
        }
    }

    /// Judges a record by its marks, as [`judge_marks`](Self::judge_marks) does, without a request.
    /// `Err` if the ledger of the tier has to be asked in the store.
    pub(super) fn judge_marks_here(
        &self,
        at: usize,
        marks: &RecordMarks,
        number: Option<u64>,
        consistency: Consistency,
    ) -> Result<MarksState, &'a dyn Ledger> {
        // Other records have no marks.
        if !self.function.is_marked() {
            return Ok(MarksState::Valid);
        }
        // Another build wrote it, in which the function had other tags: an invalidation of one that
        // is missing would not find it.
        let has = |tag: &u64| marks.tags.contains(tag);
        if !self.tags.digests().iter().all(has) || self.are_tags_pending(at, &marks.tags) {
            return Ok(MarksState::Invalidated);
        }
        if let Some(number) = number {
            return Ok(self.state_by_fences(number, &marks.tags));
        }
        let shard = self.visits[at].shard;
        let Some(ledger) = shard.tier.ledger() else {
            // Such a tier gets no record with tags, and drops what is expired.
            return Ok(match marks.tags.is_empty() {
                true => MarksState::Valid,
                false => MarksState::Invalidated,
            });
        };
        // An earlier build stored it, when the tier had no ledger.
        if marks.mark.base == 0 {
            return Ok(MarksState::Invalidated);
        }
        let known = match consistency {
            Consistency::Bounded => ledger.state(self.marks_of(marks)),
            Consistency::Strong => None,
        };
        known.ok_or(ledger)
    }

    pub(super) fn marks_of<'m>(&self, marks: &'m RecordMarks) -> Marks<'m> {
        Marks {
            mark: marks.mark,
            tags: &marks.tags,
            key: self.record_key.digest,
            function: self.function.function_digest(),
        }
    }

    /// Judges a record like an entry in memory, by the fences of this runtime.
    fn state_by_fences(&self, number: u64, tags: &[u64]) -> MarksState {
        let function = self.function;
        let tags = function.state.fences.tag_stripes(tags);
        let stripe = Stripe::of(self.record_key.digest);
        if !function.admits_tags(number, &tags) {
            MarksState::Invalidated
        } else if function.is_expired(number, stripe, &tags) {
            MarksState::Expired
        } else {
            MarksState::Valid
        }
    }

    /// Returns `true` if an invalidation of one of the tags is queued in the tier at place `at`, or
    /// in one below it: another instance may have copied the stale record of that tier.
    fn are_tags_pending(&self, at: usize, tags: &[u64]) -> bool {
        let mut ledgers = self.visits[at..]
            .iter()
            .filter_map(|visit| visit.shard.tier.ledger());
        !tags.is_empty() && ledgers.any(|ledger| ledger.is_pending(tags))
    }

    /// Returns `true` if the tier at place `at` can have records with tags.
    pub(super) fn takes_tags(&self, at: usize) -> bool {
        let visit = &self.visits[at];
        self.function.is_fenced_here(visit.tier) || visit.shard.tier.ledger().is_some()
    }

    /// Returns the marks of a record with these tags that is stored in the tier at place `at`,
    /// under the lease that the call has taken there.
    ///
    /// # Errors
    /// The tier gets no such record, for this reason.
    pub(super) fn marks_in(&self, at: usize, tags: &Arc<[u64]>) -> Result<RecordMarks, Refusal> {
        let (function, visit) = (self.function, &self.visits[at]);
        let unmarked = RecordMarks {
            tags: Arc::clone(tags),
            ..RecordMarks::default()
        };
        if !function.is_marked() {
            return Ok(RecordMarks::default());
        }
        if self.are_tags_pending(at, tags) {
            return Err(Refusal::Queued);
        }
        if function.is_fenced_here(visit.tier) {
            return Ok(unmarked);
        }
        let mark = visit.lease.as_ref().and_then(|lease| lease.mark);
        match (visit.shard.tier.ledger(), mark) {
            (Some(_), Some(mark)) => Ok(RecordMarks { mark, ..unmarked }),
            (None, _) if tags.is_empty() => Ok(unmarked),
            (Some(_), None) | (None, _) => Err(Refusal::Tags),
        }
    }

    /// Adds the tags that the value and the body have. Returns `false` if the value must not be
    /// kept anywhere, because an invalidation of its tags would not find it.
    pub(super) fn add_tags(&mut self, loaded: Option<&Loaded>, decisions: &Decisions) -> bool {
        let of_value = loaded.map(|loaded| &*loaded.tags).unwrap_or_default();
        self.tags.add_all(of_value.iter().copied());
        self.tags.add_set(&decisions.tags);
        let is_taggable = !decisions.is_untaggable && !self.tags.is_too_large();
        if !is_taggable {
            self.function.report_tag_error(decisions.is_untaggable);
        }
        is_taggable
    }

    /// Returns the places of the fences of the tags that the call's value has.
    pub(super) fn tag_stripes(&self) -> TagStripes {
        self.function.state.fences.tag_stripes(self.tags.digests())
    }
}
