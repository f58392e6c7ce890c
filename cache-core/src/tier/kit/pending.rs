//! Invalidations that a store does not know yet.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::lock::lock;
use crate::error::{Error, ErrorKind};
use crate::tier::key::{FunctionKey, RecordKey};
use crate::tier::operation::Target;

/// The greatest number of pending keys and functions. If there are more, they are replaced by one
/// invalidation of everything, so that an outage does not fill the memory.
const MAX_PENDING: usize = 1 << 16;

/// The invalidations that a tier has accepted and that its store does not know yet.
///
/// A tier [adds](Self::add) an invalidation before it sends it to the store, treats the records
/// that an invalidation [covers](Self::covers) as missing, and removes the invalidation when the
/// store has confirmed it: one at a time ([`done`](Self::done)), or all of a [`Batch`] at once
/// ([`batch_done`](Self::batch_done)).
///
/// 1. What is added is covered until it is removed under its own number, or a later one. If a
///    target is added again while the first addition is being sent, the first confirmation does not
///    remove it.
/// 2. The list may become coarser, never incomplete: more than 65,536 keys and functions become an
///    invalidation of everything.
#[derive(Debug, Default)]
pub struct PendingInvalidations {
    state: Mutex<State>,
    /// Notified whenever something was removed, and by `close`.
    changed: Notify,
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    all: Option<u64>,
    /// By versioned name, each with the number under which it was added last.
    functions: HashMap<String, (u64, FunctionKey)>,
    /// By name, each with the number under which it was added last.
    keys: HashMap<String, (u64, RecordKey)>,
    /// The number of the last addition.
    number: u64,
}

/// The invalidations that are pending at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// Whether everything is to be invalidated.
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
    /// Adds an invalidation, and returns its number.
    pub fn add(&self, target: Target<'_>) -> u64 {
        let mut state = lock(&self.state);
        state.number += 1;
        let number = state.number;
        match target {
            Target::Key(key) => {
                state.keys.insert(key.name(), (number, key.clone()));
            }
            Target::Function(function) => {
                let added = (number, function.clone());
                state.functions.insert(function.versioned(), added);
            }
            Target::All => state.all = Some(number),
        }
        if state.keys.len() + state.functions.len() > MAX_PENDING {
            state.keys.clear();
            state.functions.clear();
            state.all = Some(number);
        }
        number
    }

    /// Removes an invalidation that the store has confirmed, unless it was added again after
    /// `number`.
    pub fn done(&self, target: Target<'_>, number: u64) {
        lock(&self.state).done(target, number);
        self.changed.notify_waiters();
    }

    /// Returns `true` if an invalidation of this key is pending.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        let state = lock(&self.state);
        state.all.is_some()
            || (!state.functions.is_empty()
                && state.functions.contains_key(&key.function.versioned()))
            || (!state.keys.is_empty() && state.keys.contains_key(&key.name()))
    }

    /// Returns the number of pending invalidations.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = lock(&self.state);
        usize::from(state.all.is_some()) + state.functions.len() + state.keys.len()
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
        Batch {
            all: state.all.is_some(),
            functions: state
                .functions
                .values()
                .map(|(_, function)| function.clone())
                .collect(),
            keys: state.keys.values().map(|(_, key)| key.clone()).collect(),
            number: state.number,
        }
    }

    /// Removes everything in a batch that the store has confirmed, except what was added again
    /// since.
    pub fn batch_done(&self, batch: &Batch) {
        {
            let mut state = lock(&self.state);
            state.keys.retain(|_, (number, _)| *number > batch.number);
            state
                .functions
                .retain(|_, (number, _)| *number > batch.number);
            state.all = state.all.filter(|number| *number > batch.number);
        }
        self.changed.notify_waiters();
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

impl State {
    fn done(&mut self, target: Target<'_>, number: u64) {
        match target {
            Target::Key(key) => {
                let name = key.name();
                if self.keys.get(&name).is_some_and(|added| added.0 == number) {
                    self.keys.remove(&name);
                }
            }
            Target::Function(function) => {
                let name = function.versioned();
                let added = self.functions.get(&name);
                if added.is_some_and(|added| added.0 == number) {
                    self.functions.remove(&name);
                }
            }
            Target::All => self.all = self.all.filter(|added| *added != number),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    #[test]
    fn too_many_pending_keys_become_everything() {
        let pending = PendingInvalidations::default();
        for number in 0..=MAX_PENDING as u64 {
            pending.add(Target::Key(&key(number)));
        }
        assert_eq!(pending.len(), 1);
        assert!(pending.batch().all && pending.covers(&key(u64::MAX)));
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
