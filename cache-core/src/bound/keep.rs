//! What is kept in memory: values that were loaded, and that lower tiers have.

use std::sync::Arc;
use std::time::Duration;

use super::{Bound, LowerTiers};
use crate::codec::ValueType;
use crate::entry::{Entry, Held};
use crate::flight::Leader;
use crate::key::Key;
use crate::record::Seal;

impl Bound {
    /// Puts a value into memory that a lower tier has, unless its load began before a fence. The reader checks again: this only spares a
    /// newer entry from being replaced by one that nobody will read.
    ///
    /// `left` is what the record has left that the value is a copy of.
    ///
    /// The value as it is held, for those who wait.
    pub(crate) fn keep_found<V>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        left: Duration,
        value_type: &ValueType<V>,
    ) -> Held {
        let held = (value_type.hold)(value);
        if let Some((lives, _)) = &self.memory {
            let life = left.min(lives.copied);
            let entry = self.entry(key, value, &held, start, life, value_type);
            self.insert(key, entry);
        }
        held
    }

    /// An entry of a value whose load began at `start`; `None` where nobody would read it.
    fn entry<V>(
        &self,
        key: &Key,
        value: &V,
        held: &Held,
        start: u64,
        life: Duration,
        value_type: &ValueType<V>,
    ) -> Option<Entry> {
        let memory = self.stack.memory()?;
        let stripe = self.stripe(key);
        if !self.stack.fences.admits(start, stripe, &self.fence) {
            return None;
        }
        let weight = if memory.weighs {
            (value_type.weigh)(value) + value_type.behind
        } else {
            size_of::<V>()
        };
        let dies = self.stack.clock.now().after(life);
        Some(Entry::new(Arc::clone(held), start, stripe, dies, weight))
    }

    fn insert(&self, key: &Key, entry: Option<Entry>) {
        if let (Some(entry), Some(memory)) = (entry, self.stack.memory()) {
            memory.insert(key.clone(), entry, self.stack.clock.now());
        }
    }

    /// Returns `true` if memory has an entry of the key, valid or not.
    pub(crate) fn has_entry(&self, key: &Key) -> bool {
        let entry = self.stack.memory().map(|memory| memory.peek(&key.as_ref()));
        entry.flatten().is_some()
    }

    /// What memory has of a key, with the seal of the record it is from: whether it still counts, that record tells.
    pub(crate) fn known(&self, key: &Key) -> Option<(Seal, Held)> {
        let entry = self.stack.memory()?.peek(&key.as_ref())?;
        let (seal, held) = entry.into_sealed();
        Some((seal?, held))
    }

    /// Puts a value into memory that was read from a record with this seal.
    pub(crate) fn keep_sealed<V>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        left: Duration,
        seal: Seal,
        value_type: &ValueType<V>,
    ) {
        let lives = self.memory.as_ref().map(|(lives, _)| *lives);
        if let Some(lives) = lives.or(self.sealed) {
            let held = (value_type.hold)(value);
            let entry = self.entry(key, value, &held, start, left.min(lives.copied), value_type);
            self.insert(key, entry.map(|entry| entry.sealed(seal)));
        }
    }

    /// Puts a value into memory that was loaded now, unless a change of its key is under way.
    pub(crate) fn keep_loaded<V>(
        &self,
        key: &Key,
        value: &V,
        leader: &Leader,
        lower: &LowerTiers<'_>,
        value_type: &ValueType<V>,
    ) -> Held {
        if lower.is_guarded() || self.is_guarded_here(key) {
            return (value_type.hold)(value);
        }
        let held = (value_type.hold)(value);
        if let (Some((lives, _)), Some((config, _))) = (&self.memory, &self.stack.memory) {
            let lives = lower.ttl.map_or(*lives, |ttl| config.lives(ttl));
            let entry = self.entry(key, value, &held, leader.start(), lives.filled, value_type);
            self.insert(
                key,
                match lower.is_unasked() {
                    true => entry.map(Entry::stopgap),
                    false => entry,
                },
            );
        }
        held
    }
}
