//! The load path: what a call does that memory cannot answer.
//!
//! A [`Load`] goes through these steps: it joins the flight of its key or leads one, reads the
//! lower tiers, takes their leases, has the body run, keeps the value in memory, and stores it in
//! the lower tiers. None of this depends on the type of the value: values travel as [`Held`], and
//! their own functions are reached through [`ErasedType`]. So it is compiled once, in this crate.
//! The body alone runs in code that is compiled for its function (see [`call`](crate::call)).
//!
//! # Cancel safety
//! A load that is dropped releases its leases and then its lead; another caller of the key goes on.

mod put;
mod waits;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::put::{peek, put};
use self::waits::RemoteWait;
use crate::bound::{CachedFunction, FencedAfter, LeaseTurn, TierLookup, TierVisits};
use crate::clock::Moment;
use crate::codec::ErasedType;
use crate::entry::Held;
use crate::flight::{FlightId, HeldLeases, Join, Leader, WaitEdge, WaitOutcome};
use crate::key::Key;
use crate::outcome::LoadOutcome;
use crate::tier::LeaseMode;

/// A future of the load path. It is boxed so that its code is not compiled again where it is
/// awaited.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which values a load may take instead of running the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Those of another caller's load, and of any tier.
    Join,
    /// Those that the lower tiers say are current. It takes part in no flight, whose load may have
    /// begun before an invalidation that is not known here; the leases of the lower tiers keep
    /// others from loading at the same time.
    Strong,
    /// None: the body runs and its value replaces what the tiers have.
    Refresh,
}

impl Mode {
    /// The mode of a call of the function.
    pub(crate) fn of_call(function: &CachedFunction) -> Self {
        match function.is_strong() {
            true => Self::Strong,
            false => Self::Join,
        }
    }
}

/// A load of one key, on behalf of one call.
pub(crate) struct Load<'a> {
    function: &'a CachedFunction,
    key: Option<Key>,
    value_type: &'a dyn ErasedType,
    mode: Mode,
    waits: RemoteWait,
    /// Set while the body of this call runs, if its value is to be kept.
    running: Option<Running<'a>>,
}

/// What a load holds while its body runs. The leases are released before the lead is handed on.
struct Running<'a> {
    lower: TierVisits<'a>,
    leader: Leader,
    began: Moment,
}

/// What a call does next.
pub(crate) enum Step {
    /// It returns this, if it can make a result of it.
    Completed(LoadOutcome),
    /// It runs its body, and [finishes](Load::finish) the load.
    Run,
}

/// A value that a body returned.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) held: Held,
    /// Whether the function keeps it (`cache_if`).
    pub(crate) is_kept: bool,
}

impl fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<'a> Load<'a> {
    /// Without a key nothing is looked up or kept.
    pub(crate) fn new(
        function: &'a CachedFunction,
        key: Option<Key>,
        value_type: &'a dyn ErasedType,
        mode: Mode,
    ) -> Self {
        Self {
            function,
            key,
            value_type,
            mode,
            waits: RemoteWait::default(),
            running: None,
        }
    }

    /// Goes on to where the call has its result or must run its body. `can_share` tells whether
    /// errors of the function can be shared.
    pub(crate) fn next(&mut self, can_share: bool) -> Boxed<'_, Step> {
        Box::pin(async move {
            let Some(key) = self.key.clone() else {
                return Step::Run;
            };
            match self.mode {
                Mode::Join => self.join(&key, can_share).await,
                Mode::Strong => self.ask(&key).await,
                Mode::Refresh => self.take_over(&key).await,
            }
        })
    }

    /// Returns `true` if this call leads a flight: its value is kept, and others may wait for it.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Notes that the outcome of another call's load cannot be converted into this call's result. The
    /// call does not wait for a further load.
    pub(crate) fn received_nothing(&mut self) {
        self.waits.load_failed();
    }

    /// The flight that the body runs for, and the leases under which it does.
    pub(crate) fn led(&self) -> Option<(FlightId, HeldLeases)> {
        let running = self.running.as_ref()?;
        Some((running.leader.id(), running.lower.exclusive_leases()))
    }

    /// Keeps and stores what the body returned, and answers the waiters. `None` stands for a body that
    /// found nothing.
    ///
    /// # Cancel safety
    /// Dropped, it may have kept the value in memory without storing it in the lower tiers.
    pub(crate) fn finish(&mut self, loaded: Option<Loaded>) -> Boxed<'_, ()> {
        Box::pin(self.end(loaded))
    }

    /// Ends the load of a body that failed; `shared` is what waiters can make an error of.
    pub(crate) fn fail(&mut self, shared: Option<Box<dyn Any + Send + Sync>>) {
        if self.key.is_some() {
            self.function.counters.load_errors.add_one();
        }
        let Some(mut running) = self.running.take() else {
            return;
        };
        // Released before the waiters go on: they ask for the same leases.
        running.lower.load_failed();
        match shared {
            Some(shared) => running.leader.complete(LoadOutcome::Failed(shared.into())),
            None => running.leader.fail(),
        }
    }

    /// Joins the flight of the key, or leads one.
    async fn join(&mut self, key: &Key, can_share: bool) -> Step {
        let function = self.function;
        let state = &*function.state;
        loop {
            let may_join = |start, began| function.may_join(key, start, began);
            let joined = state
                .flights
                .join(key, &state.fences, state.clock.now(), may_join);
            let waiter = match joined {
                Join::Lead(leader) => return self.lead(key, leader).await,
                Join::Wait(waiter) => waiter,
            };
            // A thread must not wait for a task, which it may be the one to run.
            let may_wait =
                self.waits.may_wait() && !(function.is_blocking && waiter.is_of_a_task());
            let waiting = match may_wait {
                true => WaitEdge::begin(waiter.flight_id()),
                false => None,
            };
            let Some(_waiting) = waiting else {
                // The value is not kept: the load that runs beside this one keeps its own.
                drop(waiter);
                function.counters.loads.add_one();
                return Step::Run;
            };
            function.counters.waits.add_one();
            match waiter.await {
                WaitOutcome::Completed(outcome) => return Step::Completed(outcome),
                WaitOutcome::Failed => {
                    self.waits.load_failed();
                    if !can_share {
                        function.report_unshared_errors();
                    }
                }
                WaitOutcome::Lead(leader) => {
                    // After an invalidation newer callers are on a newer flight. This call joins
                    // that one; each other waiter of this flight takes its lead in turn and does
                    // the same.
                    if leader.is_current() {
                        leader.restart(&state.fences, state.clock.now());
                        return self.lead(key, leader).await;
                    }
                }
            }
        }
    }

    /// Reads the lower tiers on behalf of all callers of the flight, and takes their leases.
    async fn lead(&mut self, key: &Key, leader: Leader) -> Step {
        let function = self.function;
        let state = &*function.state;
        let value_type = self.value_type;
        loop {
            // Another flight may have completed between this call's look-up and its place in the table.
            if let Some(held) = function.peek(&key.as_ref())
                && value_type.is_of(&held)
            {
                return complete(leader, held);
            }
            let start = leader.start();
            let mut lower = function.lower_tiers(key);
            match function.find(key, &mut lower, value_type).await {
                TierLookup::Hit(hit) => {
                    if leader.is_current() && hit.is_promoted {
                        let number = hit.number.unwrap_or(start);
                        function.keep_found(key, &hit.value, number, hit.left, value_type);
                    }
                    return complete(leader, hit.value);
                }
                TierLookup::Unavailable => {
                    if let Some(held) = function.serve_isolated(&key.as_ref())
                        && value_type.is_of(&held)
                    {
                        return complete(leader, held);
                    }
                }
                TierLookup::Miss => {}
            }
            let claim = self.waits.claim(function, &mut lower);
            match function.lease(&mut lower, claim, value_type).await {
                LeaseTurn::Load => return self.run(lower, leader),
                // A task holds the lease, which this thread may be the one to run.
                LeaseTurn::Wait(..) if function.is_blocking => return self.run(lower, leader),
                LeaseTurn::Wait(wakeup, at) => {
                    let flight = Some(leader.id());
                    self.waits.wait(function, lower, wakeup, at, flight).await;
                    // The waiters have waited for a failed load too, and must not wait for the one
                    // of this call.
                    if !self.waits.may_wait() {
                        leader.release_waiters();
                    }
                    // A value that is read from now on is as of now.
                    leader.restart(&state.fences, state.clock.now());
                }
            }
        }
    }

    /// Asks the lower tiers for the value as of now.
    async fn ask(&mut self, key: &Key) -> Step {
        let function = self.function;
        let state = &*function.state;
        let value_type = self.value_type;
        loop {
            let start = state.fences.now();
            let mut lower = function.lower_tiers(key);
            let known = function.known(key);
            let known_etag = known.as_ref().map(|(etag, _)| *etag);
            lower.make_strong(known);
            if let TierLookup::Hit(hit) = function.find(key, &mut lower, value_type).await {
                function.keep_strong_read(key, &hit, start, known_etag, value_type);
                return Step::Completed(LoadOutcome::Value(hit.value));
            }
            let claim = self.waits.claim(function, &mut lower);
            match function.lease(&mut lower, claim, value_type).await {
                LeaseTurn::Load => {
                    let now = state.clock.now();
                    let leader = state.flights.lead(key, &state.fences, now, false);
                    return self.run(lower, leader);
                }
                LeaseTurn::Wait(wakeup, at) => {
                    self.waits.wait(function, lower, wakeup, at, None).await;
                }
            }
        }
    }

    /// Leads a flight whose value replaces what the tiers have.
    async fn take_over(&mut self, key: &Key) -> Step {
        let function = self.function;
        let state = &*function.state;
        function.drop_disabled(key).await;
        let now = state.clock.now();
        let leader = state.flights.lead(key, &state.fences, now, true);
        let mut lower = function.lower_tiers(key);
        // A claim that takes over does not wait.
        let _ = function
            .lease(&mut lower, LeaseMode::Preempt, self.value_type)
            .await;
        self.run(lower, leader)
    }

    fn run(&mut self, lower: TierVisits<'a>, leader: Leader) -> Step {
        self.function.counters.loads.add_one();
        self.running = Some(Running {
            lower,
            leader,
            began: self.function.state.clock.now(),
        });
        Step::Run
    }

    async fn end(&mut self, loaded: Option<Loaded>) {
        let function = self.function;
        let (Some(running), Some(key)) = (self.running.take(), &self.key) else {
            return;
        };
        let Running {
            lower,
            leader,
            began,
        } = running;
        let start = leader.start();
        let is_dropped = loaded.as_ref().is_none_or(|loaded| !loaded.is_kept);
        match loaded {
            // A flight that another took the place of must not overwrite what that one brings.
            Some(Loaded { held, .. }) if !is_dropped && leader.is_current() => {
                let took = function.state.clock.now().since(began);
                publish(function, key, held, took, leader, lower, self.value_type).await;
            }
            loaded => {
                // Released before the waiters go on: they ask for the same leases.
                drop(lower);
                let outcome = loaded.map(|loaded| LoadOutcome::Value(loaded.held));
                leader.complete(outcome.unwrap_or(LoadOutcome::Absent));
            }
        }
        match self.mode {
            Mode::Join => {}
            Mode::Strong => function.drop_older(key, start),
            Mode::Refresh if is_dropped => {
                // A tier that failed has counted it.
                let _ = function.invalidate(key).await;
            }
            Mode::Refresh => {}
        }
    }
}

fn complete(leader: Leader, held: Held) -> Step {
    let outcome = LoadOutcome::Value(held);
    leader.complete(outcome.clone());
    Step::Completed(outcome)
}

/// Keeps a value in memory, answers the waiters, and stores it in the lower tiers.
///
/// The waiters need not wait for the lower tiers, nor for this caller to live that long, if memory
/// answers later callers with the value. Memory does not if it has none, or if it keeps what a strong
/// call found, which this value is to replace.
async fn publish(
    function: &CachedFunction,
    key: &Key,
    held: Held,
    took: Duration,
    leader: Leader,
    lower: TierVisits<'_>,
    value_type: &dyn ErasedType,
) {
    let is_kept = function.keep_loaded(key, &held, &leader, &lower, value_type);
    let outcome = LoadOutcome::Value(Arc::clone(&held));
    let start = leader.start();
    let mut leader = Some(leader);
    // Declared after the leader: the leases are released before the lead if this is dropped.
    let mut lower = lower;
    if function.has_memory()
        && (is_kept || !lower.replaces())
        && let Some(leader) = leader.take()
    {
        leader.complete(outcome.clone());
    }
    // Also if this is dropped.
    let replaced = lower
        .replaces()
        .then(|| FencedAfter(|| function.drop_others(key, &held)));
    function
        .fill(key, &held, start, took, &mut lower, value_type)
        .await;
    drop(replaced);
    if let Some(leader) = leader {
        leader.complete(outcome);
    }
}
