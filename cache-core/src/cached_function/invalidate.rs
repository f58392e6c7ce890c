//! Invalidation of a function's values: fences on this instance, and the tiers below memory.

use std::collections::HashSet;

use super::{CachedFunction, TierBinding};
use crate::error::Error;
use crate::flight::Leader;
use crate::glob::Glob;
use crate::key::Key;
use crate::panics::for_each_despite_panics;
use crate::tier::time_limit::with_time_limit;
use crate::tier::{Guard, Matched, Receipt, Target};
use crate::tokio_context::TokioContext;

impl CachedFunction {
    /// Invalidates a key in every tier, the lowest first.
    ///
    /// The fence is raised before, so that no load in progress keeps its value, and after, so that
    /// a value that was read from a lower tier in between is not kept either. The second fence is
    /// also raised if the future is dropped. By then the tiers that are not reached yet have the
    /// invalidation as pending.
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

    /// Invalidates what a value that is put by hand replaces, as [`invalidate`](Self::invalidate)
    /// does. `leader` leads the flight of the put.
    ///
    /// The value was known before the put began. So it has the number of the put's beginning until
    /// every tier is invalidated. Then it gets a later number, unless the key [was
    /// invalidated](Self::is_invalidated) by then.
    pub(crate) async fn make_room(&self, key: &Key, leader: &Leader) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            return Ok(Receipt::Acked);
        }
        let after = FencedAfter(|| self.drop_from_memory(key));
        let record_key = self.record_key(key);
        let receipt = self.invalidate_lower(Target::Key(&record_key)).await;
        drop(after);
        leader.renumber(&self.state.fences);
        receipt
    }

    /// Returns `true` if a key was invalidated on this instance, alone or with its function, since
    /// a put of it began. `began` is the first number of the put's `leader`.
    pub(crate) fn is_invalidated(&self, key: &Key, leader: &Leader, began: u64) -> bool {
        let (fences, stripe) = (&self.state.fences, self.stripe(key));
        leader.is_invalidated() || !fences.is_current_for_function(began, stripe, &self.fence)
    }

    /// Invalidates every key of the function in every tier. The cost does not depend on the number
    /// of keys.
    pub(crate) async fn invalidate_all(&self) -> Result<Receipt, Error> {
        self.counters.invalidations.add_one();
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.invalidate_lower(Target::Function(&self.key)).await
    }

    /// Invalidates the keys whose arguments match. Returns how many there were, as far as that is
    /// known.
    pub(crate) async fn invalidate_matching(&self, glob: &Glob) -> Result<Matched, Error> {
        self.counters.invalidations.add_one();
        if self.is_memory_alone() {
            return Ok(self.invalidate_matching_in_memory(glob));
        }
        // Memory has copies of records, and may have values of records that were evicted. Their
        // arguments are not compared: all of them are dropped and read again.
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        let mut result = Ok(Matched::NONE);
        for tier in self.invalidation_targets().into_iter().rev() {
            let context = self.tokio_context_of(tier);
            match tier
                .store
                .invalidate_matching(context, &self.key, glob)
                .await
            {
                Ok(matched) => result = result.map(|before| before.in_both(matched)),
                Err(error) => result = Err(self.not_invalidated(tier, error)),
            }
        }
        result
    }

    fn invalidate_matching_in_memory(&self, glob: &Glob) -> Matched {
        // The flights come first: a load that completes in between is in memory when memory is
        // searched.
        let mut keys = self.state.flights.keys_of(self.id);
        if let Some(memory) = self.state.memory() {
            keys.extend(memory.keys_of(self.id));
        }
        let mut matched = HashSet::new();
        for key in keys {
            let arguments = self.record_key(&key).arguments;
            if glob.matches(&arguments) {
                self.fence_off(&key);
                matched.insert(arguments);
            }
        }
        Matched {
            keys: matched.len() as u64,
            ..Matched::NONE
        }
    }

    /// Invalidates in the lower tiers. If one fails, the others are invalidated nevertheless.
    async fn invalidate_lower(&self, target: Target<'_>) -> Result<Receipt, Error> {
        let mut result = Ok(Receipt::Acked);
        let mut remaining = Remaining {
            tiers: self.invalidation_targets(),
            target,
        };
        while let Some(tier) = remaining.tiers.pop() {
            let context = self.tokio_context_of(tier);
            match tier.store.invalidate(context, target).await {
                Ok(receipt) => result = result.map(|worst| receipt.max(worst)),
                Err(error) => result = Err(self.not_invalidated(tier, error)),
            }
        }
        result
    }

    fn not_invalidated(&self, tier: &TierBinding, error: Error) -> Error {
        let (name, level, kind) = (self.name(), tier.level, tier.store.settings().kind);
        tier.failed("invalidate", name, &error);
        let problem = format!("`{name}` was not invalidated in {level} ({kind})");
        Error::with_source(error.kind(), problem, error)
    }

    /// The lower tiers that may have values of the function, in look-up order: those that it uses,
    /// and those that an override disabled.
    fn invalidation_targets(&self) -> Vec<&TierBinding> {
        let mut targets: Vec<&TierBinding> = self.lower.iter().chain(&self.disabled).collect();
        targets.sort_by_key(|tier| tier.level);
        targets
    }

    /// Drops a key from the disabled tiers, before a value is loaded that replaces it everywhere.
    pub(crate) async fn drop_disabled(&self, key: &Key) {
        if self.disabled.is_empty() {
            return;
        }
        let record_key = self.record_key(key);
        for tier in self.disabled.iter().rev() {
            let target = Target::Key(&record_key);
            let context = self.tokio_context_of(tier);
            if let Err(error) = tier.store.invalidate(context, target).await {
                tier.failed("invalidate", self.name(), &error);
            }
        }
    }

    pub(crate) fn tokio_context_of(&self, tier: &TierBinding) -> Option<&TokioContext> {
        self.state.tokio_context_of(tier.store.settings())
    }

    /// Keeps values of a key from being stored, by any instance in the shared tiers. The key is
    /// dropped from memory. The result lacks the guards of the tiers that could not place one.
    pub(crate) async fn guard(&self, key: &Key) -> Vec<Guard> {
        self.fence_off(key);
        let record_key = self.record_key(key);
        // This one stops loads on this instance, whichever tiers can be reached. The holder of the
        // guard drops the key from memory when the guard ends, so the guard itself has nothing to
        // do then.
        let here = self.state.guards.guard(&record_key, || {});
        let _after = FencedAfter(|| self.fence_off(key));
        let mut guards = Vec::new();
        for tier in self.invalidation_targets().into_iter().rev() {
            let within = tier.store.settings().time_limit;
            let place = tier
                .store
                .of(record_key.digest)
                .tier
                .guard(&record_key, within);
            match with_time_limit(self.tokio_context_of(tier), within, place).await {
                Ok(guard) => guards.push(guard),
                Err(error) => tier.failed("guard", self.name(), &error),
            }
        }
        guards.push(here);
        guards
    }

    /// The number of guards of a key if every tier placed one.
    pub(crate) fn guards_wanted(&self) -> usize {
        self.lower.len() + self.disabled.len() + 1
    }

    /// Returns `true` if a write guard of the key is held on this instance.
    pub(crate) fn is_guarded_here(&self, key: &Key) -> bool {
        self.state.guards.any() && self.state.guards.is_guarded(&self.record_key(key))
    }

    /// Voids the key's value in memory, and the values of all loads of it that have begun.
    pub(crate) fn fence_off(&self, key: &Key) {
        self.state.flights.mark_invalidated(key);
        self.drop_from_memory(key);
    }

    /// Voids the values of the whole function in memory, and of all its loads that have begun.
    pub(crate) fn fence_off_all(&self) {
        self.state.fences.raise_function(&self.fence);
    }

    /// Raises the fence of a key and removes its entry. Unlike [`fence_off`](Self::fence_off) it
    /// does not count as an invalidation of the key for a put in progress.
    pub(crate) fn drop_from_memory(&self, key: &Key) {
        self.state.fences.raise(self.stripe(key));
        if let Some(memory) = self.state.memory() {
            memory.remove(&key.as_ref());
        }
    }

    /// The numbers of the links to the tiers, as far as they have the key with this digest. A
    /// number changes when the store may have lost what it acknowledged.
    pub(crate) fn links(&self, digest: Option<u64>) -> Vec<u64> {
        let targets = self.invalidation_targets().into_iter();
        targets.flat_map(|tier| tier.store.links(digest)).collect()
    }

    /// Waits until `replicas` replicas of each shared tier have what was acknowledged, as far as it
    /// concerns the key with this digest.
    pub(crate) async fn replicated(&self, replicas: u32, digest: Option<u64>) -> Result<(), Error> {
        let mut shared = self.invalidation_targets();
        shared.retain(|tier| !tier.is_private());
        if shared.is_empty() {
            return Err(Error::configuration(format!(
                "`{}` has no replicas to wait for: none of its tiers is shared",
                self.name()
            )));
        }
        for tier in shared.into_iter().rev() {
            let context = self.tokio_context_of(tier);
            tier.store.replicated(context, replicas, digest).await?;
        }
        Ok(())
    }

    /// Waits until no instance can answer with a value of the key with this digest, or of any key,
    /// that was invalidated before.
    pub(crate) async fn settle(&self, digest: Option<u64>) -> Result<(), Error> {
        for tier in self.invalidation_targets().into_iter().rev() {
            let context = self.tokio_context_of(tier);
            tier.store.settle(context, digest).await?;
        }
        Ok(())
    }
}

/// The tiers that an invalidation has not reached yet. If the invalidation is dropped, they
/// invalidate without being awaited.
struct Remaining<'a> {
    /// In look-up order.
    tiers: Vec<&'a TierBinding>,
    target: Target<'a>,
}

impl Drop for Remaining<'_> {
    fn drop(&mut self) {
        for_each_despite_panics(self.tiers.iter().rev(), |tier| {
            tier.store.invalidate_later(self.target);
        });
    }
}

/// Raises a fence when it is dropped.
pub(crate) struct FencedAfter<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for FencedAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
