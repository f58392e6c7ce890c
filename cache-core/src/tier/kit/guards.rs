//! The write guards that this instance holds at a store.
//!
//! They are renewed like leases, but do not end with a connection: they are placed again over the
//! next one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock::lock;
use crate::tier::GuardHeld;

/// The guards of this instance, by numbers that the caller chooses. `K` names a guarded key in the
/// commands of the store. It has one entry for each transaction in progress.
#[derive(Debug)]
pub struct HeldGuards<K> {
    /// Held for a few instructions only, never across an `.await`.
    state: Mutex<State<K>>,
    /// Notified when guards are to be ended at the store.
    ended: Notify,
}

#[derive(Debug)]
struct State<K> {
    /// The number of the connection over which the guards are placed.
    connection: Option<u64>,
    held: HashMap<u64, Held<K>>,
    ended: Vec<(u64, K)>,
}

#[derive(Debug)]
struct Held<K> {
    key: K,
    was_placed: bool,
    /// When the guard expires at the store, if it was placed over the current connection.
    until: Option<Instant>,
}

/// Reply of a store that was asked to place or renew a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the store had the guard, or it had not"
)]
pub enum Placement {
    /// The store did not have the guard, and has it now: everything that was stored or leased under
    /// the key before is void.
    New,
    /// The store had the guard already, and keeps it for longer.
    Renewed,
}

/// Holds a guard, as a [`Guard`](crate::tier::Guard) needs it.
///
/// If the key was invalidated, dropping the holder ends the guard at the store. Otherwise the
/// outcome of the transaction is unknown and its commit may still be in progress: then the guard is
/// no longer renewed and expires by itself, and the key is invalidated.
pub struct GuardHolder<K> {
    guards: Arc<HeldGuards<K>>,
    number: u64,
    invalidate: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl<K> fmt::Debug for GuardHolder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardHolder")
            .field("number", &self.number)
            .field("was_invalidated", &self.invalidate.is_none())
            .finish_non_exhaustive()
    }
}

impl<K> Default for HeldGuards<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                connection: None,
                held: HashMap::new(),
                ended: Vec::new(),
            }),
            ended: Notify::new(),
        }
    }
}

impl<K> HeldGuards<K> {
    /// Notes that there is another connection: it is unknown which guards the store has.
    pub fn connected(&self, connection: u64) {
        self.begin(Some(connection));
    }

    /// Notes that there is no connection: it is unknown which guards the store has.
    pub fn disconnected(&self) {
        self.begin(None);
    }

    /// Holds a guard that is not placed yet. `invalidate` invalidates the key without waiting; it
    /// runs if the holder is dropped and the key was not invalidated.
    #[must_use]
    pub fn hold(
        self: &Arc<Self>,
        number: u64,
        key: K,
        invalidate: impl FnOnce() + Send + Sync + 'static,
    ) -> GuardHolder<K> {
        let held = Held {
            key,
            was_placed: false,
            until: None,
        };
        lock(&self.state).held.insert(number, held);
        GuardHolder {
            guards: Arc::clone(self),
            number,
            invalidate: Some(Box::new(invalidate)),
        }
    }

    /// Returns `true` if the guard is still held.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        lock(&self.state).held.contains_key(&number)
    }

    /// Notes the replies of the store to these guards, which it keeps until `until`. Replies that
    /// came over another connection than the current one are ignored.
    pub fn placed(
        &self,
        placements: impl IntoIterator<Item = (u64, Placement)>,
        connection: u64,
        until: Instant,
    ) {
        let mut state = lock(&self.state);
        if state.connection != Some(connection) {
            return;
        }
        let mut lapsed = 0;
        for (number, placement) in placements {
            if let Some(held) = state.held.get_mut(&number) {
                lapsed += usize::from(placement == Placement::New && held.was_placed);
                held.was_placed = true;
                held.until = held.until.max(Some(until));
            }
        }
        drop(state);
        if lapsed > 0 {
            tracing::warn!(
                target: "multi_tier_cached::tier",
                lapsed,
                "write guards had expired at the store and were placed again; records that were stored in between are dropped"
            );
        }
    }

    /// Returns `true` if the store is known to have the guard now.
    #[must_use]
    pub fn is_placed(&self, number: u64) -> bool {
        let state = lock(&self.state);
        let until = state.held.get(&number).and_then(|held| held.until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits for guards that are to be ended at the store, and returns them with their numbers. One
    /// task may wait. Send pending invalidations first: otherwise another caller could store a
    /// record in between.
    ///
    /// # Cancel safety
    /// Cancel safe: guards that were not returned yet are returned by the next call.
    pub async fn ended(&self) -> Vec<(u64, K)> {
        loop {
            let notified = self.ended.notified();
            let ended = self.take_ended();
            if !ended.is_empty() {
                return ended;
            }
            notified.await;
        }
    }

    /// Returns the guards that are to be ended at the store now, with their numbers.
    #[must_use]
    pub fn take_ended(&self) -> Vec<(u64, K)> {
        std::mem::take(&mut lock(&self.state).ended)
    }

    fn begin(&self, connection: Option<u64>) {
        let mut state = lock(&self.state);
        state.connection = connection;
        for held in state.held.values_mut() {
            held.until = None;
        }
        // They expire by themselves.
        let ended = std::mem::take(&mut state.ended);
        drop(state);
        drop(ended);
    }

    /// Stops renewing a guard. The store keeps it until it expires.
    fn abandon(&self, number: u64) {
        let held = lock(&self.state).held.remove(&number);
        drop(held);
    }

    /// Has a guard ended at the store. A guard that is not placed over the current connection
    /// expires by itself.
    fn end(&self, number: u64) {
        let mut state = lock(&self.state);
        if let Some(held) = state.held.remove(&number)
            && held.until.is_some()
        {
            state.ended.push((number, held.key));
            drop(state);
            self.ended.notify_one();
        }
    }
}

impl<K: Clone> HeldGuards<K> {
    /// Returns the guards that are to be placed or renewed, with their numbers.
    #[must_use]
    pub fn to_renew(&self) -> Vec<(u64, K)> {
        let state = lock(&self.state);
        let held = state.held.iter();
        held.map(|(number, held)| (*number, held.key.clone()))
            .collect()
    }
}

impl<K: Send + Sync> GuardHeld for GuardHolder<K> {
    fn is_placed(&self) -> bool {
        self.guards.is_placed(self.number)
    }

    fn was_invalidated(&mut self) {
        self.invalidate = None;
    }
}

impl<K> Drop for GuardHolder<K> {
    fn drop(&mut self) {
        match self.invalidate.take() {
            Some(invalidate) => {
                self.guards.abandon(self.number);
                invalidate();
            }
            None => self.guards.end(self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    fn connected() -> Arc<HeldGuards<&'static str>> {
        let guards = Arc::new(HeldGuards::default());
        guards.connected(1);
        guards
    }

    #[test]
    fn guard_is_ended_at_the_store_only_if_its_key_was_invalidated() {
        let guards = connected();
        let invalidations = Arc::new(AtomicU32::new(0));
        let hold = |number| {
            let invalidations = Arc::clone(&invalidations);
            guards.hold(number, "k", move || {
                invalidations.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (mut first, second) = (hold(1), hold(2));
        let until = Instant::now() + Duration::from_secs(60);
        guards.placed([(1, Placement::New), (2, Placement::New)], 1, until);
        first.was_invalidated();
        drop(first);
        assert_eq!(guards.take_ended(), [(1, "k")]);
        assert_eq!(invalidations.load(Ordering::SeqCst), 0);
        drop(second);
        assert!(guards.take_ended().is_empty(), "it expires by itself");
        assert_eq!(invalidations.load(Ordering::SeqCst), 1);
        assert!(guards.to_renew().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn guard_is_placed_from_the_reply_of_the_store_until_it_expires() {
        let guards = connected();
        let holder = guards.hold(1, "k", || {});
        assert!(!holder.is_placed());
        let life = Duration::from_secs(5);
        guards.placed([(1, Placement::New)], 2, Instant::now() + life);
        assert!(
            !holder.is_placed(),
            "the reply came over another connection"
        );
        guards.placed([(1, Placement::New)], 1, Instant::now() + life);
        assert!(holder.is_placed());
        tokio::time::advance(life).await;
        assert!(!holder.is_placed());
    }

    #[test]
    fn guard_outlives_its_connection_and_is_not_placed_over_the_next() {
        let guards = connected();
        let mut holder = guards.hold(1, "k", || {});
        let until = Instant::now() + Duration::from_secs(60);
        guards.placed([(1, Placement::New)], 1, until);
        guards.disconnected();
        assert!(!holder.is_placed());
        assert_eq!(guards.to_renew(), [(1, "k")]);
        guards.connected(2);
        holder.was_invalidated();
        drop(holder);
        assert!(
            guards.take_ended().is_empty(),
            "it was not placed over this connection"
        );
    }
}
