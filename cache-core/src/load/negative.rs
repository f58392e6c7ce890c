//! Step 6 for results without a value: kept absence and kept errors.

use std::any::Any;
use std::sync::Arc;

use super::TierVisits;
use super::keep::stopgap;
use crate::cached_function::CachedFunction;
use crate::entry::{Content, Entry};
use crate::fence::TagStripes;
use crate::key::Key;

impl CachedFunction {
    /// Keeps the result of a load that found no value, unless its key is guarded. Returns `true` if
    /// memory has it. Its life is `none_ttl` in all tiers: the scale of a tier is for values.
    pub(super) fn keep_absent(&self, start: u64, visits: &TierVisits<'_>) -> bool {
        let key = &*visits.key;
        let (Some(none_ttl), Some(_)) = (self.times.none_ttl, &self.memory) else {
            return false;
        };
        if visits.is_guarded || self.is_guarded_here(key) {
            return false;
        }
        let tags = visits.tag_stripes();
        let Some(stripe) = self.stripe_of_current(key, (start, &tags)) else {
            return false;
        };
        let life = self.life_in_memory(key, none_ttl);
        let expires = self.state.clock.now().after(life);
        let entry = Entry::without_value(Content::Absent, start, stripe, expires);
        let entry = entry.with_tags(&tags);
        self.insert(key, Some(stopgap(entry, visits)))
    }

    /// Keeps the error of a load, from whose `shared` callers can make an error, unless its key is
    /// guarded. Returns `true` if memory has it. Only this instance gets it, because errors have no
    /// codec.
    ///
    /// It never replaces a value that may still be returned, fresh or stale. The caller looks for
    /// such a value in the lower tiers.
    pub(super) fn keep_failed(
        &self,
        key: &Key,
        shared: Arc<dyn Any + Send + Sync>,
        (start, tags): (u64, &TagStripes),
    ) -> bool {
        let (Some(error_ttl), Some(_)) = (self.times.error_ttl, &self.memory) else {
            return false;
        };
        // Before the look for a value, so that an entry that is inserted after it is not replaced.
        let kept = self.kept(key);
        if self.is_guarded_here(key) || self.has_value(key) {
            return false;
        }
        let Some(stripe) = self.stripe_of_current(key, (start, tags)) else {
            return false;
        };
        let expires = self.state.clock.now().after(error_ttl);
        let entry = Entry::without_value(Content::Failed(shared), start, stripe, expires);
        let entry = entry.with_tags(tags);
        self.insert_in_place_of(key, kept.as_ref(), entry)
    }
}
