//! Invalidation and expiry of tags, in all tiers of a runtime: a tag concerns whichever functions
//! have values with it.

use std::sync::Arc;

use super::{RuntimeState, change, not_invalidated};
use crate::error::Error;
use crate::events::{Concerns, EventKind, EventOrigin, EventScope};
use crate::fence::FencedAfter;
use crate::panics::for_each_despite_panics;
use crate::tier::config::TierConfig;
use crate::tier::store::Store;
use crate::tier::{Expiry, Receipt};
use crate::trace;

/// The tiers that an invalidation of tags has not reached yet. If it is dropped, they invalidate
/// the tags without being awaited, also if the values were to be expired.
struct Remaining<'a> {
    /// In look-up order.
    tiers: &'a [(TierConfig, Arc<Store>)],
    tags: &'a [u64],
}

impl Drop for Remaining<'_> {
    fn drop(&mut self) {
        for_each_despite_panics(self.tiers.iter().rev(), |(_, store)| {
            store.invalidate_tags_later(self.tags);
        });
    }
}

impl RuntimeState {
    /// Invalidates the values that carry one of the tags, in memory and in all lower tiers, from
    /// the lowest to the highest. The order and the fences are those of
    /// [`CachedFunction::invalidate`](crate::cached_function::CachedFunction::invalidate).
    pub(crate) async fn invalidate_tags(&self, tags: &[u64]) -> Result<Receipt, Error> {
        let span = change("invalidate", "tags");
        trace::change(span, self.invalidate_those(tags)).await
    }

    async fn invalidate_those(&self, tags: &[u64]) -> Result<Receipt, Error> {
        self.tag_invalidations.add(tags.len() as u64);
        let (scope, by) = (EventScope::Tag, EventOrigin::Here);
        self.note_tags(tags, EventKind::Invalidated { scope, by });
        let raise = || tags.iter().for_each(|tag| self.fences.raise_tag(*tag));
        raise();
        if self.lower.is_empty() || tags.is_empty() {
            return Ok(Receipt::Acked);
        }
        let _after = FencedAfter(raise);
        let mut result = Ok(Receipt::Acked);
        let mut remaining = self.remaining(tags);
        while let Some((config, store)) = remaining.next() {
            let context = self.tokio_context_of(store.settings());
            let invalidated = store.invalidate_tags(context, tags).await;
            result = self.worse(result, invalidated, (*config, store));
        }
        result
    }

    /// Makes the values stale that carry one of the tags, as
    /// [`invalidate_tags`](Self::invalidate_tags) invalidates them.
    pub(crate) async fn expire_tags(&self, tags: &[u64]) -> Result<Receipt, Error> {
        let span = change("expire", "tags");
        trace::change(span, self.expire_those(tags)).await
    }

    async fn expire_those(&self, tags: &[u64]) -> Result<Receipt, Error> {
        self.tag_expiries.add(tags.len() as u64);
        let (scope, by) = (EventScope::Tag, EventOrigin::Here);
        self.note_tags(tags, EventKind::Expired { scope, by });
        let raise = || tags.iter().for_each(|tag| self.fences.expire(*tag));
        raise();
        if self.lower.is_empty() || tags.is_empty() {
            return Ok(Receipt::Acked);
        }
        let _after = FencedAfter(raise);
        let mut result = Ok(Receipt::Acked);
        let mut remaining = self.remaining(tags);
        while let Some((config, store)) = remaining.next() {
            let context = self.tokio_context_of(store.settings());
            let expired = store.expire(context, Expiry::Tags(tags)).await;
            result = self.worse(result, expired, (*config, store));
        }
        result
    }

    /// Notes an event for each tag.
    fn note_tags(&self, tags: &[u64], kind: EventKind) {
        for _ in tags {
            self.events.note(Concerns::default(), kind);
        }
    }

    fn remaining<'a>(&'a self, tags: &'a [u64]) -> Remaining<'a> {
        let tiers = &self.lower;
        Remaining { tiers, tags }
    }

    /// Combines the results of two tiers. If one fails, the others are reached nevertheless.
    fn worse(
        &self,
        before: Result<Receipt, Error>,
        now: Result<Receipt, Error>,
        (config, store): (TierConfig, &Store),
    ) -> Result<Receipt, Error> {
        match now {
            Ok(receipt) => before.map(|worst| receipt.max(worst)),
            Err(error) => Err(not_invalidated("tags", config, store, error)),
        }
    }

    /// The numbers of the links to all tiers. A number changes when the store may have lost what it
    /// acknowledged.
    pub(crate) fn links(&self) -> Vec<u64> {
        let stores = self.lower.iter();
        stores.flat_map(|(_, store)| store.links(None)).collect()
    }

    /// Waits until `replicas` replicas of each shared tier have what was acknowledged.
    pub(crate) async fn replicated(&self, replicas: u32) -> Result<(), Error> {
        let shared = || {
            self.lower
                .iter()
                .rev()
                .filter(|(_, store)| store.is_shared())
        };
        if shared().next().is_none() {
            return Err(Error::configuration(
                "there are no replicas to wait for: no tier of the runtime is shared",
            ));
        }
        for (_, store) in shared() {
            let context = self.tokio_context_of(store.settings());
            store.replicated(context, replicas, None).await?;
        }
        Ok(())
    }

    /// Waits until no instance can answer with a value that was invalidated before.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        for (_, store) in self.lower.iter().rev() {
            let context = self.tokio_context_of(store.settings());
            store.settle(context, None).await?;
        }
        Ok(())
    }
}

impl<'a> Remaining<'a> {
    /// Returns the lowest tier that was not reached. It counts as reached from then on, because the
    /// tier itself keeps what a dropped operation does not finish.
    fn next(&mut self) -> Option<&'a (TierConfig, Arc<Store>)> {
        let (lowest, above) = self.tiers.split_last()?;
        self.tiers = above;
        Some(lowest)
    }
}
