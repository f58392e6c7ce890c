//! The way from a tier back to the runtime that uses it.

use std::sync::{Arc, OnceLock, Weak};

#[cfg(doc)]
use super::contract::Tier;
use super::operation::Target;
use super::received::ReceivedCounters;
use super::shard::Shard;
use super::store::Store;
use crate::events::{Concerns, EventKind, EventOrigin, EventScope, Events};
use crate::fence::Fences;
use crate::level::Level;

/// Passes the invalidations of other instances, which arrive over a tier's channel, to the runtime
/// of this instance.
///
/// It belongs to one [shard](super::TierContext::shard) of a store, and voids values of this shard
/// only.
///
/// The tier MUST report messages in the order in which it received them, and MUST report a message
/// before it returns an answer that the store sent after that message.
#[derive(Clone, Debug)]
pub struct Peers {
    fences: Arc<Fences>,
    shard: Shard,
    /// Set once, when the runtime is built, for all shards of the store.
    above: Arc<OnceLock<Vec<Weak<Store>>>>,
    /// Shared by all shards of the store.
    received: Arc<ReceivedCounters>,
    events: Arc<Events>,
    /// The level of the store, for events.
    level: Option<Level>,
}

impl Peers {
    pub(crate) fn new(fences: Arc<Fences>) -> Self {
        Self {
            fences,
            shard: Shard::ONLY,
            above: Arc::default(),
            received: Arc::default(),
            events: Arc::default(),
            level: None,
        }
    }

    /// Has what the store of this level reports noted as events.
    pub(crate) fn noting(mut self, level: Level, events: &Arc<Events>) -> Self {
        self.level = Some(level);
        self.events = Arc::clone(events);
        self
    }

    /// Notes an event of the tier.
    pub(super) fn note(&self, kind: EventKind) {
        self.note_of(None, None, kind);
    }

    fn note_of(&self, function: Option<u64>, key: Option<u64>, kind: EventKind) {
        let concerns = Concerns {
            tier: self.level,
            function,
            key,
        };
        self.events.note(concerns, kind);
    }

    fn note_invalidated(&self, scope: EventScope, function: Option<u64>, key: Option<u64>) {
        let by = EventOrigin::Peer;
        self.note_of(function, key, EventKind::Invalidated { scope, by });
    }

    fn note_expired(&self, scope: EventScope, key: Option<u64>) {
        let by = EventOrigin::Peer;
        self.note_of(None, key, EventKind::Expired { scope, by });
    }

    /// Returns the recipient for one shard of the same store.
    pub(super) fn of_shard(&self, shard: Shard) -> Self {
        Self {
            shard,
            ..self.clone()
        }
    }

    /// Returns the shard whose values this voids.
    pub(super) fn shard(&self) -> Shard {
        self.shard
    }

    /// Returns the counters of what was reported for all shards of the store.
    pub(crate) fn received(&self) -> &Arc<ReceivedCounters> {
        &self.received
    }

    /// Sets the stores above the one that reports to this.
    pub(crate) fn set_above(&self, above: Vec<Weak<Store>>) {
        // A second call has no effect; the runtime makes one.
        let _ = self.above.set(above);
    }

    /// Reports that a [queued](super::Receipt::Queued) invalidation has reached the store.
    ///
    /// The tiers above were invalidated when it was queued, but a call may since have copied up the
    /// record that it deletes. They are invalidated again. The tier MUST call this before it
    /// reports the invalidation as no longer [pending](Tier::is_pending).
    pub fn done_late(&self, target: Target<'_>) {
        for above in self.above.get().into_iter().flatten() {
            if let Some(above) = above.upgrade() {
                above.invalidate_later_in(self.shard, target);
            }
        }
    }

    /// Creates a recipient that ignores every report, for a tier that is tested without a runtime.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Arc::new(Fences::new()))
    }

    /// Reports that another instance invalidated the key with this digest.
    pub fn invalidated_key(&self, digest: u64) {
        self.received.keys.add_one();
        self.fences.raise(digest);
        self.note_invalidated(EventScope::Key, None, Some(digest));
    }

    /// Reports that another instance invalidated the function with this digest, in this shard.
    pub fn invalidated_function(&self, digest: u64) {
        self.received.functions.add_one();
        self.fences.raise_shared(self.shard, Some(digest));
        self.note_invalidated(EventScope::Function, Some(digest), None);
    }

    /// Reports that another instance invalidated the tag with this digest.
    pub fn invalidated_tag(&self, digest: u64) {
        self.received.tags.add_one();
        self.fences.raise_tag(digest);
        self.note_invalidated(EventScope::Tag, None, None);
    }

    /// Reports that all tags were invalidated, or that it is not known which were.
    pub fn invalidated_all_tags(&self) {
        self.received.tags.add_one();
        self.fences.raise_all_tags();
        self.note_invalidated(EventScope::Tag, None, None);
    }

    /// Reports that another instance expired the key, the function or the tag with this digest.
    pub fn expired(&self, digest: u64) {
        self.received.expiries.add_one();
        self.fences.expire(digest);
        // Of a key, a function or a tag.
        self.note_expired(EventScope::All, Some(digest));
    }

    /// Reports that everything was expired, or that it is not known what was.
    pub fn expired_all(&self) {
        self.received.expiries.add_one();
        self.fences.expire_all();
        self.note_expired(EventScope::All, None);
    }

    /// Reports that a [queued](super::Receipt::Queued) invalidation of tags has reached the store,
    /// as [`done_late`](Self::done_late) does for other targets.
    pub fn tags_done_late(&self, tags: &[u64]) {
        for above in self.above.get().into_iter().flatten() {
            if let Some(above) = above.upgrade() {
                above.invalidate_tags_later_in(self.shard, tags);
            }
        }
    }

    /// Reports that another instance invalidated everything in this shard, or that it is not known
    /// what was invalidated.
    pub fn invalidated_all(&self) {
        self.received.everything.add_one();
        self.fences.raise_shared(self.shard, None);
        self.note_invalidated(EventScope::All, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::received::ReceivedInvalidations;

    #[test]
    fn each_report_is_counted_once_by_what_it_concerns() {
        let peers = Peers::none();
        peers.invalidated_key(1);
        peers.invalidated_function(2);
        peers.invalidated_tag(3);
        peers.invalidated_all_tags();
        peers.expired(4);
        peers.expired_all();
        peers.invalidated_all();
        let expected = ReceivedInvalidations {
            keys: 1,
            functions: 1,
            tags: 2,
            everything: 1,
            expiries: 2,
        };
        assert_eq!(peers.received().snapshot(), expected);
    }
}
