//! The guards that this instance holds. They are renewed like leases, but do not end with a link:
//! they are placed again over the next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::commands::guard::{GuardedKey, Placement};

/// Has one entry for each transaction in progress.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    state: Mutex<State>,
    /// Notified when guards are to be ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the link that they are placed over.
    generation: u64,
    /// The guards by their numbers.
    held: HashMap<u64, Held>,
    /// Guards that are to be ended at the server.
    ended: Vec<(u64, GuardedKey)>,
}

#[derive(Debug)]
struct Held {
    key: GuardedKey,
    was_placed: bool,
    /// When it expires at the server, if it was placed over the current link.
    until: Option<Instant>,
}

impl Guards {
    /// Holds a guard that is not placed yet.
    pub(crate) fn hold(&self, number: u64, key: GuardedKey) {
        let held = Held {
            key,
            was_placed: false,
            until: None,
        };
        self.lock().held.insert(number, held);
    }

    /// Stops renewing a guard. The server keeps it until it expires.
    pub(crate) fn abandon(&self, number: u64) {
        self.lock().held.remove(&number);
    }

    /// Has a guard ended at the server. One that is not placed over the current link expires by
    /// itself.
    pub(crate) fn end(&self, number: u64) {
        let mut state = self.lock();
        if let Some(Held {
            key,
            until: Some(_),
            ..
        }) = state.held.remove(&number)
        {
            state.ended.push((number, key));
            drop(state);
            self.ended.notify_one();
        }
    }

    /// The guards that are to be renewed.
    pub(crate) fn held(&self) -> Vec<(u64, GuardedKey)> {
        let state = self.lock();
        let held = state.held.iter();
        held.map(|(number, held)| (*number, held.key.clone()))
            .collect()
    }

    /// Whether a guard is still held.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.lock().held.contains_key(&number)
    }

    /// Notes that the server has placed these guards over the link with that number, and keeps them
    /// until then.
    pub(crate) fn placed(
        &self,
        taken: impl IntoIterator<Item = (u64, Placement)>,
        generation: u64,
        until: Instant,
    ) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let mut lapsed = 0;
        for (number, placement) in taken {
            if let Some(held) = state.held.get_mut(&number) {
                lapsed += usize::from(placement == Placement::New && held.was_placed);
                held.was_placed = true;
                held.until = held.until.max(Some(until));
            }
        }
        drop(state);
        if lapsed > 0 {
            tracing::warn!(
                lapsed,
                "write guards had lapsed, and were put in place again; what was stored meanwhile is dropped"
            );
        }
    }

    /// Whether the server keeps a guard.
    pub(crate) fn is_placed(&self, number: u64, now: Instant) -> bool {
        let state = self.lock();
        let held = state.held.get(&number);
        held.is_some_and(|held| held.until.is_some_and(|until| now < until))
    }

    /// Notes that there is another link, or none: it is unknown which guards the server has.
    pub(crate) fn begin(&self, generation: u64) {
        let mut state = self.lock();
        state.generation = generation;
        state.ended.clear();
        for held in state.held.values_mut() {
            held.until = None;
        }
    }

    /// Waits for guards that are to be ended, and returns them.
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
