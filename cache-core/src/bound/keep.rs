//! What is kept in memory: values that were loaded, and that lower tiers have.

use std::sync::Arc;
use std::time::Duration;

use super::{CachedFunction, TierHit, TierVisits};
use crate::codec::ErasedType;
use crate::entry::{Entry, Held};
use crate::flight::Leader;
use crate::key::Key;
use crate::record::Etag;

impl CachedFunction {
    /// Puts a value into memory that a lower tier has, unless its load began before a fence. The reader checks again: this only spares a
    /// newer entry from being replaced by one that nobody will read.
    ///
    /// `left` is what the record has left that the value is a copy of.
    pub(crate) fn keep_found(
        &self,
        key: &Key,
        held: &Held,
        start: u64,
        left: Duration,
        value_type: &dyn ErasedType,
    ) {
        if let Some((lives, _)) = &self.memory {
            let life = left.min(lives.copied);
            let entry = self.entry(key, held, start, life, value_type);
            self.insert(key, entry);
        }
    }

    /// An entry of a value whose load began at `start`; `None` where nobody would read it.
    fn entry(
        &self,
        key: &Key,
        held: &Held,
        start: u64,
        life: Duration,
        value_type: &dyn ErasedType,
    ) -> Option<Entry> {
        let memory = self.state.memory()?;
        let stripe = self.stripe(key);
        if !self.state.fences.is_current(start, stripe, &self.fence) {
            return None;
        }
        let weight = value_type.weight(held, memory.weighs);
        let dies = self.state.clock.now().after(life);
        Some(Entry::new(Arc::clone(held), start, stripe, dies, weight))
    }

    fn insert(&self, key: &Key, entry: Option<Entry>) -> bool {
        match (entry, self.state.memory()) {
            (Some(entry), Some(memory)) => {
                memory.insert(key.clone(), entry, self.state.clock.now())
            }
            (None, _) | (_, None) => false,
        }
    }

    /// Returns the value in memory with the etag of its record in the highest lower tier, which tells
    /// whether the value is still valid.
    pub(crate) fn known(&self, key: &Key) -> Option<(Etag, Held)> {
        let entry = self.state.memory()?.peek(&key.as_ref())?;
        let (record, held) = entry.into_sealed();
        // A tier is asked for its own record alone.
        match record? {
            (0, etag) => Some((etag, held)),
            _ => None,
        }
    }

    /// Puts a value into memory that a strong call found, which began at `start`.
    ///
    /// It is kept whatever the promotion, so that no later call returns an older value. A strong
    /// function, each call of which reads the tier, keeps it as the tier promotes, or to replace the
    /// record `known`.
    pub(crate) fn keep_strong_read(
        &self,
        key: &Key,
        hit: &TierHit,
        start: u64,
        known: Option<Etag>,
        value_type: &dyn ErasedType,
    ) {
        let lives = if self.is_strong() {
            let is_kept = hit.is_promoted || known.is_some();
            self.sealed
                .filter(|_| is_kept && hit.record != known.map(|etag| (0, etag)))
        } else {
            self.memory.as_ref().map(|(lives, _)| *lives)
        };
        let answered = self.state.fences.next();
        if !self.is_strong() {
            self.state.flights.outdate(key, answered);
            // A private tier above has a record that may be older, and answers calls that are not strong.
            if hit.passed_record {
                self.raise(key);
                return;
            }
        }
        let Some(lives) = lives else { return };
        let life = hit.left.min(lives.copied);
        let entry = self.entry(key, &hit.value, start, life, value_type);
        let entry = entry.map(|entry| entry.sealed(hit.record, answered));
        if self.insert(key, entry) {
            return;
        }
        // Another call put its value into memory while this one ran. It is not known which of the two
        // values is newer, so memory keeps neither.
        let other = self
            .state
            .memory()
            .and_then(|memory| memory.peek(&key.as_ref()));
        if other.is_some_and(|other| hit.record.is_none() || other.into_sealed().0 != hit.record) {
            self.raise(key);
        }
    }

    /// Drops what memory has of a key if it was loaded before `start`: a strong call that began then has loaded another
    /// value, which may not have been kept.
    pub(crate) fn drop_older(&self, key: &Key, start: u64) {
        let entry = self
            .state
            .memory()
            .and_then(|memory| memory.peek(&key.as_ref()));
        if self.has_memory() && entry.is_some_and(|entry| entry.known_from() < start) {
            self.raise(key);
        }
    }

    /// Drops what memory has of a key unless it is `held`, which has replaced the value in the lower tiers: a strong call
    /// may have read the value before that, and kept it.
    pub(crate) fn drop_others(&self, key: &Key, held: &Held) {
        if !self.has_memory() {
            return;
        }
        let entry = self
            .state
            .memory()
            .and_then(|memory| memory.peek(&key.as_ref()));
        if entry.is_some_and(|entry| !Arc::ptr_eq(&entry.into_sealed().1, held)) {
            self.raise(key);
        }
    }

    /// Puts a value into memory that was loaded now, unless a change of its key is under way. Returns `true` if memory has it.
    pub(crate) fn keep_loaded(
        &self,
        key: &Key,
        held: &Held,
        leader: &Leader,
        lower: &TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) -> bool {
        if lower.is_guarded() || self.is_guarded_here(key) {
            return false;
        }
        let (Some((lives, _)), Some((config, _))) = (&self.memory, &self.state.memory) else {
            return false;
        };
        let lives = lower.ttl.map_or(*lives, |ttl| config.lives(ttl));
        let entry = self.entry(key, held, leader.start(), lives.filled, value_type);
        self.insert(
            key,
            match lower.guard_is_unknown() {
                true => entry.map(Entry::stopgap),
                false => entry,
            },
        )
    }
}
