//! Invalidation, and what keeps a value from coming back: fences here, guards in the tiers.

use std::collections::HashSet;

use super::{CachedFunction, TierBinding};
use crate::error::Error;
use crate::flight::Leader;
use crate::glob::Glob;
use crate::key::Key;
use crate::tier::{Guard, Matched, Receipt, Target};

impl CachedFunction {
    /// Drops a key everywhere, the lowest tier first.
    ///
    /// The fence is raised before, so that loads under way are not kept, and after, so that what was read from a lower
    /// tier in between is not either: after it was dropped too, when the tiers that are to be told later know of it.
    pub(crate) async fn invalidate(&self, key: &Key) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        self.fence_off(key);
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let _after = FencedAfter(|| self.fence_off(key));
        let record_key = self.record_key(key);
        self.invalidate_lower(Target::Key(&record_key)).await
    }

    /// Drops what a value that is put by hand is to replace, everywhere, as [`invalidate`](Self::invalidate) does; `leader` is of
    /// that value, and has its key.
    ///
    /// The value is known from before. So it has the number of its beginning until all is dropped, and a later one only then, and
    /// only if nobody [invalidated](Self::is_invalidated) its key meanwhile.
    pub(crate) async fn make_room(&self, key: &Key, leader: &Leader) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let after = FencedAfter(|| self.raise(key));
        let record_key = self.record_key(key);
        let dropped = self.invalidate_lower(Target::Key(&record_key)).await;
        drop(after);
        leader.renumber(&self.state.fences);
        dropped
    }

    /// Whether a key was invalidated in this process, alone or with its function, since a value of it was put by hand: since `began`,
    /// the first number of `leader`.
    pub(crate) fn is_invalidated(&self, leader: &Leader, began: u64) -> bool {
        leader.is_invalidated()
            || !self
                .state
                .fences
                .is_current_for_function(began, &self.fence)
    }

    /// Drops every key of the function everywhere, at a cost that does not depend on how many there are.
    pub(crate) async fn invalidate_all(&self) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.invalidate_lower(Target::Function(&self.function))
            .await
    }

    /// Drops the keys whose arguments match, and returns how many there were, as far as that is known.
    pub(crate) async fn invalidate_matching(&self, glob: &Glob) -> Result<Matched, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            // In this order: what has landed in between is in memory by then.
            let mut keys = self.state.flights.keys_of(self.id);
            if let Some(memory) = self.state.memory() {
                keys.extend(memory.keys_of(self.id));
            }
            let mut dropped = HashSet::new();
            for key in keys {
                let arguments = self.record_key(&key).arguments;
                if glob.matches(&arguments) {
                    self.fence_off(&key);
                    dropped.insert(arguments);
                }
            }
            return Ok(Matched {
                keys: dropped.len() as u64,
                ..Matched::NONE
            });
        }
        // Memory has copies of what the tiers have, and may have what they lost: all of it is asked for again.
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.invalidate_matching_lower(glob).await
    }

    /// Drops every key of the function from memory, with all loads that have begun.
    pub(crate) fn fence_off_all(&self) {
        self.state.fences.raise_function(&self.fence);
    }

    /// Keeps values of a key from being stored, in shared tiers by anybody. What memory has of it is dropped.
    pub(crate) async fn guard(&self, key: &Key) -> Vec<Guard> {
        self.fence_off(key);
        let record_key = self.record_key(key);
        // For loads here, whichever tier can be asked. What is to be dropped in the end in memory the guard's holder drops there.
        let here = self.state.guards.guard(&record_key, || {});
        let _after = FencedAfter(|| self.fence_off(key));
        let mut guards = self.guard_lower(&record_key).await;
        guards.push(here);
        guards
    }

    /// How many guards of a key there are where all tiers could be told.
    pub(crate) fn guards_wanted(&self) -> usize {
        self.lower.len() + self.disabled.len() + 1
    }

    /// Whether this instance has a change of the key under way.
    pub(super) fn is_guarded_here(&self, key: &Key) -> bool {
        self.state.guards.any() && self.state.guards.is_guarded(&self.record_key(key))
    }

    /// Drops a key from memory, with all loads of it that have begun.
    pub(crate) fn fence_off(&self, key: &Key) {
        self.state.flights.mark_invalidated(key);
        self.raise(key);
    }

    /// Drops a key from memory, with what all loads bring that have begun.
    pub(super) fn raise(&self, key: &Key) {
        self.state.fences.raise(self.stripe(key));
        if let Some(memory) = self.state.memory() {
            memory.remove(&key.as_ref());
        }
    }

    /// The number of the link to each tier: another where what was acknowledged may not be known there any more.
    pub(crate) fn links(&self) -> Vec<u64> {
        self.invalidation_targets().map(TierBinding::link).collect()
    }

    /// Waits until so many replicas of each shared tier have what was acknowledged.
    pub(crate) async fn replicated(&self, replicas: u32) -> Result<(), Error> {
        // One that nobody else uses has none.
        let shared: Vec<_> = self
            .invalidation_targets()
            .filter(|lower| !lower.is_private())
            .collect();
        if shared.is_empty() {
            return Err(Error::configuration(format!(
                "`{}` has no replicas to wait for: none of its tiers is shared",
                self.name
            )));
        }
        for lower in shared.into_iter().rev() {
            lower
                .replicated(self.tokio_context_of(lower), replicas)
                .await?;
        }
        Ok(())
    }

    /// Waits until no instance can answer with what was dropped.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        for lower in self
            .invalidation_targets()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            lower.settle(self.tokio_context_of(lower)).await?;
        }
        Ok(())
    }
}

/// Raises a fence when it is dropped.
pub(crate) struct FencedAfter<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for FencedAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
