//! The guards that this instance holds. They are renewed like leases, but do not end with a link: they are put in place again
//! over the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tier::GuardHeld;
use tokio::sync::Notify;

use crate::journal::Invalidated;
use crate::link::Shared;

/// As many as there are transactions under way.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    state: Mutex<State>,
    /// Rung when some are to be ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By their own number.
    held: HashMap<u64, GuardedKey>,
    /// To be ended.
    ended: Vec<(u64, GuardedKey)>,
}

/// A key as the scripts name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuardedKey {
    pub(crate) record: String,
    pub(crate) lease: String,
    pub(crate) guards: String,
    pub(crate) digest: u64,
}

/// Holds a guard; dropped after its key was invalidated, it ends it; dropped otherwise, it has the key invalidated and lets the
/// guard end by its time.
pub(crate) struct Holder {
    shared: Arc<Shared>,
    number: u64,
    is_placed: bool,
    invalidates: Option<Invalidated>,
}

impl Holder {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        number: u64,
        key: GuardedKey,
        invalidates: Invalidated,
    ) -> Self {
        shared.guards.lock().held.insert(number, key);
        Self {
            shared: Arc::clone(shared),
            number,
            is_placed: false,
            invalidates: Some(invalidates),
        }
    }
}

impl Holder {
    /// The server took it.
    pub(crate) fn placed(mut self) -> Self {
        self.is_placed = true;
        self
    }
}

impl GuardHeld for Holder {
    fn is_placed(&self) -> bool {
        self.is_placed
    }

    fn was_invalidated(&mut self) {
        self.invalidates = None;
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let guards = &self.shared.guards;
        // Nobody said how the transaction ended. Its commit may still be under way: the guard is not ended, and not renewed.
        if let Some(what) = self.invalidates.take() {
            guards.lock().held.remove(&self.number);
            self.shared.journal.queue(what);
            return;
        }
        let mut state = guards.lock();
        if let Some(key) = state.held.remove(&self.number) {
            state.ended.push((self.number, key));
            drop(state);
            guards.ended.notify_one();
        }
    }
}

impl Guards {
    /// Those to be renewed.
    pub(crate) fn held(&self) -> Vec<(u64, GuardedKey)> {
        let state = self.lock();
        let held = state.held.iter();
        held.map(|(number, key)| (*number, key.clone())).collect()
    }

    /// Whether it is held still: one that has ended meanwhile must not be put in place again.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.lock().held.contains_key(&number)
    }

    /// Those to be ended, once there are any.
    pub(crate) async fn ended(&self) -> Vec<(u64, GuardedKey)> {
        loop {
            let rung = self.ended.notified();
            let ended = std::mem::take(&mut self.lock().ended);
            if !ended.is_empty() {
                return ended;
            }
            rung.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
