//! Step 1: the look-up in memory.

use super::Held;
use crate::cached_function::CachedFunction;
use crate::clock::Moment;
use crate::function::options::WhenIsolated;
use crate::key::KeyRef;

impl CachedFunction {
    /// Returns the value in memory, if it is valid: it has not expired, no fence was raised after
    /// its load began, and this instance is coherent.
    pub(crate) fn hit(&self, key: &KeyRef<'_>) -> Option<Held> {
        let (_, counters) = self.memory.as_ref()?;
        let held = self.get_valid(key);
        match held {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        held
    }

    #[inline]
    fn get_valid(&self, key: &KeyRef<'_>) -> Option<Held> {
        let now = self.coherent_now();
        let entry = self.state.memory()?.get(key)?;
        if self.is_valid_entry(&entry, now?) {
            entry.into_value(false)
        } else {
            None
        }
    }

    /// Returns the valid value of a key. Unlike [`hit`](Self::hit) this does not count, in the
    /// statistics or for the eviction policy: it is the second look-up of a call.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.peek_at(key, false, self.coherent_now()?)
    }

    fn peek_at(&self, key: &KeyRef<'_>, is_isolated: bool, now: Moment) -> Option<Held> {
        self.memory.as_ref()?;
        let entry = self.state.memory()?.peek(key)?;
        if self.is_valid_entry(&entry, now) {
            entry.into_value(is_isolated)
        } else {
            None
        }
    }

    /// Returns the value that memory may give to a call whose lower tiers are not reachable.
    pub(crate) fn serve_isolated(&self, key: &KeyRef<'_>) -> Option<Held> {
        let (_, counters) = self.memory.as_ref()?;
        let held = self.peek_isolated(key)?;
        counters.isolated_hits.add_one();
        Some(held)
    }

    /// Does what [`serve_isolated`](Self::serve_isolated) does, without counting.
    pub(crate) fn peek_isolated(&self, key: &KeyRef<'_>) -> Option<Held> {
        match self.when_isolated() {
            WhenIsolated::Serve => self.peek_at(key, true, self.state.clock.now()),
            WhenIsolated::Load => None,
        }
    }
}
