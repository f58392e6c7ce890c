//! Sets of tags, and the tags whose invalidations are pending.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_core::tier::kit::lock;
use tokio::sync::Notify;

use super::invalidated::Invalidated;

/// The largest number of tags in a set. If there are more, all tags take their place.
pub(super) const MOST_TAGS: usize = 1 << 12;

/// Tags, each with the number under which it was last added. Numbers do not decrease from one
/// addition to the next. The set may become coarser, never incomplete.
#[derive(Debug, Default)]
pub(super) struct TagSet {
    all: Option<u64>,
    tags: HashMap<u64, u64>,
}

impl TagSet {
    /// Adds tags under a number. If the set has all tags, these take the number.
    pub(super) fn insert(&mut self, tags: &[u64], number: u64) {
        if tags.is_empty() {
            return;
        }
        if self.all.is_some() {
            self.all = Some(number);
            return;
        }
        self.tags.extend(tags.iter().map(|tag| (*tag, number)));
        if self.tags.len() > MOST_TAGS {
            self.insert_all(number);
        }
    }

    /// Adds all tags under a number.
    pub(super) fn insert_all(&mut self, number: u64) {
        self.tags.clear();
        self.all = Some(number);
    }

    /// Removes tags that were invalidated, except those that were added after `number`.
    fn remove(&mut self, tags: &[u64], number: u64) {
        for tag in tags {
            if self.tags.get(tag).is_some_and(|added| *added <= number) {
                self.tags.remove(tag);
            }
        }
    }

    /// Removes everything that was added up to `number`: all tags were invalidated.
    fn remove_all(&mut self, number: u64) {
        self.all = self.all.filter(|added| *added > number);
        self.tags.retain(|_, added| *added > number);
    }

    fn covers(&self, tags: &[u64]) -> bool {
        match self.all {
            Some(_) => !tags.is_empty(),
            None => tags.iter().any(|tag| self.tags.contains_key(tag)),
        }
    }

    fn len(&self) -> usize {
        usize::from(self.all.is_some()) + self.tags.len()
    }

    /// Returns the invalidation of everything in the set; `None` if it is empty.
    pub(super) fn invalidated(&self) -> Option<Invalidated> {
        match self.all {
            Some(_) => Some(Invalidated::AllTags),
            None if self.tags.is_empty() => None,
            None => Some(Invalidated::Tags(self.tags.keys().copied().collect())),
        }
    }
}

/// The tags whose invalidation the server does not know, or may not know.
#[derive(Debug, Default)]
pub(super) struct PendingTags {
    state: Mutex<State>,
    /// The number of tags in the set, as of the last change. Written under the lock, with
    /// `Release`, and read with `Acquire`: a caller that learned of a queued invalidation finds it.
    len: AtomicUsize,
    /// Notified when something was removed, and when nothing will be removed any more.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    set: TagSet,
    /// The number of the last addition.
    number: u64,
}

impl PendingTags {
    /// Queues tags for the next batch.
    pub(super) fn queue(&self, tags: &[u64]) {
        self.add(|set, number| set.insert(tags, number));
    }

    /// Queues all tags for the next batch.
    pub(super) fn queue_all(&self) {
        self.add(TagSet::insert_all);
    }

    fn add(&self, insert: impl FnOnce(&mut TagSet, u64)) {
        let mut state = lock(&self.state);
        state.number += 1;
        let number = state.number;
        insert(&mut state.set, number);
        self.len.store(state.set.len(), Ordering::Release);
    }

    /// Returns `true` if the invalidation of one of the tags is pending.
    pub(super) fn covers(&self, tags: &[u64]) -> bool {
        self.len() > 0 && lock(&self.state).set.covers(tags)
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Returns what is pending now, if anything is, and the number of the last addition.
    pub(super) fn batch(&self) -> Option<(Invalidated, u64)> {
        let state = lock(&self.state);
        Some((state.set.invalidated()?, state.number))
    }

    /// Removes tags that the server has confirmed, except those that were added after `number`.
    pub(super) fn done(&self, tags: &[u64], number: u64) {
        self.remove(|set| set.remove(tags, number));
    }

    /// Removes all tags, after the server has confirmed that, except what was added after `number`.
    pub(super) fn all_done(&self, number: u64) {
        self.remove(|set| set.remove_all(number));
    }

    fn remove(&self, remove: impl FnOnce(&mut TagSet)) {
        let mut state = lock(&self.state);
        remove(&mut state.set);
        self.len.store(state.set.len(), Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Resolves when something is removed after this call, or when [`close`](Self::close) is
    /// called.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Ends the waits for a change.
    pub(super) fn close(&self) {
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_tags_become_all_tags() {
        let pending = PendingTags::default();
        for tag in 0..MOST_TAGS as u64 {
            pending.queue(&[tag]);
        }
        assert!(!pending.covers(&[MOST_TAGS as u64]) && pending.len() == MOST_TAGS);
        pending.queue(&[MOST_TAGS as u64]);
        let (invalidated, number) = pending.batch().unwrap();
        assert_eq!((invalidated, pending.len()), (Invalidated::AllTags, 1));
        assert!(pending.covers(&[u64::MAX]), "every tag");
        assert!(!pending.covers(&[]), "no tag");
        pending.all_done(number - 1);
        assert!(pending.covers(&[1]), "added after that number");
        pending.queue(&[7]);
        pending.all_done(number);
        assert!(pending.covers(&[1]), "a tag was added since");
        pending.all_done(number + 1);
        assert!(pending.batch().is_none() && !pending.covers(&[1]));
    }

    #[test]
    fn tag_that_was_queued_again_stays_when_the_first_is_done() {
        let pending = PendingTags::default();
        pending.queue(&[1, 2]);
        let (_, number) = pending.batch().unwrap();
        pending.queue(&[1]);
        pending.done(&[1, 2], number);
        assert!(pending.covers(&[2, 1]) && !pending.covers(&[2]));
        let expected = Invalidated::Tags(vec![1]);
        assert_eq!(pending.batch(), Some((expected, number + 1)));
    }
}
