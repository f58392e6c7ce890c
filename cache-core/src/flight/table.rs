//! The table of flights, and the state that a leader and its waiters share.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;
use tracing::Span;

use super::deadlock::FlightId;
use crate::clock::Moment;
use crate::fence::TagStripes;
use crate::key::{CarriedHash, FunctionId, Key};
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::sync::{Mutex, lock};

/// The number of shards of the table, a power of two. A miss holds one for some hundred
/// nanoseconds.
#[cfg(not(schedules))]
const SHARDS: usize = 64;
#[cfg(schedules)]
const SHARDS: usize = 1;

/// The flights of one runtime.
pub(crate) struct Flights {
    pub(super) shards: Box<[Mutex<Shard>]>,
}

pub(super) type Shard = HashMap<Key, Arc<Flight>, CarriedHash>;

pub(super) struct Flight {
    pub(super) id: FlightId,
    pub(super) key: Key,
    /// Set if an async task runs the load. A load of a plain `fn` may run on a thread.
    pub(super) is_of_a_task: bool,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    /// The fence's number when the load that now runs began.
    pub(super) start: u64,
    /// When the load that now runs began.
    pub(super) began: Moment,
    pub(super) phase: Phase,
    /// The key was invalidated on this instance since the flight began.
    pub(super) is_invalidated: bool,
    /// A strong call of the key was answered since the flight began, so its value may be older than
    /// that answer.
    pub(super) is_outdated: bool,
    /// The value replaces what the tiers have.
    pub(super) replaces: bool,
    /// The body has returned, and its result is being stored.
    pub(super) has_body_ended: bool,
    /// The span of the call that leads, while it does.
    pub(super) span: Span,
    /// The stale value that callers may get in place of the result of the load.
    pub(super) stale: Option<StaleValue>,
    /// The fences of the tags that the result has, as far as they are known. A waiter compares them
    /// with `start` before it takes the result.
    pub(super) tags: TagStripes,
    /// When callers stop to wait if there is a stale value.
    pub(super) soft_deadline: Option<Instant>,
    /// Waiters by age, so that the oldest is woken first. `None` until the waiter is polled, and
    /// after it was woken.
    pub(super) waiters: BTreeMap<u64, Option<Waker>>,
    pub(super) next_waiter: u64,
    /// Waiters with a smaller number go on by themselves: the load of another instance failed for
    /// which they waited.
    pub(super) failed_before: u64,
}

pub(super) enum Phase {
    Led,
    /// The leader was dropped. The first waiter that polls takes the lead.
    Leaderless,
    Completed(LoadOutcome),
    /// The load failed, and there is nothing to give to the waiters.
    Failed,
    /// The leader and all waiters were dropped.
    Abandoned,
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Marks the flight of a key, if there is one, because the key is invalidated. Called before
    /// the fence of the key is raised.
    pub(crate) fn mark_invalidated(&self, key: &Key) {
        let flight = lock(self.shard(key)).get(key).cloned();
        if let Some(flight) = flight {
            lock(&flight.state).is_invalidated = true;
        }
    }

    /// Keeps later callers from joining the flight of a key, and its value from being kept, if it
    /// began before the number `answered`, at which a strong call was answered. A refresh or a put
    /// continues, since its value replaces that answer.
    pub(crate) fn outdate(&self, key: &Key, answered: u64) {
        let flight = lock(self.shard(key)).get(key).cloned();
        if let Some(flight) = flight {
            let mut state = lock(&flight.state);
            state.is_outdated |= !state.replaces && state.start < answered;
        }
    }

    pub(super) fn remove(&self, flight: &Arc<Flight>) {
        let mut shard = lock(self.shard(&flight.key));
        if shard
            .get(&flight.key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
        {
            shard.remove(&flight.key);
        }
    }

    pub(super) fn is_current(&self, flight: &Arc<Flight>) -> bool {
        lock(self.shard(&flight.key))
            .get(&flight.key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
    }

    /// Wakes all waiters of `flight`, whose leader was dropped. The first that polls takes the
    /// lead.
    pub(super) fn offer_lead(&self, flight: &Arc<Flight>) {
        let (is_abandoned, wakers, _span) = {
            let mut state = lock(&flight.state);
            state.phase = Phase::Leaderless;
            let wakers = state.take_wakers();
            (state.abandon_if_empty(), wakers, state.take_span())
        };
        if is_abandoned {
            self.remove(flight);
        }
        wake_all(wakers);
    }

    /// Returns the keys of a function that are being loaded.
    pub(crate) fn keys_of(&self, function: FunctionId) -> Vec<Key> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            keys.extend(shard.keys().filter(|key| key.is_of(function)).cloned());
        }
        keys
    }

    pub(super) fn shard(&self, key: &Key) -> &Mutex<Shard> {
        &self.shards[(key.as_ref().hash >> 48) as usize & (SHARDS - 1)]
    }

    /// Returns the number of flights in progress.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl State {
    /// Takes the wakers of all waiters, which stay in the flight. Wake them after the lock was
    /// released.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.waiters.values_mut().filter_map(Option::take).collect()
    }

    /// Takes the span of the leader. Drop it after the lock was released, because that runs code of
    /// the subscriber.
    pub(super) fn take_span(&mut self) -> Span {
        std::mem::replace(&mut self.span, Span::none())
    }

    /// Ends a flight that has neither a leader nor waiters. Returns `true` if it is to be removed
    /// from the table.
    pub(super) fn abandon_if_empty(&mut self) -> bool {
        let is_abandoned = matches!(self.phase, Phase::Leaderless) && self.waiters.is_empty();
        if is_abandoned {
            self.phase = Phase::Abandoned;
        }
        is_abandoned
    }
}

impl Flight {
    /// Returns `true` if the load that runs may answer later callers.
    pub(super) fn may_be_joined(&self, may_join: impl Fn(u64, Moment) -> bool) -> bool {
        let state = lock(&self.state);
        matches!(state.phase, Phase::Led | Phase::Leaderless)
            && !state.is_outdated
            && may_join(state.start, state.began)
    }

    /// Registers a waiter if the load that runs may answer it.
    pub(super) fn admit(&self, may_join: impl Fn(u64, Moment) -> bool) -> Option<u64> {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Led | Phase::Leaderless
                if !state.is_outdated && may_join(state.start, state.began) =>
            {
                let id = state.next_waiter;
                state.next_waiter += 1;
                state.waiters.insert(id, None);
                Some(id)
            }
            Phase::Led
            | Phase::Leaderless
            | Phase::Completed(_)
            | Phase::Failed
            | Phase::Abandoned => None,
        }
    }
}

/// Wakes all, also if one of the wakers panics.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    struct Rest<I: Iterator<Item = Waker>>(I);

    impl<I: Iterator<Item = Waker>> Drop for Rest<I> {
        fn drop(&mut self) {
            self.0.by_ref().for_each(Waker::wake);
        }
    }

    let mut rest = Rest(wakers.into_iter());
    for waker in rest.0.by_ref() {
        waker.wake();
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}
