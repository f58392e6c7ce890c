//! The steps of a call, in order. Each has a file of its own.
//!
//! 1. [`look_up`]: memory is asked. On a hit the call ends here.
//! 2. [`Load::join`]: the call joins the flight of its key, or leads one.
//! 3. [`read`]: the leader reads the tiers below memory. [`promote`] copies what it finds to the
//!    tiers above.
//! 4. [`lease`]: the leader takes leases, under which alone a value can be stored. If another
//!    instance holds the lease, the leader [waits](wait) for it and goes back to step 3.
//! 5. The body runs, in code that is compiled for its function (see [`call`](crate::call)).
//! 6. [`keep`]: the value is kept in memory.
//! 7. [`store`]: the waiters are answered, and the value is stored in the lower tiers.
//!
//! [`put`] has the operations without a body. [`visit`] has the state of the lower tiers during one
//! call.
//!
//! None of this depends on the type of the value, except the look-up: values travel as [`Held`],
//! and their own functions are reached through [`ErasedType`]. So it is compiled once, in this
//! crate.
//!
//! # Cancel safety
//! A load that is dropped releases its leases and then its lead; another caller of the key
//! continues.

mod judge;
mod keep;
mod lease;
mod look_up;
mod negative;
mod promote;
mod put;
mod read;
mod retry;
mod store;
mod visit;
mod wait;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use self::judge::{Look, Revalidated};
use self::lease::LeaseTurn;
pub(crate) use self::put::{peek, put};
use self::read::TierLookup;
use self::visit::TierVisits;
use self::wait::RemoteWait;
use crate::cached_function::CachedFunction;
use crate::clock::Moment;
use crate::codec::ErasedType;
pub(crate) use crate::entry::Held;
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
    /// The value of another caller's load, or of any tier.
    Join,
    /// A value that the lower tiers say is current. It takes part in no flight, whose load may have
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
    key: Option<Arc<Key>>,
    value_type: &'a dyn ErasedType,
    mode: Mode,
    wait: RemoteWait,
    /// Set while the body of this call runs, if its value is to be kept.
    running: Option<Running<'a>>,
}

/// The state of a load while its body runs. The leases are released before the lead is handed on.
struct Running<'a> {
    visits: TierVisits<'a>,
    leader: Leader,
    began: Moment,
}

/// The next step of a call.
pub(crate) enum Step {
    /// It returns this, if it can be converted into the call's result.
    Completed(LoadOutcome),
    /// It runs its body, and [finishes](Load::finish) the load.
    Run,
}

/// A value that a body returned.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) held: Held,
    /// Set if the function keeps it (`cache_if`).
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
    /// Makes a load. Without a key nothing is looked up or kept.
    pub(crate) fn new(
        function: &'a CachedFunction,
        key: Option<Key>,
        value_type: &'a dyn ErasedType,
        mode: Mode,
    ) -> Self {
        Self {
            function,
            key: key.map(Arc::new),
            value_type,
            mode,
            wait: RemoteWait::default(),
            running: None,
        }
    }

    /// Continues until the call has its result or must run its body. `can_share` says whether
    /// errors of the function can be shared.
    pub(crate) fn next(&mut self, can_share: bool) -> Boxed<'_, Step> {
        Box::pin(async move {
            let Some(key) = self.key.clone() else {
                return Step::Run;
            };
            match self.mode {
                Mode::Join => self.join(&key, can_share).await,
                Mode::Strong => self.read_strong(&key).await,
                Mode::Refresh => self.replace(&key).await,
            }
        })
    }

    /// Returns `true` if this call leads a flight: its value is kept, and others may wait for it.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Notes that the outcome of another call's load cannot be converted into this call's result.
    /// The call does not wait for a further load.
    pub(crate) fn received_nothing(&mut self) {
        self.wait.load_failed();
    }

    /// Returns the flight that the body runs for, and the leases under which it does.
    pub(crate) fn led(&self) -> Option<(FlightId, HeldLeases)> {
        let running = self.running.as_ref()?;
        Some((running.leader.id(), running.visits.exclusive_leases()))
    }

    /// Keeps and stores what the body returned, and answers the waiters. `None` stands for a body
    /// that found nothing.
    ///
    /// # Cancel safety
    /// If it is dropped, the value may be kept in memory without being stored in the lower tiers.
    pub(crate) fn finish(&mut self, loaded: Option<Loaded>) -> Boxed<'_, ()> {
        Box::pin(self.end(loaded))
    }

    /// Ends the load of a body that failed. `shared` is what the waiters can make an error of.
    pub(crate) fn fail(&mut self, shared: Option<Box<dyn Any + Send + Sync>>) {
        if self.key.is_some() {
            self.function.counters.load_errors.add_one();
        }
        let Some(mut running) = self.running.take() else {
            return;
        };
        // Released before the waiters go on: they take the same leases.
        running.visits.load_failed();
        match shared {
            Some(shared) => running.leader.complete(LoadOutcome::Failed(shared.into())),
            None => running.leader.fail(),
        }
    }

    /// Joins the flight of the key, or leads one.
    async fn join(&mut self, key: &Arc<Key>, can_share: bool) -> Step {
        let function = self.function;
        let state = &*function.state;
        loop {
            let may_join = |start, began| function.may_join(key, start, began);
            let now = state.clock.now();
            let waiter = match state.flights.join(key, &state.fences, now, may_join) {
                Join::Lead(leader) => return self.lead(key, leader).await,
                Join::Wait(waiter) => waiter,
            };
            // A blocked thread must not wait for a task, because it may be the thread that runs the
            // task.
            let may_wait = self.wait.may_wait() && !(function.is_blocking && waiter.is_of_a_task());
            let edge = match may_wait {
                true => WaitEdge::begin(waiter.flight_id()),
                false => None,
            };
            let Some(_edge) = edge else {
                // The value is not kept. The load that runs beside this one keeps its own.
                drop(waiter);
                function.counters.loads.add_one();
                return Step::Run;
            };
            function.counters.waits.add_one();
            match waiter.await {
                WaitOutcome::Completed(outcome) => return Step::Completed(outcome),
                WaitOutcome::Failed => {
                    self.wait.load_failed();
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
    async fn lead(&mut self, key: &Arc<Key>, leader: Leader) -> Step {
        let function = self.function;
        let state = &*function.state;
        let value_type = self.value_type;
        loop {
            // Another flight may have completed after this call's look-up and before it became the
            // leader.
            if let Some(outcome) = function.peek_outcome(key, value_type) {
                return complete(leader, outcome);
            }
            let start = leader.start();
            let mut visits = TierVisits::new(function, key);
            match visits.read(value_type).await {
                TierLookup::Hit(hit) => {
                    if leader.is_current() && hit.is_promoted {
                        function.keep_found(key, &hit, start, value_type);
                    }
                    return complete(leader, hit.outcome());
                }
                TierLookup::Unavailable => {
                    if let Some(outcome) = function.serve_isolated(key, value_type) {
                        return complete(leader, outcome);
                    }
                }
                TierLookup::Miss => {}
            }
            let mode = self.wait.lease_mode(&mut visits);
            match visits.lease(mode, value_type).await {
                LeaseTurn::Load => return self.run(visits, leader),
                // A task holds the lease, and this thread may be the one that runs the task.
                LeaseTurn::Wait(..) if function.is_blocking => return self.run(visits, leader),
                LeaseTurn::Wait(wakeup, at) => {
                    let flight = Some(leader.id());
                    self.wait.wait(visits, wakeup, at, flight).await;
                    // The waiters have waited for a failed load too, and must not wait for the one
                    // of this call.
                    if !self.wait.may_wait() {
                        leader.release_waiters();
                    }
                    // A value that is read from now on is as of now.
                    leader.restart(&state.fences, state.clock.now());
                }
            }
        }
    }

    /// Reads the lower tiers for the value as of now.
    async fn read_strong(&mut self, key: &Arc<Key>) -> Step {
        let function = self.function;
        let state = &*function.state;
        let value_type = self.value_type;
        loop {
            let start = state.fences.now();
            let mut visits = TierVisits::new(function, key);
            let known = function.known(key);
            let known_etag = known.as_ref().map(|(etag, _)| *etag);
            visits.make_strong(known);
            if let TierLookup::Hit(hit) = visits.read(value_type).await {
                function.keep_strong_read(key, &hit, start, known_etag, value_type);
                return Step::Completed(hit.outcome());
            }
            let mode = self.wait.lease_mode(&mut visits);
            match visits.lease(mode, value_type).await {
                LeaseTurn::Load => {
                    let now = state.clock.now();
                    let leader = state.flights.lead(key, &state.fences, now, false);
                    return self.run(visits, leader);
                }
                LeaseTurn::Wait(wakeup, at) => self.wait.wait(visits, wakeup, at, None).await,
            }
        }
    }

    /// Leads a flight whose value replaces what the tiers have.
    async fn replace(&mut self, key: &Arc<Key>) -> Step {
        let function = self.function;
        let state = &*function.state;
        function.drop_disabled(key).await;
        let now = state.clock.now();
        let leader = state.flights.lead(key, &state.fences, now, true);
        let mut visits = TierVisits::new(function, key);
        // In this mode no tier lets the call wait.
        let _ = visits.lease(LeaseMode::Preempt, self.value_type).await;
        self.run(visits, leader)
    }

    fn run(&mut self, visits: TierVisits<'a>, leader: Leader) -> Step {
        self.function.counters.loads.add_one();
        self.running = Some(Running {
            visits,
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
            visits,
            leader,
            began,
        } = running;
        let start = leader.start();
        let is_dropped = loaded.as_ref().is_none_or(|loaded| !loaded.is_kept);
        match loaded {
            // A flight that was replaced must not overwrite the value of the flight that replaced
            // it.
            Some(Loaded { held, .. }) if !is_dropped && leader.is_current() => {
                let took = function.state.clock.now().since(began);
                visits.publish(held, took, leader, self.value_type).await;
            }
            loaded => {
                // Released before the waiters go on: they take the same leases.
                drop(visits);
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

fn complete(leader: Leader, outcome: LoadOutcome) -> Step {
    leader.complete(outcome.clone());
    Step::Completed(outcome)
}

#[cfg(test)]
mod tests;
