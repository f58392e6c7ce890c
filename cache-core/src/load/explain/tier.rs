//! The state of a key in a tier below memory.

use std::time::Duration;

use crate::cached_function::{InvalidRecord, OpenedRecord};
use crate::codec::ErasedType;
use crate::coherence::Coherence;
use crate::error::Error;
use crate::explanation::{ChannelSeen, ExplainedTier, RecordSeen, Verdict};
use crate::fence::Stripe;
use crate::load::read::{BY_TAG, PassedOver, RecordUse, StaleHit};
use crate::load::visit::TierVisits;
use crate::reason::{Damage, Outdated};
use crate::record::{Freshness, Header, RecordKind, RecordMarks};
use crate::tier::time_limit::with_time_limit;
use crate::tier::{Inspection, LeaseSeen, MarksState};

/// The state of a tier, as a call finds it.
pub(super) struct Read {
    pub(super) found: Found,
    pub(super) lease: Option<LeaseSeen>,
    pub(super) back_off: Option<Duration>,
    pub(super) is_guarded: bool,
}

/// The result of reading a tier.
pub(super) enum Found {
    /// A fresh result. `has_tags` is set for one with tags, and `is_due` for one that a call is
    /// certain to replace.
    Hit {
        has_tags: bool,
        is_due: bool,
    },
    /// A stale value.
    Stale(StaleHit),
    Nothing,
    /// The tier was not reached.
    Unavailable,
}

/// The judgement of a record.
struct Judged {
    verdict: Verdict,
    freshness: Option<Freshness>,
    found: Found,
}

impl Judged {
    fn nothing(verdict: Verdict) -> Self {
        Self {
            verdict,
            freshness: None,
            found: Found::Nothing,
        }
    }

    fn unavailable(error: &Error) -> Self {
        Self {
            found: Found::Unavailable,
            ..Self::nothing(Verdict::Unreachable {
                error: format!("{error:?}"),
            })
        }
    }
}

impl TierVisits<'_> {
    /// Explains what the tier at place `at` has, and returns what a call finds in it.
    pub(super) async fn explain(
        &self,
        at: usize,
        value_type: &dyn ErasedType,
    ) -> (ExplainedTier, Read) {
        let visit = &self.visits[at];
        let (tier, shard) = (visit.tier, visit.shard);
        let stripe = Stripe::of(self.record_key.digest);
        let was_coherent = self.function.coherent_now(stripe).is_some();
        let context = self.function.tokio_context_of(tier);
        let inspected = shard.inspect(context, &self.record_key).await;
        let judged = match &inspected {
            Err(_) if shard.tier.is_pending(&self.record_key) => Judged {
                found: Found::Unavailable,
                ..Judged::nothing(Verdict::Pending)
            },
            Err(error) => Judged::unavailable(error),
            Ok(seen) => self.judge(at, (seen, was_coherent), value_type).await,
        };
        let seen = inspected.unwrap_or_default();
        let left = judged.freshness.and_then(Freshness::left);
        let explained = ExplainedTier {
            kind: tier.store.settings().kind.into(),
            ttl: Some(tier.ttl()),
            fresh_for: left,
            stale_for: match judged.freshness {
                Some(Freshness::Stale(since)) => Some(since),
                Some(Freshness::Fresh(_)) | None => None,
            },
            record: self.record_seen(at, &seen),
            lease: seen.lease,
            back_off: seen.back_off,
            guards: seen.guards,
            channel: shard.coherence().map(|coherence| channel(coherence)),
            ..ExplainedTier::new(tier.level, judged.verdict)
        };
        let read = Read {
            found: judged.found,
            lease: seen.lease,
            back_off: seen.back_off,
            is_guarded: seen.guards.is_some_and(|guards| guards > 0),
        };
        (explained, read)
    }

    /// Judges the record of the tier at place `at`, as a call does.
    async fn judge(
        &self,
        at: usize,
        (seen, was_coherent): (&Inspection, bool),
        value_type: &dyn ErasedType,
    ) -> Judged {
        match self.passes_over(at) {
            Some(PassedOver::MayLag) => return Judged::nothing(Verdict::PassedOver),
            Some(PassedOver::PendingBelow) => return Judged::nothing(Verdict::Pending),
            None => {}
        }
        if self.visits[at].shard.tier.is_pending(&self.record_key) {
            return Judged::nothing(Verdict::Pending);
        }
        let Some(bytes) = &seen.record else {
            return Judged::nothing(match self.function.records.can_be_written() {
                true => Verdict::Absent,
                false => Verdict::MemoryOnly,
            });
        };
        let stamp = self.valid_stamp(at, (bytes, seen.stamp), was_coherent);
        let opened = match self.open_stamped(at, bytes, stamp, value_type) {
            Ok(opened) => opened,
            Err(reason) => return Judged::nothing(verdict(reason)),
        };
        let number = self.number_of(at, stamp);
        match self.ask_state(at, &opened.marks, number).await {
            Err(error) => Judged::unavailable(&error),
            Ok(MarksState::Invalidated) => Judged::nothing(verdict(BY_TAG)),
            Ok(state) => self.judge_intact(at, (opened, state), number),
        }
    }

    /// Judges a record that was not invalidated.
    fn judge_intact(
        &self,
        at: usize,
        (opened, state): (OpenedRecord, MarksState),
        number: Option<u64>,
    ) -> Judged {
        let (freshness, value) = (opened.freshness, opened.value);
        let is_expired = state == MarksState::Expired;
        let (verdict, found) = match (self.use_of(freshness, value.is_some(), state), value) {
            (RecordUse::Fresh(left), value) => {
                let has_tags = !opened.marks.tags.is_empty();
                let (life, load) = (opened.life, opened.load);
                let is_due = value.is_some() && self.function.is_due(left, life, load);
                let verdict = match value {
                    Some(_) if is_due => Verdict::Due,
                    Some(_) => Verdict::Good,
                    None => Verdict::NoValue,
                };
                (verdict, Found::Hit { has_tags, is_due })
            }
            (RecordUse::Stale, Some(value)) => {
                let hit = StaleHit {
                    value,
                    at,
                    freshness,
                    is_expired,
                    tags: self.function.state.fences.tag_stripes(&opened.marks.tags),
                    number,
                };
                (Verdict::Stale, Found::Stale(hit))
            }
            (RecordUse::Stale | RecordUse::Passed, _) => (Verdict::Expired, Found::Nothing),
        };
        Judged {
            verdict,
            freshness: Some(freshness),
            found,
        }
    }

    /// Judges a record by its marks, without counting a question to the store.
    async fn ask_state(
        &self,
        at: usize,
        marks: &RecordMarks,
        number: Option<u64>,
    ) -> Result<MarksState, Error> {
        let ledger = match self.judge_marks_here(at, marks, number, self.consistency) {
            Ok(state) => return Ok(state),
            Err(ledger) => ledger,
        };
        let visit = &self.visits[at];
        let context = self.function.tokio_context_of(visit.tier);
        let within = visit.tier.store.settings().time_limit;
        let asked = ledger.inspect(self.marks_of(marks), within);
        with_time_limit(context, within, asked).await
    }

    fn record_seen(&self, at: usize, seen: &Inspection) -> Option<RecordSeen> {
        let bytes = seen.record.as_deref()?;
        let header = Header::open(bytes).ok()?.header;
        let now = self.visits[at].shard.tier.now();
        Some(RecordSeen {
            bytes: bytes.len(),
            age: Duration::from_millis(now.saturating_sub(header.created)),
            load: Duration::from_millis(header.load.into()),
            is_copy: header.kind == RecordKind::Copy,
        })
    }
}

fn channel(coherence: &Coherence) -> ChannelSeen {
    let (coherent_for, last_barrier) = coherence.age();
    ChannelSeen {
        coherent_for,
        last_barrier,
    }
}

fn verdict(reason: InvalidRecord) -> Verdict {
    match reason {
        InvalidRecord::Damaged(Damage::Bytes) => Verdict::Damaged,
        InvalidRecord::Damaged(Damage::Value) => Verdict::Undecodable,
        InvalidRecord::Mismatch(of) => Verdict::Mismatch { of },
        InvalidRecord::Outdated(outdated) => match outdated {
            Outdated::Expired => Verdict::Expired,
            Outdated::OtherEpoch => Verdict::OtherEpoch,
            Outdated::OtherHistory => Verdict::OtherHistory,
            Outdated::UnknownStamp => Verdict::UnknownStamp,
            Outdated::FencedOff(by) => Verdict::FencedOff { by },
            Outdated::NotCoherent => Verdict::NotCoherent,
            Outdated::Nothing => Verdict::Nothing,
            Outdated::Absence => Verdict::Absence,
        },
    }
}
