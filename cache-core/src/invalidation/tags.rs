//! Invalidations and expiries of tags.

use super::{Invalidation, Subject};
use crate::runtime::CacheRuntime;
use crate::tag::Tag;

impl CacheRuntime {
    /// Invalidates all values that carry one of the tags, of whichever functions, in every tier and
    /// on every instance. The cost does not depend on the number of values: it is one step in each
    /// shard of each tier.
    ///
    /// After it has returned, no call that starts on this instance returns a value that has one of
    /// the tags and whose load began before. The same holds for other instances once the staleness
    /// bound of the shared tier has passed. In memory tags share fences, so a few values with other
    /// tags may be read from the next tier or loaded once more.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if a tier was shut down, or does not queue
    /// and could not be reached. Memory and the other tiers are invalidated in any case.
    ///
    /// # Cancel safety
    /// Dropped before its first poll it does nothing. Dropped later, shared tiers that queue still
    /// receive the invalidation.
    pub fn invalidate_tags(&self, tags: impl IntoIterator<Item = Tag>) -> Invalidation {
        Invalidation::of_tags(Some(self.clone()), tags)
    }

    /// Makes all values stale that carry one of the tags; see [`Invalidation::into_expiry`].
    ///
    /// # Errors
    /// As [`invalidate_tags`](Self::invalidate_tags).
    ///
    /// # Cancel safety
    /// As [`invalidate_tags`](Self::invalidate_tags). Tiers that are not reached yet when it is
    /// dropped invalidate the values.
    pub fn expire_tags(&self, tags: impl IntoIterator<Item = Tag>) -> Invalidation {
        self.invalidate_tags(tags).into_expiry()
    }
}

impl Invalidation {
    /// Makes the invalidation of tags in `runtime`, or in the one that a call would use where it is
    /// first polled.
    pub(crate) fn of_tags(
        runtime: Option<CacheRuntime>,
        tags: impl IntoIterator<Item = Tag>,
    ) -> Self {
        let mut digests: Vec<u64> = tags.into_iter().map(Tag::digest).collect();
        digests.sort_unstable();
        digests.dedup();
        Self::new(Subject::Tags(runtime, digests))
    }
}
