//! Flights: one load in progress, led by one caller and awaited by all others of its key.
//!
//! The leader runs the load on its own task, so the body may borrow. If the leader is dropped, all waiters are woken,
//! the first that polls becomes the leader, and the others wait for it. The lead is not given to a chosen waiter: one
//! that is kept without being polled, as in a branch of a `select!`, would hold the key. If the load
//! [fails](Leader::fail) with an error that cannot be shared, or panics, the flight ends and all its waiters go on at
//! once: passing the lead from one to the next would make the last of them wait for every failed load before its own.
//!
//! Invariants:
//! 1. A flight in the table has a leader, or waiters of which the first that polls becomes the leader.
//! 2. No waker is registered while a flight has no leader: each waiter was woken since, or has not been polled yet.
//! 3. A waiter is in `waiters` from when it joins until it is answered, takes the lead, or is dropped. The last that
//!    is dropped removes a flight without a leader from the table.
//! 4. A flight whose load began before a fence is not joined after the fence was raised.
//!
//! Locks: a shard of the table may be held while a flight is locked, never the other way round; neither while a waker
//! or the user's code runs.

mod deadlock;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(crate) use self::deadlock::{FlightId, HeldLeases, LoadScope, WaitEdge, blocked};
use crate::clock::Moment;
use crate::fence::Fences;
use crate::key::{CarriedHash, FunctionId, Key};
use crate::outcome::LoadOutcome;
use crate::sync::{Mutex, lock};

/// Shards of the table: a miss holds one for some hundred nanoseconds. A power of two.
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
    /// Whether an async task runs it, whatever the function is.
    is_of_a_task: bool,
    state: Mutex<State>,
}

struct State {
    /// The fence's number when the load that now runs began.
    start: u64,
    /// When that was.
    began: Moment,
    phase: Phase,
    /// Its key was invalidated here since it began.
    is_invalidated: bool,
    /// A strong call of its key was answered since it began, so what it brings may be older than that answer.
    is_outdated: bool,
    /// Its value replaces what the tiers have.
    replaces: bool,
    /// Waiters by age, so that the oldest is woken first. `None` until the waiter was polled, and after it was woken.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_waiter: u64,
    /// Waiters with a smaller number go on by themselves: the load of another instance failed that they waited for.
    failed_before: u64,
}

enum Phase {
    Led,
    /// The leader was dropped. The first waiter that polls takes the lead.
    Leaderless,
    Completed(LoadOutcome),
    /// The load failed, and there is nothing to give to the waiters.
    Failed,
    /// Everyone has gone.
    Abandoned,
}

/// A caller's place at a key.
pub(crate) enum Join {
    /// It runs the load.
    Lead(Leader),
    /// Another does.
    Wait(Waiter),
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Joins the flight of `key`, or begins one at `now`. `counts` tells of a flight that is under way, by the number of its
    /// load and when that began, whether it still counts.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &Key,
        fences: &Fences,
        now: Moment,
        counts: impl Fn(u64, Moment) -> bool,
    ) -> Join {
        let mut shard = lock(self.shard(key));
        if let Some(flight) = shard.get(key)
            && let Some(id) = flight.admit(counts)
        {
            return Join::Wait(Waiter {
                flights: Arc::clone(self),
                flight: Arc::clone(flight),
                id: Some(id),
            });
        }
        Join::Lead(self.begin(&mut shard, key, fences.now(), now, false))
    }

    /// Begins a flight whether or not there is one, with a number larger than that one's; who waits for an older one still gets
    /// what that one brings.
    ///
    /// `replaces` tells that its value replaces what the tiers have, as that of a refresh or a put does.
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

    /// Tells the flight of a key, if there is one, that the key is invalidated. To be called before its fence is raised.
    pub(crate) fn mark_invalidated(&self, key: &Key) {
        let flight = lock(self.shard(key)).get(key).cloned();
        if let Some(flight) = flight {
            lock(&flight.state).is_invalidated = true;
        }
    }

    /// Keeps later callers from joining the flight of a key, and its value from being kept, if it began before the number
    /// `answered`: a strong call was answered then. A refresh or a put goes on, since its value replaces that answer.
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

    /// Wakes all waiters of `flight`, whose leader was dropped. The first that polls takes the lead.
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

    /// The keys of a function that are loaded at this moment.
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

    /// Flights under way.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl State {
    /// Ends a flight that has neither a leader nor waiters. Returns `true` if it is to be removed from the table.
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
    fn admit(&self, counts: impl Fn(u64, Moment) -> bool) -> Option<u64> {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Led | Phase::Leaderless
                if !state.is_outdated && counts(state.start, state.began) =>
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

/// Wakes all, including those behind one whose waker panics.
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

/// The right, and the duty, to run the load. A leader that is dropped before it has [completed](Leader::complete) or
/// [failed](Leader::fail) leaves the lead to the first waiter that polls.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    ended: bool,
}

impl Leader {
    /// The fence's number when this load began.
    pub(crate) fn start(&self) -> u64 {
        lock(&self.flight.state).start
    }

    /// Whether new callers of the key would still come to this flight.
    pub(crate) fn is_current(&self) -> bool {
        self.flights.is_current(&self.flight) && !lock(&self.flight.state).is_outdated
    }

    /// Says that the load begins now, not when the flight did.
    pub(crate) fn restart(&self, fences: &Fences, now: Moment) {
        let mut state = lock(&self.flight.state);
        state.start = fences.now();
        state.began = now;
        state.is_outdated = false;
        // Whoever was to replace the value has gone: this is a load like any other.
        state.replaces = false;
    }

    /// Whether its key was [invalidated](Flights::mark_invalidated) in this process since it began. A fence that rose alone does not say so: the
    /// leader's own message to other instances raises it too.
    pub(crate) fn is_invalidated(&self) -> bool {
        lock(&self.flight.state).is_invalidated
    }

    /// Gives the load the number of now, as if it had begun now: what was read meanwhile is older.
    pub(crate) fn renumber(&self, fences: &Fences) {
        lock(&self.flight.state).start = fences.next();
    }

    /// Answers all waiters. Insert the value into memory before calling this: later callers start a new flight.
    pub(crate) fn complete(mut self, outcome: LoadOutcome) {
        self.end(Phase::Completed(outcome));
    }

    /// Ends the flight without an answer. Every waiter goes on by itself, and later callers start a new flight.
    pub(crate) fn fail(mut self) {
        self.end(Phase::Failed);
    }

    /// Lets the waiters go on by themselves, and keeps the lead for later callers: the load of another instance failed, for
    /// which this flight waited with all its waiters.
    pub(crate) fn release_waiters(&self) {
        let waiters = {
            let mut state = lock(&self.flight.state);
            state.failed_before = state.next_waiter;
            std::mem::take(&mut state.waiters)
        };
        wake_all(waiters.into_values().flatten());
    }

    fn end(&mut self, phase: Phase) {
        self.ended = true;
        self.flights.remove(&self.flight);
        let waiters = {
            let mut state = lock(&self.flight.state);
            state.phase = phase;
            std::mem::take(&mut state.waiters)
        };
        wake_all(waiters.into_values().flatten());
    }

    /// Identifies the flight.
    pub(crate) fn id(&self) -> FlightId {
        self.flight.id
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // A body that panics once is likely to panic again: the waiters must not queue behind it.
        if std::thread::panicking() {
            self.end(Phase::Failed);
        } else {
            self.flights.offer_lead(&self.flight);
        }
    }
}

/// What a waiter gets.
pub(crate) enum WaitOutcome {
    /// The result of the load.
    Completed(LoadOutcome),
    /// The load failed, and its error cannot be shared. The waiter must not wait for another load of the key.
    Failed,
    /// The lead, since the leader before was dropped.
    Lead(Leader),
}

/// A caller that waits for another's load. Cancel safe: dropped, it leaves the flight.
pub(crate) struct Waiter {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// `None` once it was answered.
    id: Option<u64>,
}

impl Waiter {
    /// Whether an async task runs it: a thread that waits for that may be the one that is to run it.
    pub(crate) fn is_of_a_task(&self) -> bool {
        self.flight.is_of_a_task
    }

    /// Identifies the flight it waits for.
    pub(crate) fn flight_id(&self) -> FlightId {
        self.flight.id
    }
}

impl Future for Waiter {
    type Output = WaitOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitOutcome> {
        let this = &mut *self;
        let flight = &this.flight;
        let Some(id) = this.id else {
            return Poll::Pending;
        };
        let waker = cx.waker().clone();
        let mut state = lock(&flight.state);
        if id < state.failed_before {
            drop(state);
            this.id = None;
            return Poll::Ready(WaitOutcome::Failed);
        }
        match &state.phase {
            Phase::Completed(outcome) => {
                let outcome = outcome.clone();
                drop(state);
                this.id = None;
                Poll::Ready(WaitOutcome::Completed(outcome))
            }
            Phase::Failed => {
                drop(state);
                this.id = None;
                Poll::Ready(WaitOutcome::Failed)
            }
            Phase::Leaderless => {
                state.phase = Phase::Led;
                let known = state.waiters.remove(&id);
                drop(state);
                drop(known);
                this.id = None;
                Poll::Ready(WaitOutcome::Lead(Leader {
                    flights: Arc::clone(&this.flights),
                    flight: Arc::clone(&this.flight),
                    ended: false,
                }))
            }
            // A flight is abandoned only without waiters.
            Phase::Led | Phase::Abandoned => {
                let known = state.waiters.entry(id).or_default().replace(waker);
                drop(state);
                // Outside the lock: it may be the last that holds a task, and that task a waiter of this flight.
                drop(known);
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let (is_abandoned, known) = {
            let mut state = lock(&self.flight.state);
            let known = state.waiters.remove(&id);
            (state.abandon_if_empty(), known)
        };
        drop(known);
        if is_abandoned {
            self.flights.remove(&self.flight);
        }
    }
}

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
