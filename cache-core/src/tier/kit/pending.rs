//! Invalidations that a store does not know yet.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::invalidation_set::InvalidationSet;
use super::lock::lock;
use super::target::OwnedTarget;
use super::wake::WakeOnDrop;
use crate::error::{Error, ErrorKind};
use crate::tier::{FunctionKey, RecordKey, Target};

/// The invalidations that a tier has accepted and that its store does not know yet.
///
/// A tier [adds](Self::add) an invalidation before it sends it to the store, or
/// [queues](Self::queue) it for a later [`Batch`], treats the records
/// that an invalidation [covers](Self::covers) as missing, and removes the invalidation when the
/// store has confirmed it: one at a time ([`done`](Self::done)), or all of a [`Batch`] at once
/// ([`batch_done`](Self::batch_done)).
///
/// 1. An added invalidation covers its keys until it is removed under its own number, or a later
///    one. If a target is added again while the first addition is being sent, the first
///    confirmation does not remove it.
/// 2. The list may become coarser, never incomplete: see [`InvalidationSet`].
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
        !self.all && self.functions.is_empty() && self.keys.is_empty()
    }

    /// Returns the targets, the widest first.
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

    /// Returns `true` if an invalidation of this key is pending.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        lock(&self.state).set.covers(key)
    }

    /// Returns the number of pending invalidations.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.state).set.len()
    }

    /// Returns `true` if nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns everything that is pending now.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let (targets, number) = {
            let state = lock(&self.state);
            (state.set.targets(), state.number)
        };
        let mut batch = Batch {
            number,
            ..Batch::default()
        };
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
mod tests {
    use super::*;

    fn key(number: u64) -> RecordKey {
        RecordKey::new(
            Arc::new(FunctionKey::new("f", 1)),
            number.to_string(),
            number,
        )
    }

    #[test]
    fn invalidation_that_was_added_again_stays_pending_when_the_first_is_done() {
        let pending = PendingInvalidations::default();
        let (first, second) = (key(1), key(2));
        let number = pending.add(Target::Key(&first));
        let batch = pending.batch();
        pending.add(Target::Key(&first));
        pending.add(Target::Key(&second));
        pending.done(Target::Key(&first), number);
        pending.batch_done(&batch);
        assert!(pending.covers(&first) && pending.covers(&second));
        pending.batch_done(&pending.batch());
        assert!(pending.is_empty() && !pending.covers(&first));
        let number = pending.add(Target::Function(&first.function));
        assert!(pending.covers(&second));
        pending.done(Target::Function(&first.function), number);
        assert!(!pending.covers(&second));
    }

    const KEYS: [(&str, u64); 4] = [("f", 1), ("f", 2), ("g", 1), ("g", 2)];

    fn key_of((function, number): (&str, u64)) -> RecordKey {
        let function = Arc::new(FunctionKey::new(function, 1));
        RecordKey::new(function, number.to_string(), number)
    }

    fn is_in(inner: &OwnedTarget, outer: &OwnedTarget) -> bool {
        match (inner, outer) {
            (_, OwnedTarget::All) => true,
            (OwnedTarget::Key(key), OwnedTarget::Function(function)) => *key.function == *function,
            (inner, outer) => inner == outer,
        }
    }

    /// A random history, and what of it is not confirmed, in a list that forgets nothing.
    #[derive(Default)]
    struct History {
        random: fastrand::Rng,
        is_queued: bool,
        pending: PendingInvalidations,
        added: Vec<(OwnedTarget, u64)>,
        unconfirmed: Vec<(OwnedTarget, u64)>,
        batches: Vec<Batch>,
    }

    impl History {
        fn step(&mut self) {
            match self.random.u8(..10) {
                0..=4 => self.add(),
                5..=7 => self.confirm_one(),
                8 => self.batches.push(self.pending.batch()),
                _ => self.confirm_batch(),
            }
        }

        fn add(&mut self) {
            let key = key_of(KEYS[self.random.usize(..KEYS.len())]);
            let target = match self.random.u8(..8) {
                0 => OwnedTarget::All,
                1 | 2 => OwnedTarget::Function((*key.function).clone()),
                _ => OwnedTarget::Key(key),
            };
            let number = if self.is_queued {
                self.pending.queue(target.borrow());
                self.pending.batch().number()
            } else {
                self.pending.add(target.borrow())
            };
            self.added.push((target.clone(), number));
            self.unconfirmed.push((target, number));
        }

        fn confirm_one(&mut self) {
            if self.added.is_empty() {
                return;
            }
            let (target, number) = &self.added[self.random.usize(..self.added.len())];
            self.pending.done(target.borrow(), *number);
            self.unconfirmed
                .retain(|(of, later)| later > number || !is_in(of, target));
        }

        fn confirm_batch(&mut self) {
            if let Some(batch) = self.batches.pop() {
                self.pending.batch_done(&batch);
                let confirmed = batch.number();
                self.unconfirmed.retain(|(_, number)| *number > confirmed);
            }
        }

        fn check(&self, key: &RecordKey) {
            let target = OwnedTarget::Key(key.clone());
            let is_pending = self.unconfirmed.iter().any(|(of, _)| is_in(&target, of));
            let covers = self.pending.covers(key);
            // A wider invalidation may take the place of a queued one, and stay with it.
            let is_right = covers == is_pending || self.is_queued && covers;
            assert!(is_right, "{key:?}: {covers}, but {:?}", self.unconfirmed);
        }
    }

    #[test]
    fn invalidation_is_pending_until_it_or_a_wider_one_was_confirmed_after_it() {
        for seed in 0..4_000 {
            let mut history = History {
                random: fastrand::Rng::with_seed(seed),
                is_queued: seed % 2 == 1,
                ..History::default()
            };
            for _ in 0..30 {
                history.step();
                for key in KEYS {
                    history.check(&key_of(key));
                }
            }
            let pending = history.pending;
            pending.batch_done(&pending.batch());
            assert!(pending.is_empty());
        }
    }

    #[test]
    fn invalidation_sent_by_itself_is_removed_beside_a_wider_one_that_was_sent_before() {
        let pending = PendingInvalidations::default();
        let all = pending.add(Target::All);
        let one = pending.add(Target::Key(&key(1)));
        assert_eq!(pending.len(), 1, "everything");
        pending.done(Target::All, all);
        assert!(pending.covers(&key(1)) && !pending.covers(&key(2)));
        pending.done(Target::Key(&key(1)), one);
        assert!(pending.is_empty());
    }

    #[tokio::test]
    async fn waits_end_when_the_list_is_empty_and_fail_when_it_is_closed_before() {
        let pending = Arc::new(PendingInvalidations::default());
        let wait = || {
            let pending = Arc::clone(&pending);
            tokio::spawn(async move { pending.wait_empty().await })
        };
        let number = pending.add(Target::All);
        let waiter = wait();
        tokio::task::yield_now().await;
        pending.done(Target::All, number);
        waiter.await.unwrap().expect("nothing is pending");
        pending.add(Target::All);
        let waiter = wait();
        tokio::task::yield_now().await;
        pending.close();
        let error = waiter.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
