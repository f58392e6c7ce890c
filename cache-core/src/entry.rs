//! Entries: typed results in memory, with what decides whether they are valid.

mod ahead;
mod retry;
mod weight;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use self::ahead::Ahead;
pub(crate) use self::retry::Retry;
use self::weight::Weight;
use crate::clock::Moment;
use crate::fence::{Changes, Confirmed, Stripe, TagStripes};
use crate::record::{Etag, RecordMarks};

/// Bytes of an entry's own fields, and of the reference counts before its value.
const OVERHEAD: usize = size_of::<Entry>() + REFERENCE_COUNTS;

const REFERENCE_COUNTS: usize = 2 * size_of::<usize>();

/// The result of a load in memory, with a value of any type.
///
/// A hit clones the entry out of the engine. The fields before the value are what the reader needs
/// to check it, so that the clone touches one reference count and nothing behind the pointer.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The number of the fences when the load of this value began, in the high bits, and below them
    /// the [weight](Self::weight).
    start_and_weight: u64,
    /// When the entry stops to answer calls without further checks: the value expires, or it is due
    /// to be loaded again before it does.
    pub(crate) expires: Moment,
    /// How far the value is dated up beyond `start`: its key was not invalidated in between.
    dated_up_by: u32,
    /// The stripe of the key's fence in bits 0 to 15, [`EXTRA`], and from [`AHEAD`] on how long the
    /// value is fresh after `expires`. They share a word because each hit copies it.
    packed: u32,
    value: Held,
}

/// The first number of the fences that has no place beside the weight. It is not reached within 8
/// years of a million invalidations a second.
const END_OF_NUMBERS: u64 = 1 << (u64::BITS - Weight::BITS);

/// Set if the entry is more than a value: its content is behind an [`Extra`].
const EXTRA: u32 = 1 << 16;

/// The first of the bits with the time that the value is fresh after `expires`.
const AHEAD: u32 = u32::BITS - Ahead::BITS;

/// Parts that few entries have.
///
/// The fields that a hit reads are the first ones, behind the reference counts that it writes. So
/// they share cache lines with these.
#[repr(C)]
struct Extra {
    /// Up to which change the tags were compared with their fences.
    confirmed: Confirmed,
    content: Content,
    /// Set for a result that was loaded while a lower tier was not reachable. It answers calls only
    /// while that is so.
    is_isolated_only: bool,
    /// Set for a value that a lower tier had, and that was expired there: it is stale, whatever its
    /// time.
    is_expired: bool,
    /// The fences of the value's tags.
    tags: TagStripes,
    /// Set once a caller got the value when it was stale or due.
    retry: Option<Arc<Retry>>,
    /// Set if a strong call found the value.
    strong: Option<StrongRead>,
}

/// The result that an entry keeps.
#[derive(Clone)]
pub(crate) enum Content {
    Value(Held),
    /// The load found that there is no value.
    Absent,
    /// The load failed. Callers can make an error of this.
    Failed(Arc<dyn Any + Send + Sync>),
}

/// A record of a lower tier whose value memory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownRecord {
    /// The place of the tier among the lower tiers of the function.
    pub(crate) at: usize,
    /// The etag, by which the record is recognized without being read.
    pub(crate) etag: Etag,
    /// The marks, which the tier does not send again.
    pub(crate) marks: RecordMarks,
}

/// The strong call that found a value.
#[derive(Clone)]
struct StrongRead {
    record: Option<KnownRecord>,
    /// The number of the fences when the call was answered. Loads that began before it may have
    /// read an older value.
    answered: u64,
}

/// A value behind a shared pointer, without its type. If a function returns `Arc<T>`, this is that
/// `Arc` itself.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

impl Entry {
    /// Makes an entry of a value. `weight` is that of key and value; one of more than 4 GiB is
    /// taken as 4 GiB.
    pub(crate) fn new(
        value: Held,
        start: u64,
        stripe: Stripe,
        expires: Moment,
        weight: usize,
    ) -> Self {
        let weight = Weight::at_least(weight.saturating_add(OVERHEAD));
        Self {
            start_and_weight: start_and_weight(start, weight),
            expires,
            dated_up_by: 0,
            packed: u32::from(stripe.number()),
            value,
        }
    }

    /// Makes an entry of a result that is no value.
    pub(crate) fn without_value(
        content: Content,
        start: u64,
        stripe: Stripe,
        expires: Moment,
    ) -> Self {
        let nothing = Arc::new(());
        Self::new(nothing, start, stripe, expires, 0).with_extra(Extra::new(content))
    }

    /// Makes the value due `gap` before the end of its freshness, which stays what it is. The gap
    /// is rounded down.
    pub(crate) fn due_before_end(mut self, gap: Duration) -> Self {
        let ahead = Ahead::at_most(gap);
        self.expires = self.fresh_until().before(ahead.time());
        self.set_ahead(ahead);
        self
    }

    /// Marks the value as one that a strong call found, which was answered at the fences' number
    /// `answered`.
    pub(crate) fn strong_read(self, record: Option<KnownRecord>, answered: u64) -> Self {
        let strong = Some(StrongRead { record, answered });
        let extra = Extra {
            strong,
            ..self.to_extra()
        };
        self.with_extra(extra)
    }

    /// Marks the result as one that answers calls only while the lower tiers are not reachable.
    pub(crate) fn isolated_only(self) -> Self {
        let extra = Extra {
            is_isolated_only: true,
            ..self.to_extra()
        };
        self.with_extra(extra)
    }

    /// Sets the fences of the value's tags.
    pub(crate) fn with_tags(mut self, tags: &TagStripes) -> Self {
        if tags.is_empty() {
            return self;
        }
        let weight = self.weight() as usize + tags.size() + REFERENCE_COUNTS;
        self.start_and_weight = start_and_weight(self.start(), Weight::at_least(weight));
        let extra = Extra {
            tags: tags.clone(),
            ..self.to_extra()
        };
        self.with_extra(extra)
    }

    /// Marks the value as one that is stale, whatever its time.
    pub(crate) fn expired(self) -> Self {
        let extra = Extra {
            is_expired: true,
            ..self.to_extra()
        };
        self.with_extra(extra)
    }

    /// Returns the same entry with the pacing of the loads that replace it. A value that is due
    /// stays due, so that another load begins if the first one fails.
    #[cold]
    pub(crate) fn with_retry(self) -> (Self, Arc<Retry>) {
        let retry = Arc::<Retry>::default();
        let extra = Extra {
            retry: Some(Arc::clone(&retry)),
            ..self.to_extra()
        };
        (self.with_extra(extra), retry)
    }

    /// Returns the number of the fences when the load of this value began.
    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.start_and_weight >> Weight::BITS
    }

    /// Returns the number up to which the key of the value is known not to have been invalidated
    /// since the load.
    #[inline]
    pub(crate) fn dated(&self) -> u64 {
        self.start() + u64::from(self.dated_up_by)
    }

    /// Returns the same entry, dated up to `until`: its key was not invalidated after `since` up to
    /// that number. `None` if that dates it no further.
    ///
    /// An entry can be dated up by four billion numbers. Later it is like one that no call reads.
    pub(crate) fn dated_up(&self, since: u64, until: u64) -> Option<Self> {
        if self.dated() < since {
            return None;
        }
        let by = until.saturating_sub(self.start());
        let dated_up_by = u32::try_from(by).unwrap_or(u32::MAX);
        (dated_up_by > self.dated_up_by).then(|| Self {
            dated_up_by,
            ..self.clone()
        })
    }

    /// Returns the bytes that count against a capacity in bytes: those of the key, the value and
    /// this header.
    pub(crate) fn weight(&self) -> u32 {
        Weight::of_bits(self.start_and_weight as u16).bytes()
    }

    /// Returns the end of the freshness of the value.
    pub(crate) fn fresh_until(&self) -> Moment {
        self.expires.after(self.gap())
    }

    /// Returns how long before the end of its freshness the value is due. Zero if it is not loaded
    /// ahead.
    pub(crate) fn gap(&self) -> Duration {
        Ahead::of_bits(self.packed >> AHEAD).time()
    }

    /// Returns `true` if `other` must not replace this entry, because its value may be older: its
    /// load began before the load of this value or, if a strong call found this value, before that
    /// call was answered.
    ///
    /// The ends of freshness decide, and not `expires`: a value that is due is newer than one that
    /// a slow load read before it.
    pub(crate) fn is_newer_than(&self, other: &Self, now: Moment) -> bool {
        self.known_from() > other.start() && self.fresh_until() > now
    }

    /// Returns `true` if this is the same entry as `other`, which was cloned out of an engine.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
            && self.start() == other.start()
            && self.expires == other.expires
    }

    /// Returns the number from which on no load reads an older value.
    pub(crate) fn known_from(&self) -> u64 {
        let strong = self.extra().and_then(|extra| extra.strong.as_ref());
        strong.map_or_else(|| self.start(), |strong| strong.answered)
    }

    /// Returns `true` if the entry is a value and nothing more.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.packed & EXTRA == 0
    }

    /// Returns the value, if there is one and it may answer a call. `is_isolated` says that the
    /// lower tiers are not reachable.
    #[inline]
    pub(crate) fn into_value(self, is_isolated: bool) -> Option<Held> {
        match self.is_plain() {
            true => Some(self.value),
            false => self.value_of_extra(is_isolated),
        }
    }

    /// Not inlined, so that the other entries cost a hit no more than the look at their bit.
    #[inline(never)]
    fn value_of_extra(self, is_isolated: bool) -> Option<Held> {
        let extra = self.extra().filter(|extra| extra.may_answer(is_isolated))?;
        match &extra.content {
            Content::Value(held) => Some(Arc::clone(held)),
            Content::Absent | Content::Failed(_) => None,
        }
    }

    /// Returns `true` if the entry [is confirmed](Confirmed).
    pub(crate) fn is_confirmed(&self, changes: &Changes) -> bool {
        let extra = self.extra();
        extra.is_some_and(|extra| extra.confirmed.holds(changes))
    }

    /// Returns `true` if `is_valid` does, and [confirms](Confirmed::confirm) the entry then.
    pub(crate) fn confirm(&self, changes: &Changes, is_valid: impl FnOnce() -> bool) -> bool {
        let extra = self.extra();
        extra.is_some_and(|extra| extra.confirmed.confirm(changes, is_valid))
    }

    /// Returns the result, if it may answer a call.
    #[inline(never)]
    pub(crate) fn content(&self, is_isolated: bool) -> Option<Content> {
        match self.extra() {
            None => Some(Content::Value(Arc::clone(&self.value))),
            Some(extra) if extra.is_isolated_only && !is_isolated => None,
            Some(extra) => Some(extra.content.clone()),
        }
    }

    /// Returns the value, if there is one, whether or not it may answer a call.
    pub(crate) fn held(&self) -> Option<&Held> {
        match self.extra().map(|extra| &extra.content) {
            None => Some(&self.value),
            Some(Content::Value(held)) => Some(held),
            Some(Content::Absent | Content::Failed(_)) => None,
        }
    }

    /// Returns the record that a strong call read, if it is known.
    pub(crate) fn record(&self) -> Option<&KnownRecord> {
        self.extra()?.strong.as_ref()?.record.as_ref()
    }

    /// Returns the fences of the value's tags.
    #[inline]
    pub(crate) fn tags(&self) -> &TagStripes {
        self.extra().map_or(TagStripes::NONE, |extra| &extra.tags)
    }

    /// Returns `true` if there is a value that may answer a call whose lower tiers are reachable.
    #[inline]
    pub(crate) fn is_value(&self) -> bool {
        self.is_plain() || self.extra().is_some_and(Extra::is_value)
    }

    /// Returns `true` if the value [is stale](Self::expired), whatever its time.
    pub(crate) fn is_expired(&self) -> bool {
        self.extra().is_some_and(|extra| extra.is_expired)
    }

    /// Returns the pacing of the loads that replace the entry, if it has one.
    pub(crate) fn retry(&self) -> Option<&Arc<Retry>> {
        self.extra()?.retry.as_ref()
    }

    /// Returns the stripe of the key's fence.
    #[inline]
    pub(crate) fn stripe(&self) -> Stripe {
        Stripe::numbered(self.packed as u16)
    }

    fn set_ahead(&mut self, ahead: Ahead) {
        self.packed = self.packed & ((1 << AHEAD) - 1) | ahead.bits() << AHEAD;
    }

    #[inline]
    fn extra(&self) -> Option<&Extra> {
        if self.is_plain() {
            return None;
        }
        self.value.downcast_ref()
    }

    fn to_extra(&self) -> Extra {
        let extra = self.extra().cloned();
        extra.unwrap_or_else(|| Extra::new(Content::Value(Arc::clone(&self.value))))
    }

    fn with_extra(mut self, extra: Extra) -> Self {
        if self.is_plain() {
            let weight = self.weight() as usize + size_of::<Extra>() + REFERENCE_COUNTS;
            self.start_and_weight = start_and_weight(self.start(), Weight::at_least(weight));
        }
        self.packed |= EXTRA;
        self.value = Arc::new(extra);
        self
    }
}

/// Packs a number of the fences and a weight. A number without a place becomes zero, so that the
/// entry is void.
fn start_and_weight(start: u64, weight: Weight) -> u64 {
    let start = if start < END_OF_NUMBERS { start } else { 0 };
    start << Weight::BITS | u64::from(weight.bits())
}

impl Extra {
    fn may_answer(&self, is_isolated: bool) -> bool {
        !self.is_expired && (is_isolated || !self.is_isolated_only)
    }

    fn is_value(&self) -> bool {
        self.may_answer(false) && matches!(self.content, Content::Value(_))
    }

    fn new(content: Content) -> Self {
        Self {
            confirmed: Confirmed::never(),
            content,
            is_isolated_only: false,
            is_expired: false,
            tags: TagStripes::default(),
            retry: None,
            strong: None,
        }
    }
}

/// The clone is for another entry, which can have other tags, so it is not confirmed.
impl Clone for Extra {
    fn clone(&self) -> Self {
        Self {
            confirmed: Confirmed::never(),
            content: self.content.clone(),
            is_isolated_only: self.is_isolated_only,
            is_expired: self.is_expired,
            tags: self.tags.clone(),
            retry: self.retry.clone(),
            strong: self.strong.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
