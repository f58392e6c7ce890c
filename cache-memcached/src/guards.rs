//! The guards that this instance holds. They outlive a link: they are put in place again over the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tier::{GuardHeld, RecordKey, Target};
use tokio::time::Instant;

use crate::commands;
use crate::link::Shared;

/// As many as there are transactions under way.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<HashMap<u64, Held>>);

#[derive(Debug)]
struct Held {
    key: RecordKey,
    /// Until when the server keeps it, as far as is known over this link.
    until: Option<Instant>,
}

/// Holds a guard; dropped after its key was invalidated, it ends it; dropped otherwise, it has the key invalidated and lets the
/// guard end by its time.
pub(crate) struct Holder {
    shared: Arc<Shared>,
    number: u64,
    is_invalidated: bool,
}

impl Holder {
    pub(crate) fn new(shared: &Arc<Shared>, number: u64, key: RecordKey) -> Self {
        shared
            .guards
            .lock()
            .insert(number, Held { key, until: None });
        Self {
            shared: Arc::clone(shared),
            number,
            is_invalidated: false,
        }
    }
}

impl GuardHeld for Holder {
    fn was_invalidated(&mut self) {
        self.is_invalidated = true;
    }

    fn is_placed(&self) -> bool {
        let guards = self.shared.guards.lock();
        let held = guards.get(&self.number);
        held.is_some_and(|held| held.until.is_some_and(|until| Instant::now() < until))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(Held { key, until }) = self.shared.guards.lock().remove(&self.number) else {
            return;
        };
        if !self.is_invalidated {
            // Nobody said how the transaction ended. Its commit may still be under way: the guard is not ended, and not renewed.
            self.shared.invalidate_later(Target::Key(&key));
            return;
        }
        // One that is not in place over this link ends by itself, and what is to be invalidated comes before its end.
        let link = self.shared.link();
        let Some(link) = link.filter(|_| until.is_some() && !self.shared.owed.covers(&key)) else {
            return;
        };
        let (record, number) = (self.shared.keys.record(&key), self.number);
        let life = self.shared.config.lease_time;
        drop(link.begin(move |client| {
            Box::pin(async move { commands::unguard(client, &record, number, life).await })
        }));
    }
}

impl Guards {
    /// Those to be renewed.
    pub(crate) fn held(&self) -> Vec<(u64, RecordKey)> {
        let held = self.lock();
        held.iter()
            .map(|(number, held)| (*number, held.key.clone()))
            .collect()
    }

    /// Whether it is held still.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.lock().contains_key(&number)
    }

    /// The server keeps it until then.
    pub(crate) fn placed(&self, number: u64, until: Instant) {
        if let Some(held) = self.lock().get_mut(&number) {
            held.until = held.until.max(Some(until));
        }
    }

    /// What is in place is not known any more.
    pub(crate) fn forget(&self) {
        for held in self.lock().values_mut() {
            held.until = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
