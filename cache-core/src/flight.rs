//! Flights: one load in progress, led by one caller and awaited by all others of its key.
//!
//! The leader runs the load on its own task, so the body may borrow. If the leader is dropped, all
//! waiters are woken, the first that polls becomes the leader, and the others wait for it. The lead
//! is not given to a chosen waiter: one that is kept without being polled, as in a branch of a
//! `select!`, would hold the key. If the load [fails](Leader::fail) with an error that cannot be
//! shared, or panics, the flight ends and all its waiters go on at once: passing the lead from one
//! to the next would make the last of them wait for every failed load before its own.
//!
//! Invariants:
//! 1. A flight in the table has a leader, or waiters of which the first that polls becomes the
//!    leader.
//! 2. No waker is registered while a flight has no leader: each waiter was woken since, or has not
//!    been polled yet.
//! 3. A waiter is in `waiters` from when it joins until it is answered, takes the lead, or is
//!    dropped. The last that is dropped removes a flight without a leader from the table.
//! 4. A flight whose load began before a fence is not joined after the fence was raised.
//!
//! Locks: a shard of the table may be held while a flight is locked, never the other way round.
//! Neither is held while a waker or the user's code runs.

mod deadlock;
mod leader;
mod waiter;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

pub(crate) use self::deadlock::{FlightId, HeldLeases, LoadScope, WaitEdge, blocked};
pub(crate) use self::leader::Leader;
pub(crate) use self::waiter::{WaitOutcome, Waiter};
use crate::clock::Moment;
use crate::fence::Fences;
use crate::key::{CarriedHash, FunctionId, Key};
use crate::outcome::LoadOutcome;
use crate::sync::{Mutex, lock};

/// The number of shards of the table, a power of two. A miss holds one for some hundred
/// nanoseconds.
#[cfg(not(schedules))]
const SHARDS: usize = 64;
#[cfg(schedules)]
const SHARDS: usize = 1;

/// The flights of one runtime.
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
}

type Shard = HashMap<Key, Arc<Flight>, CarriedHash>;

struct Flight {
    id: FlightId,
    key: Key,
    /// Set if an async task runs the load. A load of a plain `fn` may run on a thread.
    is_of_a_task: bool,
    state: Mutex<State>,
}

struct State {
    /// The fence's number when the load that now runs began.
    start: u64,
    /// When the load that now runs began.
    began: Moment,
    phase: Phase,
    /// The key was invalidated on this instance since the flight began.
    is_invalidated: bool,
    /// A strong call of the key was answered since the flight began, so its value may be older than
    /// that answer.
    is_outdated: bool,
    /// The value replaces what the tiers have.
    replaces: bool,
    /// Waiters by age, so that the oldest is woken first. `None` until the waiter is polled, and
    /// after it was woken.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_waiter: u64,
    /// Waiters with a smaller number go on by themselves: the load of another instance failed for
    /// which they waited.
    failed_before: u64,
}

enum Phase {
    Led,
    /// The leader was dropped. The first waiter that polls takes the lead.
    Leaderless,
    Completed(LoadOutcome),
    /// The load failed, and there is nothing to give to the waiters.
    Failed,
    /// The leader and all waiters were dropped.
    Abandoned,
}

/// How a caller takes part in a flight.
pub(crate) enum Join {
    /// It runs the load.
    Lead(Leader),
    /// It waits for the caller that runs the load.
    Wait(Waiter),
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Joins the flight of `key`, or begins one at `now`. `may_join` says whether a flight in
    /// progress may be joined, given the number of its load and when the load began.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &Key,
        fences: &Fences,
        now: Moment,
        may_join: impl Fn(u64, Moment) -> bool,
    ) -> Join {
        let mut shard = lock(self.shard(key));
        if let Some(flight) = shard.get(key)
            && let Some(id) = flight.admit(may_join)
        {
            return Join::Wait(Waiter {
                flights: Arc::clone(self),
                flight: Arc::clone(flight),
                id: Some(id),
            });
        }
        Join::Lead(self.begin(&mut shard, key, fences.now(), now, false))
    }

    /// Begins a flight whether or not there is one, with a larger number. Waiters of an older
    /// flight still get the value of that one.
    ///
    /// `replaces` says that the value replaces what the tiers have, as that of a refresh or a put
    /// does.
    pub(crate) fn lead(
        self: &Arc<Self>,
        key: &Key,
        fences: &Fences,
        now: Moment,
        replaces: bool,
    ) -> Leader {
        let mut shard = lock(self.shard(key));
        let leader = self.begin(&mut shard, key, fences.next(), now, true);
        lock(&leader.flight.state).replaces = replaces;
        leader
    }

    fn begin(
        self: &Arc<Self>,
        shard: &mut Shard,
        key: &Key,
        start: u64,
        began: Moment,
        is_of_a_task: bool,
    ) -> Leader {
        let flight = Arc::new(Flight {
            id: FlightId::next(),
            key: key.clone(),
            is_of_a_task,
            state: Mutex::new(State {
                start,
                began,
                phase: Phase::Led,
                is_invalidated: false,
                is_outdated: false,
                replaces: false,
                waiters: BTreeMap::new(),
                next_waiter: 0,
                failed_before: 0,
            }),
        });
        shard.insert(key.clone(), Arc::clone(&flight));
        Leader {
            flights: Arc::clone(self),
            flight,
            ended: false,
        }
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
    /// goes on, since its value replaces that answer.
    pub(crate) fn outdate(&self, key: &Key, answered: u64) {
        let flight = lock(self.shard(key)).get(key).cloned();
        if let Some(flight) = flight {
            let mut state = lock(&flight.state);
            state.is_outdated |= !state.replaces && state.start < answered;
        }
    }

    fn remove(&self, flight: &Arc<Flight>) {
        let mut shard = lock(self.shard(&flight.key));
        if shard
            .get(&flight.key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
        {
            shard.remove(&flight.key);
        }
    }

    fn is_current(&self, flight: &Arc<Flight>) -> bool {
        lock(self.shard(&flight.key))
            .get(&flight.key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
    }

    /// Wakes all waiters of `flight`, whose leader was dropped. The first that polls takes the
    /// lead.
    fn offer_lead(&self, flight: &Arc<Flight>) {
        let (is_abandoned, wakers) = {
            let mut state = lock(&flight.state);
            state.phase = Phase::Leaderless;
            let wakers: Vec<_> = state
                .waiters
                .values_mut()
                .filter_map(Option::take)
                .collect();
            (state.abandon_if_empty(), wakers)
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

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        &self.shards[(key.as_ref().hash >> 48) as usize & (SHARDS - 1)]
    }

    /// Returns the number of flights in progress.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl State {
    /// Ends a flight that has neither a leader nor waiters. Returns `true` if it is to be removed
    /// from the table.
    fn abandon_if_empty(&mut self) -> bool {
        let is_abandoned = matches!(self.phase, Phase::Leaderless) && self.waiters.is_empty();
        if is_abandoned {
            self.phase = Phase::Abandoned;
        }
        is_abandoned
    }
}

impl Flight {
    /// Registers a waiter if the load that runs may answer it.
    fn admit(&self, may_join: impl Fn(u64, Moment) -> bool) -> Option<u64> {
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
fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
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

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
