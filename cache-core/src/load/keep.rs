//! Step 6: the value is kept in memory.

use std::sync::Arc;
use std::time::Duration;

use super::read::TierHit;
use super::{Held, TierVisits};
use crate::cached_function::CachedFunction;
use crate::codec::ErasedType;
use crate::entry::Entry;
use crate::key::Key;
use crate::record::Etag;

impl CachedFunction {
    /// Keeps a value that was loaded now, unless its key is guarded. Returns `true` if memory has
    /// it.
    pub(super) fn keep_loaded(
        &self,
        held: &Held,
        start: u64,
        visits: &TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) -> bool {
        let key = &*visits.key;
        if visits.is_guarded || self.is_guarded_here(key) {
            return false;
        }
        let (Some((lives, _)), Some((config, _))) = (&self.memory, &self.state.memory) else {
            return false;
        };
        let lives = visits.ttl.map_or(*lives, |ttl| config.lives(ttl));
        let value = (held, value_type);
        let entry = self.entry(key, value, start, lives.filled);
        // If a tier could not tell whether the key is guarded, the entry is used only while the
        // tiers are not reachable.
        let entry = match visits.guard_is_unknown {
            true => entry.map(Entry::isolated_only),
            false => entry,
        };
        self.insert(key, entry)
    }

    /// Keeps a value that a lower tier has, unless a fence was raised since its load began at
    /// `start`. Readers check that again: the check here only spares a newer entry from being
    /// replaced by one that no call reads.
    pub(super) fn keep_found(
        &self,
        key: &Key,
        hit: &TierHit,
        start: u64,
        value_type: &dyn ErasedType,
    ) {
        if let Some((lives, _)) = &self.memory {
            let life = hit.left.min(lives.copied);
            let start = hit.number.unwrap_or(start);
            let entry = self.entry(key, (&hit.value, value_type), start, life);
            self.insert(key, entry);
        }
    }

    /// Returns the value in memory with the etag of its record in the highest lower tier, which
    /// tells whether the value is still valid.
    pub(super) fn known(&self, key: &Key) -> Option<(Etag, Held)> {
        let (record, held) = self.kept(key)?.into_strong_read();
        // A tier is asked for its own record only.
        match record? {
            (0, etag) => Some((etag, held)),
            _ => None,
        }
    }

    /// Keeps a value that a strong call found, which began at `start`.
    ///
    /// It is kept whatever the promotion, so that no later call returns an older value. A strong
    /// function, each call of which reads the tier, keeps it as the tier promotes, or to replace
    /// the record `known`.
    pub(super) fn keep_strong_read(
        &self,
        key: &Key,
        hit: &TierHit,
        start: u64,
        known: Option<Etag>,
        value_type: &dyn ErasedType,
    ) {
        let lives = if self.is_strong() {
            let is_kept = hit.is_promoted || known.is_some();
            let is_another = hit.record != known.map(|etag| (0, etag));
            self.strong_memory.filter(|_| is_kept && is_another)
        } else {
            self.memory.as_ref().map(|(lives, _)| *lives)
        };
        let answered = self.state.fences.next();
        if !self.is_strong() {
            self.state.flights.outdate(key, answered);
            // A private tier above has a record that may be older, and answers calls that are not
            // strong.
            if hit.passed_record {
                self.drop_from_memory(key);
                return;
            }
        }
        let Some(lives) = lives else { return };
        let life = hit.left.min(lives.copied);
        let entry = self.entry(key, (&hit.value, value_type), start, life);
        let entry = entry.map(|entry| entry.strong_read(hit.record, answered));
        if self.insert(key, entry) {
            return;
        }
        // Another call put its value into memory while this one ran. It is not known which of the
        // two values is newer, so memory keeps neither.
        let is_other =
            |kept: Entry| hit.record.is_none() || kept.into_strong_read().0 != hit.record;
        if self.kept(key).is_some_and(is_other) {
            self.drop_from_memory(key);
        }
    }

    /// Drops a key's value from memory if it was loaded before `start`: a strong call that began
    /// then has loaded another value, which may not have been kept.
    pub(super) fn drop_older(&self, key: &Key, start: u64) {
        let is_older = |kept: Entry| kept.known_from() < start;
        if self.has_memory() && self.kept(key).is_some_and(is_older) {
            self.drop_from_memory(key);
        }
    }

    /// Drops a key's value from memory unless it is `held`, which has replaced the value in the
    /// lower tiers: a strong call may have read the value before that, and kept it.
    pub(super) fn drop_others(&self, key: &Key, held: &Held) {
        let is_other = |kept: Entry| !Arc::ptr_eq(&kept.into_strong_read().1, held);
        if self.has_memory() && self.kept(key).is_some_and(is_other) {
            self.drop_from_memory(key);
        }
    }

    /// The entry that memory has of a key, valid or not.
    fn kept(&self, key: &Key) -> Option<Entry> {
        self.state.memory()?.peek(&key.as_ref())
    }

    /// Makes an entry of a value whose load began at `start`. `None` if no call would read it.
    fn entry(
        &self,
        key: &Key,
        (held, value_type): (&Held, &dyn ErasedType),
        start: u64,
        life: Duration,
    ) -> Option<Entry> {
        let memory = self.state.memory()?;
        let stripe = self.stripe(key);
        if !self.state.fences.is_current(start, stripe, &self.fence) {
            return None;
        }
        let weight = value_type.weight(held, memory.weighs);
        let expires = self.state.clock.now().after(life);
        Some(Entry::new(Arc::clone(held), start, stripe, expires, weight))
    }

    fn insert(&self, key: &Key, entry: Option<Entry>) -> bool {
        match (entry, self.state.memory()) {
            (Some(entry), Some(memory)) => {
                memory.insert(key.clone(), entry, self.state.clock.now())
            }
            (None, _) | (_, None) => false,
        }
    }
}
