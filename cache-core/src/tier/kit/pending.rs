//! Invalidations that a store does not know yet.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::digest_set::DigestSet;
use super::invalidation_set::InvalidationSet;
use super::lock::lock;
use super::target::OwnedTarget;
use super::wake::WakeOnDrop;
use crate::error::{Error, ErrorKind};
use crate::tier::{Expiry, FunctionKey, Marks, MarksState, RecordKey, Target};

/// The invalidations that a tier has accepted and that its store does not know yet.
///
/// A tier [adds](Self::add) an invalidation before it sends it to the store, or
/// [queues](Self::queue) it for a later [`Batch`], treats the records
/// that an invalidation [covers](Self::covers) as missing, and removes the invalidation when the
/// store has confirmed it: one at a time ([`done`](Self::done)), or all of a [`Batch`] at once
/// ([`batch_done`](Self::batch_done)). Tags and expiries are added by their digests, and
/// [judge](Self::judge) the records that carry them.
///
/// 1. An added invalidation covers its keys until it is removed under its own number, or a later
///    one. If a target is added again while the first addition is being sent, the first
///    confirmation does not remove it.
/// 2. The list may become coarser, never incomplete: see [`InvalidationSet`]. If it has more than
///    65,536 tags, all tags take their place; the same holds for expiries.
#[derive(Debug, Default)]
pub struct PendingInvalidations {
    state: Mutex<State>,
    /// Notified whenever something was removed, and by `close`.
    changed: Arc<Notify>,
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    set: InvalidationSet,
    tags: DigestSet,
    expiries: DigestSet,
    /// The number of the last addition.
    number: u64,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

/// The invalidations that are pending at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// `true` if everything is to be invalidated.
    pub all: bool,
    /// The functions to invalidate.
    pub functions: Vec<FunctionKey>,
    /// The keys to invalidate.
    pub keys: Vec<RecordKey>,
    /// `true` if all tags are to be invalidated.
    pub all_tags: bool,
    /// The digests of the tags to invalidate.
    pub tags: Vec<u64>,
    /// `true` if everything is to be expired.
    pub all_expiries: bool,
    /// The digests of the keys, functions and tags to expire.
    pub expiries: Vec<u64>,
    number: u64,
}

impl Batch {
    /// Returns the number of the last invalidation that was [added](PendingInvalidations::add)
    /// before the batch was made.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns `true` if nothing was pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.functions.is_empty() && self.keys.is_empty() && !self.has_digests()
    }

    /// Returns `true` if tags or expiries were pending.
    #[must_use]
    pub fn has_digests(&self) -> bool {
        self.all_tags || self.all_expiries || !self.tags.is_empty() || !self.expiries.is_empty()
    }

    /// Returns the targets, the widest first, without tags and expiries.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let all = self.all.then_some(Target::All);
        let functions = self.functions.iter().map(Target::Function);
        let keys = self.keys.iter().map(Target::Key);
        all.into_iter().chain(functions).chain(keys)
    }
}

impl PendingInvalidations {
    /// Adds an invalidation, and returns its number. Each invalidation is removed when it is
    /// [done](Self::done) itself, also if a wider one is pending.
    pub fn add(&self, target: Target<'_>) -> u64 {
        let mut state = lock(&self.state);
        let number = state.next_number();
        state.set.insert_apart(target, number);
        number
    }

    /// Adds an invalidation that is sent in a later [batch](Self::batch), and not by itself. If a
    /// wider one is pending, that one takes its place, and is sent once more if it is being sent
    /// now. So the list does not grow while everything is pending.
    pub fn queue(&self, target: Target<'_>) {
        let mut state = lock(&self.state);
        let number = state.next_number();
        state.set.insert(target, number);
    }

    /// Removes an invalidation that the store has confirmed, with the invalidations that it covers,
    /// except what was added after `number`. The waiters wake when the result is dropped.
    pub fn done(&self, target: Target<'_>, number: u64) -> WakeOnDrop {
        lock(&self.state).set.remove(target, number);
        WakeOnDrop::new([Arc::clone(&self.changed)])
    }

    /// Adds an invalidation of tags, by their digests, and returns its number.
    pub fn add_tags(&self, tags: &[u64]) -> u64 {
        let mut state = lock(&self.state);
        let number = state.next_number();
        state.tags.insert(tags, number);
        number
    }

    /// Adds an expiry, and returns its number. It is removed with its [batch](Self::batch).
    pub fn add_expiry(&self, target: Expiry<'_>) -> u64 {
        let mut state = lock(&self.state);
        let number = state.next_number();
        state.expiries.insert(target.digests(), number);
        number
    }

    /// Removes tags whose invalidation the store has confirmed, except those that were added after
    /// `number`. The waiters wake when the result is dropped.
    pub fn tags_done(&self, tags: &[u64], number: u64) -> WakeOnDrop {
        lock(&self.state).tags.remove(tags, number);
        WakeOnDrop::new([Arc::clone(&self.changed)])
    }

    /// Returns `true` if an invalidation of one of these tags is pending.
    #[must_use]
    pub fn covers_tags(&self, tags: &[u64]) -> bool {
        let state = lock(&self.state);
        tags.iter().any(|tag| state.tags.covers(*tag))
    }

    /// Judges a record by the tags and the expiries that are pending. A tier that has a ledger
    /// beside this list asks the list first: in the opposite order, a tag could be removed here
    /// after the ledger was asked and before the list is.
    #[must_use]
    pub fn judge(&self, marks: Marks<'_>) -> MarksState {
        let state = lock(&self.state);
        let mut tags = marks.tags.iter();
        if tags.clone().any(|tag| state.tags.covers(*tag)) {
            return MarksState::Invalidated;
        }
        let is_expired = [marks.key, marks.function]
            .into_iter()
            .any(|digest| state.expiries.covers(digest))
            || tags.any(|tag| state.expiries.covers(*tag));
        match is_expired {
            true => MarksState::Expired,
            false => MarksState::Valid,
        }
    }

    /// Returns `true` if an invalidation of this key is pending.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        lock(&self.state).set.covers(key)
    }

    /// Returns the number of pending invalidations.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = lock(&self.state);
        state.set.len() + state.tags.len() + state.expiries.len()
    }

    /// Returns `true` if nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns everything that is pending now.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let state = lock(&self.state);
        let targets = state.set.targets();
        let mut batch = Batch {
            all_tags: state.tags.has_all(),
            tags: state.tags.digests(),
            all_expiries: state.expiries.has_all(),
            expiries: state.expiries.digests(),
            number: state.number,
            ..Batch::default()
        };
        drop(state);
        for target in targets {
            match target {
                OwnedTarget::Key(key) => batch.keys.push(key),
                OwnedTarget::Function(function) => batch.functions.push(function),
                OwnedTarget::All => batch.all = true,
            }
        }
        batch
    }

    /// Returns the functions that are pending, or everything, but no single keys, and the number of
    /// the last invalidation that was [added](Self::add). For a store that voids a function without
    /// a request: each of these targets is [done](Self::done) under the number when it is void.
    #[must_use]
    pub fn wide_targets(&self) -> (Vec<OwnedTarget>, u64) {
        let state = lock(&self.state);
        (state.set.wide_targets(), state.number)
    }

    /// Removes everything in a batch that the store has confirmed, except what was added again
    /// since. The waiters wake when the result is dropped.
    pub fn batch_done(&self, batch: &Batch) -> WakeOnDrop {
        // Everything that was pending when the batch was made is in it, or covered by it.
        let mut state = lock(&self.state);
        state.tags.remove_all(batch.number);
        state.expiries.remove_all(batch.number);
        drop(state);
        self.done(Target::All, batch.number)
    }

    /// Resolves when something is removed after this call, or when the tier is
    /// [closed](Self::close). Create the future before you look at the list, so that a change in
    /// between is not missed.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Waits until nothing is pending.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the list is [closed](Self::close) before that.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_empty(&self) -> Result<(), Error> {
        loop {
            let changed = self.changed();
            if self.is_empty() {
                return Ok(());
            }
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the tier was shut down before a pending invalidation was done",
                ));
            }
            changed.await;
        }
    }

    /// Ends the waits for this list, because nothing will be removed any more. For the shutdown of
    /// a tier.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
