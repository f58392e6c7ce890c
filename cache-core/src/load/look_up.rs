//! Step 1: the look-up in memory.

use super::Held;
use super::judge::{Look, is_due};
use crate::cached_function::CachedFunction;
use crate::call_trace::CallOutcome;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::key::KeyRef;

impl CachedFunction {
    /// Returns the value in memory, if it is valid: it has not expired, no fence was raised after
    /// its load began, and this instance is coherent.
    pub(crate) fn hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        let Some((_, counters)) = &self.memory else {
            return self.traced_hit(key);
        };
        let held = self.get_valid(key);
        match held {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        held
    }

    /// Looks in memory on behalf of a call that is traced. Without a trace there is no memory.
    #[cold]
    fn traced_hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        let original = self.original()?;
        let began = Clock::System.fine();
        let held = original.hit(key)?;
        original.trace_memory(key, CallOutcome::Hit, began);
        Some(held)
    }

    /// Judges the entry of memory for a call that is traced. Without a trace there is no memory.
    #[cold]
    pub(super) fn traced_judge(&self, key: &KeyRef<'_>, is_late_call: bool) -> Look {
        let Some(original) = self.original() else {
            return Look::Miss;
        };
        let began = Clock::System.fine();
        let look = original.judge(key, is_late_call);
        match &look {
            Look::Miss => {}
            Look::Stale { replaces, .. } if !is_due(replaces.as_ref()) => {
                original.trace_memory(key, CallOutcome::Stale, began);
            }
            _ => original.trace_memory(key, CallOutcome::Hit, began),
        }
        look
    }

    #[inline]
    fn get_valid(&self, key: &KeyRef<'_>) -> Option<Held> {
        let entry = self.state.memory()?.get(key)?;
        let now = self.coherent_now(entry.stripe())?;
        if self.is_valid_entry(key, &entry, now) {
            entry.into_value(false)
        } else {
            None
        }
    }

    /// Returns the fresh value of a key. Unlike [`hit`](Self::hit) this does not count, in the
    /// statistics or for the eviction policy: it is the second look-up of a call.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.memory.as_ref()?;
        let entry = self.state.memory()?.peek(key)?;
        let now = self.coherent_now(entry.stripe())?;
        let is_valid = self.is_current_entry(key, &entry)
            && now < entry.fresh_until()
            && !self.is_expired_entry(&entry);
        entry.into_value(false).filter(|_| is_valid)
    }

    /// Returns and counts the value in memory as [`hit`](Self::hit) does, for a call that takes no
    /// stale value, of a function that may have some.
    pub(crate) fn fresh_hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        let (_, counters) = self.memory.as_ref()?;
        let entry = self.state.memory()?.get(key);
        let now = |entry: &Entry| self.coherent_now(entry.stripe());
        let is_fresh = |entry: &Entry| {
            let is_valid = now(entry).is_some_and(|now| self.is_valid_entry(key, entry, now));
            is_valid && !self.is_expired_entry(entry)
        };
        let held = entry
            .filter(is_fresh)
            .and_then(|entry| entry.into_value(false));
        match held {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        held
    }
}
