//! The leases that this instance holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::{LeaseHeld, Stamp};
use tokio::time::Instant;

use crate::commands::{self, Names};
use crate::link::Shared;

/// A load that takes longer is taken for stuck by who waits for it.
pub(crate) const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// By the number that the runtime knows them by: as many as there are loads under way.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<u64, Held>,
    next: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) names: Names,
    /// What the record is to carry.
    pub(crate) stamp: Stamp,
    /// What a fill must find.
    pub(crate) cas: u64,
    /// Of the link that it was taken over: another process of the server would number anew.
    pub(crate) generation: u64,
    /// Whether a placeholder stands there, which ends by itself.
    pub(crate) is_placeholder: bool,
    /// Whether others wait for it.
    pub(crate) is_given_back: bool,
    pub(crate) since: Instant,
}

/// Holds a lease; dropped, it gives it back.
pub(crate) struct Holder {
    shared: Arc<Shared>,
    token: u64,
}

impl Holder {
    pub(crate) fn new(shared: &Arc<Shared>, held: Held) -> (u64, Self) {
        let mut state = shared.leases.lock();
        state.next += 1;
        let token = state.next;
        state.held.insert(token, held);
        drop(state);
        let shared = Arc::clone(shared);
        (token, Self { shared, token })
    }
}

impl LeaseHeld for Holder {}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(held) = self.shared.leases.end(self.token) else {
            return;
        };
        let link = self.shared.link();
        let Some(link) = link.filter(|link| link.generation == held.generation) else {
            return;
        };
        if held.is_given_back {
            // One that does not get through is over by itself.
            drop(link.begin(move |client| {
                Box::pin(async move {
                    commands::delete(client, &held.names.record, Some(held.cas)).await
                })
            }));
        }
    }
}

impl Leases {
    /// What is held under a number.
    pub(crate) fn held(&self, token: u64) -> Option<Held> {
        self.lock().held.get(&token).cloned()
    }

    /// Nobody holds it any more.
    pub(crate) fn end(&self, token: u64) -> Option<Held> {
        self.lock().held.remove(&token)
    }

    /// Those that are to live on.
    pub(crate) fn to_renew(&self, generation: u64) -> Vec<Held> {
        let state = self.lock();
        let is_renewed = |held: &&Held| {
            held.is_placeholder
                && held.generation == generation
                && held.since.elapsed() < LONGEST_LOAD
        };
        state.held.values().filter(is_renewed).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
