//! Invalidation of a function's values: fences on this instance, and the tiers below memory.

use std::collections::HashSet;

use tracing::Instrument;

use super::{CachedFunction, TierBinding};
use crate::error::Error;
use crate::events::EventScope;
use crate::fence::FencedAfter;
use crate::flight::Leader;
use crate::glob::Glob;
use crate::key::Key;
use crate::panics::for_each_despite_panics;
use crate::tier::{Expiry, Guard, Matched, Receipt, Target};
use crate::tokio_context::TokioContext;
use crate::trace;

impl CachedFunction {
    /// Invalidates a key in every tier, the lowest first.
    ///
    /// The fence is raised before, so that no load in progress keeps its value, and after, so that
    /// a value that was read from a lower tier in between is not kept either. The second fence is
    /// also raised if the future is dropped. By then the tiers that are not reached yet have the
    /// invalidation as pending.
    pub(crate) async fn invalidate(&self, key: &Key) -> Result<Receipt, Error> {
        let span = self.change_of_key("invalidate", key);
        trace::change(span, self.invalidate_key(key)).await
    }

    async fn invalidate_key(&self, key: &Key) -> Result<Receipt, Error> {
        self.counters.invalidations.key.add_one();
        self.note_invalidated(EventScope::Key, Some(self.digest(key)));
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
        self.counters.invalidations.key.add_one();
        self.note_invalidated(EventScope::Key, Some(self.digest(key)));
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
        self.counters.invalidations.function.add_one();
        self.note_invalidated(EventScope::Function, None);
        let invalidated = async {
            self.fence_off_all();
            let _after = FencedAfter(|| self.fence_off_all());
            self.invalidate_lower(Target::Function(&self.key)).await
        };
        trace::change(self.change("invalidate", "function"), invalidated).await
    }

    /// Invalidates the keys whose arguments match. Returns how many there were, as far as that is
    /// known.
    pub(crate) async fn invalidate_matching(&self, glob: &Glob) -> Result<Matched, Error> {
        let span = self.change("invalidate", "matching");
        trace::change(span, self.invalidate_those(glob)).await
    }

    async fn invalidate_those(&self, glob: &Glob) -> Result<Matched, Error> {
        self.counters.invalidations.pattern.add_one();
        self.note_invalidated(EventScope::Matching, None);
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
        self.change_lower(target, Effect::Invalidate).await
    }

    /// Invalidates or expires in the lower tiers. If one fails, the others are reached
    /// nevertheless.
    pub(super) async fn change_lower(
        &self,
        target: Target<'_>,
        effect: Effect,
    ) -> Result<Receipt, Error> {
        let mut result = Ok(Receipt::Acked);
        let mut remaining = Remaining {
            tiers: self.invalidation_targets(),
            target,
        };
        while let Some(tier) = remaining.tiers.pop() {
            let context = self.tokio_context_of(tier);
            let expiry = match (effect, target) {
                // Its records are judged by the fences of expiries of this runtime.
                (Effect::Expire, _) if self.is_fenced_here(tier) => continue,
                (Effect::Expire, Target::Key(key)) => Some(Expiry::Key(key)),
                (Effect::Expire, Target::Function(function)) => Some(Expiry::Function(function)),
                (Effect::Expire, Target::All) | (Effect::Invalidate, _) => None,
            };
            let changed = match expiry {
                Some(expiry) => tier.store.expire(context, expiry).await,
                None => tier.store.invalidate(context, target).await,
            };
            match changed {
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
        let span = self.change_of_key("guard", key);
        self.guard_key(key).instrument(span).await
    }

    async fn guard_key(&self, key: &Key) -> Vec<Guard> {
        self.fence_off(key);
        let record_key = self.record_key(key);
        // This one stops loads on this instance, whichever tiers can be reached. The holder of the
        // guard drops the key from memory when the guard ends, so the guard itself has nothing to
        // do then.
        let here = self.state.guards.guard(&record_key, || {});
        let _after = FencedAfter(|| self.fence_off(key));
        let mut guards = Vec::new();
        for tier in self.invalidation_targets().into_iter().rev() {
            let context = self.tokio_context_of(tier);
            match tier.store.guard(context, &record_key).await {
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
        self.state.fences.raise(self.digest(key));
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

/// The effect on values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Invalidate,
    /// They become stale.
    Expire,
}

/// The tiers that an invalidation or an expiry has not reached yet. If it is dropped, they
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
