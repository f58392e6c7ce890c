//! Step 1: the look-up in memory.

use super::Held;
use crate::cached_function::CachedFunction;
use crate::entry::Entry;
use crate::key::KeyRef;

impl CachedFunction {
    /// Returns the value in memory, if it is valid: it has not expired, no fence was raised after
    /// its load began, and this instance is coherent.
    pub(crate) fn hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.hit_seen(key, |_| {})
    }

    /// Returns and counts the value as [`hit`](Self::hit) does. `saw` is called with its entry.
    #[inline]
    pub(crate) fn hit_seen(&self, key: &KeyRef<'_>, saw: impl FnOnce(&Entry)) -> Option<Held> {
        let Some((_, counters)) = &self.memory else {
            return self.traced_hit(key);
        };
        let held = self.get_valid(key, saw);
        match held {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        held
    }

    #[inline]
    fn get_valid(&self, key: &KeyRef<'_>, saw: impl FnOnce(&Entry)) -> Option<Held> {
        let entry = self.state.memory()?.get(key)?;
        saw(&entry);
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
