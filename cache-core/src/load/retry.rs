//! Which call begins the load that replaces an entry, and when.

use std::sync::Arc;
use std::time::Duration;

use crate::cached_function::CachedFunction;
use crate::clock::Moment;
use crate::entry::{Entry, Retry};
use crate::key::{Key, KeyRef};

impl CachedFunction {
    /// Returns `true` if the caller begins the load that replaces `entry`, which is due or stale.
    /// One of all callers does, and none while the load is backed off.
    pub(super) fn claims_load(&self, key: &KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        let retry = match entry.retry() {
            Some(retry) => Some(Arc::clone(retry)),
            // If another caller has replaced the entry, that one begins the load.
            None => self.with_retry(KeyRef::to_owned(*key), entry),
        };
        let Some(retry) = retry else { return false };
        if retry.is_backed_off(now) {
            self.counters.backed_off.add_one();
            return false;
        }
        retry.claim(now)
    }

    /// Returns `true` if the caller begins the load that replaces the value of a key, as
    /// [`claims_load`](Self::claims_load) does. If memory has no entry of the key, the flights and
    /// the leases decide.
    pub(super) fn claims_load_of(&self, key: &Key) -> bool {
        match self.kept(key) {
            Some(entry) => self.claims_load(&key.as_ref(), &entry, self.state.clock.now()),
            None => true,
        }
    }

    /// Notes that a load of the key failed, for callers that have its value: no load begins for
    /// them during `lasts`. `failures` is how many loads have failed in a row, if it is known.
    pub(super) fn note_back_off(&self, key: &Key, lasts: Duration, failures: Option<u32>) {
        let Some(retry) = self.retry_of(key) else {
            return;
        };
        let failures = failures.unwrap_or_else(|| retry.failures().max(1));
        retry.back_off(failures, self.state.clock.now().after(lasts));
    }

    /// Returns how many loads of the key have failed in a row, as far as memory knows.
    pub(super) fn failures(&self, key: &Key) -> u32 {
        let kept = self.kept(key);
        let retry = kept.as_ref().and_then(Entry::retry);
        retry.map_or(0, |retry| retry.failures())
    }

    /// Returns the pacing of the loads that replace the value in memory, if there is one.
    fn retry_of(&self, key: &Key) -> Option<Arc<Retry>> {
        let entry = self.kept(key)?;
        entry.held()?;
        if let Some(retry) = entry.retry() {
            return Some(Arc::clone(retry));
        }
        self.with_retry(key.clone(), &entry).or_else(|| {
            // Another caller has replaced the entry since.
            self.kept(key)?.retry().map(Arc::clone)
        })
    }

    /// Replaces an entry by the same one with a pacing, which is returned. `None` if the key has
    /// another entry now.
    fn with_retry(&self, key: Key, entry: &Entry) -> Option<Arc<Retry>> {
        let (paced, retry) = entry.clone().with_retry();
        let memory = self.state.memory()?;
        memory.replace(key, entry, paced).then_some(retry)
    }
}
