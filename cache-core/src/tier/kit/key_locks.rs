//! Locks for the keys of a store.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// The number of locks. Keys that share one wait for each other.
const LOCKS: usize = 64;

/// A fixed number of locks of type `M`, of which each key has one.
///
/// A private tier holds the lock of a key while it checks a lease and writes the record, and while
/// it deletes one. This makes each of them one step: no record is written under a lease that an
/// invalidation has voided in between. A thread or task holds at most one of the locks.
#[derive(Debug)]
pub struct KeyLocks<M> {
    locks: Box<[M]>,
    /// Seeded at random, so that a client cannot choose keys that share a lock.
    hasher: RandomState,
}

impl<M: Default> Default for KeyLocks<M> {
    fn default() -> Self {
        Self {
            locks: (0..LOCKS).map(|_| M::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl<M> KeyLocks<M> {
    /// Returns the lock of a key.
    pub fn of(&self, key: &str) -> &M {
        &self.locks[self.hasher.hash_one(key) as usize % LOCKS]
    }

    /// Returns all locks.
    pub fn all(&self) -> impl Iterator<Item = &M> {
        self.locks.iter()
    }
}
