//! Step 1 for a function with times besides its ttl: which result memory has for a call.
//!
//! An entry is judged by the fences, then by the coherence of this instance, then by the time:
//!
//! | age of the value | a call gets |
//! | --- | --- |
//! | less than its life | the value; one load begins once it is due |
//! | then up to `stale_while_revalidate` | the stale value; one load begins, unless it is backed off |
//! | then up to `stale_if_error` | a miss; the stale value while a failed load is backed off |
//! | more | a miss |
//!
//! A value that was expired is stale from that moment on; its windows end when they would have
//! ended anyway.
//!
//! Both windows begin at the end of the life. A load begins in the background, so only calls whose
//! function is late begin one. Only these are answered from the first window: otherwise no call
//! would replace the value.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Held;
use super::look::{Look, Revalidated};
use crate::cached_function::CachedFunction;
use crate::call_trace::CallOutcome;
use crate::clock::Moment;
use crate::codec::ErasedType;
use crate::entry::{Content, Entry};
use crate::fence::TagStripes;
use crate::function::options::WhenIsolated;
use crate::key::{Key, KeyRef};
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;

/// The standing of an entry, before a call claims the load that replaces it.
#[derive(Clone)]
pub(super) enum Standing {
    /// A fresh value.
    Fresh(Held),
    /// A fresh value that is due to be loaded ahead.
    Due(Held),
    /// A stale value that a call gets while a load in the background replaces it.
    Revalidated(Held),
    /// A stale value that a call gets because a load failed, and the next one is backed off.
    BackedOff(Held),
    /// The fresh result that there is no value.
    Absent,
    /// A fresh error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// Nothing: it was fenced off.
    Void,
    /// Nothing: it answers calls only while the lower tiers are not reachable.
    Stopgap,
    /// Nothing: it is not fresh, and no window allows it.
    Expired,
}

impl CachedFunction {
    /// Looks in memory on behalf of a call. `is_late_call` says that the call can begin a load that
    /// continues after it was answered.
    pub(crate) fn judge(&self, key: &KeyRef<'_>, is_late_call: bool) -> Look {
        self.judge_seen(key, is_late_call, |_| {})
    }

    /// Judges as [`judge`](Self::judge) does. `saw` is called with the entry.
    #[inline]
    pub(crate) fn judge_seen(
        &self,
        key: &KeyRef<'_>,
        is_late_call: bool,
        saw: impl FnOnce(&Entry),
    ) -> Look {
        let Some((_, counters)) = &self.memory else {
            return self.traced_judge(key, is_late_call);
        };
        let Some(entry) = self.state.memory().and_then(|memory| memory.get(key)) else {
            counters.misses.add_one();
            return Look::Miss;
        };
        saw(&entry);
        let now = self.coherent_now(entry.stripe());
        match now {
            Some(now) if self.is_fresh_value(key, &entry, now) => {
                counters.hits.add_one();
                entry.into_value(false).map_or(Look::Miss, Look::Fresh)
            }
            _ => self.judge_further(key, &entry, now, is_late_call),
        }
    }

    #[inline]
    fn is_fresh_value(&self, key: &KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        self.is_valid_entry(key, entry, now) && !self.is_expired_entry(entry) && entry.is_value()
    }

    /// Judges and counts an entry that is no fresh value.
    #[inline(never)]
    fn judge_further(
        &self,
        key: &KeyRef<'_>,
        entry: &Entry,
        now: Option<Moment>,
        is_late_call: bool,
    ) -> Look {
        // An instance that is not coherent asks the tiers below first.
        let look = now.map_or(Look::Miss, |now| {
            self.judge_entry(key, entry, now, is_late_call)
        });
        self.count_look(&look);
        look
    }

    fn count_look(&self, look: &Look) {
        let Some((_, counters)) = &self.memory else {
            return;
        };
        match look {
            Look::Miss => return counters.misses.add_one(),
            Look::Fresh(_) => {}
            look if look.is_stale() => return counters.stale_hits.add_one(),
            Look::Stale { .. } => {}
            Look::Absent => self.counters.absent_hits.add_one(),
            Look::Failed(_) => self.counters.error_hits.add_one(),
        }
        counters.hits.add_one();
    }

    /// Judges an entry at a moment at which this instance is coherent.
    fn judge_entry(
        &self,
        key: &KeyRef<'_>,
        entry: &Entry,
        now: Moment,
        is_late_call: bool,
    ) -> Look {
        let is_current = self.is_current_entry(key, entry);
        match self.standing(entry, is_current, now, is_late_call) {
            Standing::Fresh(value) => Look::Fresh(value),
            Standing::Absent => Look::Absent,
            Standing::Failed(error) => Look::Failed(error),
            Standing::Due(value) if !self.claims_load(key, entry, now) => Look::Fresh(value),
            Standing::Due(value) => Look::Stale {
                value,
                replaces: Some(Revalidated {
                    stale: None,
                    due_within: entry.gap(),
                }),
            },
            Standing::Revalidated(value) => {
                let replaces = self.claims_load(key, entry, now).then(|| Revalidated {
                    stale: Some(self.stale_of_entry(entry, Arc::clone(&value))),
                    due_within: Duration::ZERO,
                });
                Look::Stale { value, replaces }
            }
            Standing::BackedOff(value) => self.backed_off(value),
            Standing::Void | Standing::Stopgap | Standing::Expired => Look::Miss,
        }
    }

    /// Returns a value that a call gets because a load has failed, and counts the call.
    fn backed_off(&self, value: Held) -> Look {
        self.counters.backed_off.add_one();
        Look::Stale {
            value,
            replaces: None,
        }
    }

    fn stale_of_entry(&self, entry: &Entry, value: Held) -> StaleValue {
        StaleValue {
            value,
            start: entry.start(),
            dated: entry.dated(),
            fresh_until: entry.fresh_until(),
            is_expired: self.is_expired_entry(entry),
            tags: entry.tags().clone(),
        }
    }

    /// Judges an entry for a call whose lower tiers are reachable: by the fences, whose judgement
    /// is `is_current`, and then by the time. `is_late_call` is as for [`judge`](Self::judge).
    pub(super) fn standing(
        &self,
        entry: &Entry,
        is_current: bool,
        now: Moment,
        is_late_call: bool,
    ) -> Standing {
        let value = match self.fresh_result(entry, is_current, false, now) {
            Fresh::Result(standing) => return standing,
            Fresh::Value(value) => value,
        };
        let fresh_until = entry.fresh_until();
        if now < fresh_until && !self.is_expired_entry(entry) {
            return match is_late_call {
                true => Standing::Due(value),
                false => Standing::Fresh(value),
            };
        }
        if is_late_call && is_within(self.times.stale_while_revalidate, fresh_until, now) {
            return Standing::Revalidated(value);
        }
        self.stale_standing(entry, value, now)
    }

    /// Judges an entry for a call whose lower tiers are not reachable, as
    /// [`standing`](Self::standing) does.
    pub(super) fn isolated_standing(
        &self,
        entry: &Entry,
        is_current: bool,
        now: Moment,
    ) -> Standing {
        let is_fresh = || now < entry.fresh_until() && !self.is_expired_entry(entry);
        match self.fresh_result(entry, is_current, true, now) {
            Fresh::Result(standing) => standing,
            Fresh::Value(value) if is_fresh() => Standing::Fresh(value),
            Fresh::Value(value) => self.stale_standing(entry, value, now),
        }
    }

    /// Judges a value that is stale, and that a call gets only if a load failed.
    fn stale_standing(&self, entry: &Entry, value: Held, now: Moment) -> Standing {
        let is_backed_off = entry.retry().is_some_and(|retry| retry.is_backed_off(now));
        let is_in_window = is_within(self.times.stale_if_error, entry.fresh_until(), now);
        match is_backed_off && is_in_window {
            true => Standing::BackedOff(value),
            false => Standing::Expired,
        }
    }

    /// Judges an entry by the fences, and by the time if it can be judged by `expires` alone.
    fn fresh_result(
        &self,
        entry: &Entry,
        is_current: bool,
        is_isolated: bool,
        now: Moment,
    ) -> Fresh {
        if !is_current {
            return Fresh::Result(Standing::Void);
        }
        let Some(content) = entry.content(is_isolated) else {
            return Fresh::Result(Standing::Stopgap);
        };
        let is_fresh = now < entry.expires && !self.is_expired_entry(entry);
        Fresh::Result(match content {
            Content::Value(held) if is_fresh => Standing::Fresh(held),
            Content::Value(held) => return Fresh::Value(held),
            Content::Absent if is_fresh => Standing::Absent,
            Content::Failed(error) if is_fresh => Standing::Failed(error),
            Content::Absent | Content::Failed(_) => Standing::Expired,
        })
    }

    /// Returns the fresh result that memory has, for the second look-up of a call, if it fits the
    /// type of the function's values. Does not count, in the statistics or for the eviction policy.
    pub(super) fn peek_outcome(
        &self,
        key: &Key,
        value_type: &dyn ErasedType,
    ) -> Option<(LoadOutcome, TagStripes)> {
        self.memory.as_ref()?;
        let entry = self.kept(key)?;
        let now = self.coherent_now(entry.stripe())?;
        let is_current = self.is_current_entry(&key.as_ref(), &entry);
        let standing = self.standing(&entry, is_current, now, false);
        let tags = entry.tags().clone();
        Some((standing.fresh_look().fresh_outcome(value_type)?, tags))
    }

    /// Returns the stale value that a call gets because a load has failed since its look-up, if the
    /// function has memory alone. Otherwise the lease says whether the key is backed off.
    pub(super) fn backed_off_value(&self, key: &Key) -> Option<StaleValue> {
        if self.has_lower() {
            return None;
        }
        let retry = Arc::clone(self.kept(key)?.retry()?);
        let stale = self.stale_value(key)?;
        let is_backed_off = retry.is_backed_off(self.state.clock.now());
        (is_backed_off && self.may_serve_stale(&stale, key)).then_some(stale)
    }

    /// Returns the result that memory may give to a call whose lower tiers are not reachable: one
    /// that is fresh, or stale while a failed load is backed off.
    pub(super) fn serve_isolated(
        &self,
        key: &Key,
        value_type: &dyn ErasedType,
    ) -> Option<Isolated> {
        let (standing, tags) = self.judge_isolated(key)?;
        let (look, answer) = match standing {
            Standing::BackedOff(value) => (Look::Fresh(value), CallOutcome::Stale),
            standing => (standing.fresh_look(), CallOutcome::Hit),
        };
        let outcome = look.fresh_outcome(value_type)?;
        if answer == CallOutcome::Stale {
            self.counters.backed_off.add_one();
        }
        self.count_isolated_hit();
        Some(Isolated {
            outcome,
            answer,
            tags,
        })
    }

    /// Counts a call that memory answers because the lower tiers are not reachable.
    pub(super) fn count_isolated_hit(&self) {
        if let Some((_, counters)) = &self.memory {
            counters.isolated_hits.add_one();
        }
    }

    /// Returns the value that a handle may give whose lower tiers are not reachable.
    pub(super) fn peek_isolated(&self, key: &Key) -> Option<Held> {
        match self.judge_isolated(key)?.0 {
            Standing::BackedOff(held) => Some(held),
            standing => match standing.fresh_look() {
                Look::Fresh(held) => Some(held),
                Look::Absent | Look::Failed(_) => None,
                Look::Stale { .. } | Look::Miss => self.peek_stale(key),
            },
        }
    }

    /// Returns the stale value in memory that a call would get without waiting for a load.
    pub(super) fn peek_stale(&self, key: &Key) -> Option<Held> {
        let stale = self.stale_value(key)?;
        let may_serve = self.may_serve_while_revalidating(&stale, key);
        may_serve.then_some(stale.value)
    }

    /// Judges the entry of a key for a caller whose lower tiers are not reachable. Returns the
    /// fences of its tags as well.
    fn judge_isolated(&self, key: &Key) -> Option<(Standing, TagStripes)> {
        self.memory.as_ref()?;
        match self.when_isolated() {
            WhenIsolated::Load => return None,
            WhenIsolated::Serve => {}
        }
        let entry = self.kept(key)?;
        let now = self.state.clock.now();
        let is_current = self.is_current_entry(&key.as_ref(), &entry);
        let standing = self.isolated_standing(&entry, is_current, now);
        Some((standing, entry.tags().clone()))
    }

    /// Returns `true` if memory has a value that is fresh or may be returned stale, as far as the
    /// fences and the time tell now.
    pub(super) fn has_value(&self, key: &Key) -> bool {
        let window = self.times.longest_window();
        let now = self.state.clock.now();
        let kept = self.kept(key);
        kept.is_some_and(|entry| {
            entry.held().is_some()
                && self.is_current_entry(&key.as_ref(), &entry)
                && now < entry.fresh_until().after(window)
        })
    }

    /// Returns the value in memory that callers may get if their load fails, as far as the fences
    /// and the time tell now. Whether a caller gets it is judged when it returns it.
    pub(super) fn stale_value(&self, key: &Key) -> Option<StaleValue> {
        self.memory.as_ref()?;
        if self.times.longest_window().is_zero() {
            return None;
        }
        let entry = self.kept(key)?;
        let is_current = self.is_current_entry(&key.as_ref(), &entry);
        self.stale_in(&entry, is_current)
    }

    /// Returns the value of an entry as [`stale_value`](Self::stale_value) does.
    pub(super) fn stale_in(&self, entry: &Entry, is_current: bool) -> Option<StaleValue> {
        let window = Some(self.times.longest_window()).filter(|window| !window.is_zero());
        window?;
        let now = self.state.clock.now();
        // A value that answers only isolated callers is stale for them only. If the tier is reached
        // again before the value is returned, the new link has raised the fences.
        let is_isolated = self.serves_isolated(entry.stripe());
        let value = match self.fresh_result(entry, is_current, is_isolated, now) {
            Fresh::Value(value) | Fresh::Result(Standing::Fresh(value)) => value,
            Fresh::Result(_) => return None,
        };
        let is_usable = is_within(window, entry.fresh_until(), now);
        is_usable.then(|| self.stale_of_entry(entry, value))
    }

    /// Returns `true` if a value that is to be replaced is still fresh.
    pub(super) fn is_fresh(&self, value: &StaleValue, key: &Key) -> bool {
        let is_expired =
            value.is_expired || self.is_expired(value.start, self.stripe(key), &value.tags);
        !is_expired && self.state.clock.now() < value.fresh_until
    }
}

/// The answer of memory to a call whose lower tiers are not reachable.
pub(super) struct Isolated {
    pub(super) outcome: LoadOutcome,
    /// [`Hit`](CallOutcome::Hit), or [`Stale`](CallOutcome::Stale) if a failed load is backed off.
    pub(super) answer: CallOutcome,
    pub(super) tags: TagStripes,
}

/// Judgement of an entry by its fences and by `expires`.
enum Fresh {
    /// The judgement is complete.
    Result(Standing),
    /// A value that is due or stale.
    Value(Held),
}

impl Standing {
    /// Returns the fresh result that an entry has for a call.
    fn fresh_look(self) -> Look {
        match self {
            Self::Fresh(value) | Self::Due(value) => Look::Fresh(value),
            Self::Absent => Look::Absent,
            Self::Failed(error) => Look::Failed(error),
            Self::Revalidated(_) | Self::BackedOff(_) => Look::Miss,
            Self::Void | Self::Stopgap | Self::Expired => Look::Miss,
        }
    }
}

/// Returns `true` if a value that was fresh until then is fresh or in this window.
fn is_within(window: Option<Duration>, fresh_until: Moment, now: Moment) -> bool {
    window.is_some_and(|window| now < fresh_until.after(window))
}
