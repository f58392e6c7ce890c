//! What is in the journal, in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::RecordKey;
use tokio::time::Instant;

use super::collapsing::{Collapsing, Queued};
use super::names::Invalidated;

/// How long an acknowledged one is kept: longer than a replica may lag behind (`min-replicas-max-lag` is ten seconds).
pub(super) const KEPT: Duration = Duration::from_secs(30);

/// Most keys, and most functions, before they become something coarser.
const MOST: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Entries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    queued: Collapsing,
    /// What was acknowledged, in two spans of time, the newer first: each is dropped whole.
    recent: [Collapsing; 2],
    turned: Option<Instant>,
    /// Of what was last put in.
    number: u64,
}

impl Entries {
    pub(super) fn queue(&self, what: Invalidated) {
        self.lock().queue(what);
    }

    pub(super) fn acknowledged(&self, what: Invalidated) {
        let mut state = self.lock();
        state.turn(Instant::now());
        state.recent[0].insert(what, 0, MOST);
    }

    pub(super) fn covers(&self, key: &RecordKey) -> bool {
        self.lock().queued.covers(key)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().queued.len()
    }

    pub(super) fn recall(&self) -> usize {
        let mut state = self.lock();
        let recent: Vec<_> = state.recent.iter().flat_map(Collapsing::list).collect();
        for Queued { what, .. } in recent {
            state.queue(what);
        }
        state.queued.len()
    }

    pub(super) fn list(&self) -> Vec<Queued> {
        self.lock().queued.list()
    }

    /// `true` when nothing is queued any more.
    pub(super) fn sent(&self, list: Vec<Queued>) -> bool {
        let mut state = self.lock();
        state.turn(Instant::now());
        for queued in list {
            state.queued.remove(&queued);
            state.recent[0].insert(queued.what, 0, MOST);
        }
        state.queued.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, what: Invalidated) {
        self.number += 1;
        self.queued.insert(what, self.number, MOST);
    }

    /// Drops what is older than it need be kept.
    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        let spans = now.duration_since(turned).as_secs() / KEPT.as_secs();
        if spans > 0 {
            let newer = std::mem::take(&mut self.recent[0]);
            self.recent[1] = if spans == 1 {
                newer
            } else {
                Collapsing::default()
            };
            self.turned = Some(now);
        }
    }
}
