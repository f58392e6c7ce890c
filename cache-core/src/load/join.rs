//! Step 2: the call joins the flight of its key, or leads one.

use std::sync::Arc;

use super::lease::LeaseTurn;
use super::read::{StaleHit, TierHit, TierLookup};
use super::visit::TierVisits;
use super::{Load, Mode, Revalidated, Step};
use crate::cached_function::CachedFunction;
use crate::call_trace::{CallOutcome, StepKind, StepTimer};
use crate::flight::{Detached, Join, Leader, WaitEdge, WaitOutcome, Waiter};
use crate::key::Key;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::stats::Counter;
use crate::tier::LeaseMode;
use crate::trace;

impl CachedFunction {
    /// Joins the flight of a key, or leads one.
    pub(super) fn join_flight(&self, key: &Arc<Key>) -> Join {
        let may_join = |start, began| self.may_join(key, start, began);
        let state = &*self.state;
        let now = state.clock.now();
        state.flights.join(key, &state.fences, now, may_join)
    }
}

impl<'a> Load<'a> {
    /// Joins the flight of the key, or leads one.
    pub(super) async fn join(&mut self, key: &Arc<Key>, can_share: bool) -> Step {
        let joined = match self.begun.leader.take() {
            Some(leader) => Join::Lead(leader),
            None => self.function.join_flight(key),
        };
        let leader = match joined {
            Join::Lead(leader) => leader,
            // Boxed, because a call that leads is to have a small future.
            Join::Wait(waiter) => {
                match Box::pin(self.wait_for_flight(key, waiter, can_share)).await {
                    Ok(step) => return step,
                    Err(leader) => leader,
                }
            }
        };
        match self.mode {
            Mode::JoinLate => Step::Lead(Some(leader)),
            Mode::Join | Mode::JoinFresh | Mode::Strong | Mode::Refresh => {
                self.lead(key, leader).await
            }
        }
    }

    /// Waits for the flight of the key, and joins a newer one if that has no result for this call.
    /// `Err` if the call is to lead a flight.
    async fn wait_for_flight(
        &mut self,
        key: &Arc<Key>,
        mut waiter: Waiter,
        can_share: bool,
    ) -> Result<Step, Leader> {
        let function = self.function;
        let state = &*function.state;
        loop {
            if let Some(stale) = self.stale_of(&waiter, key) {
                self.answered_by_flight(&stale, key);
                return Ok(Step::Completed(LoadOutcome::Value(stale.value)));
            }
            let edge = match self.begin_wait(&waiter) {
                Ok(edge) => edge,
                Err(reason) => {
                    // The value is not kept. The load that runs beside this one keeps its own.
                    reason.add_one();
                    drop(waiter);
                    return Ok(Step::Run);
                }
            };
            function.counters.waits.add_one();
            waiter.follow(&trace::current());
            // It is out of date after the load of another caller.
            self.begun.read = None;
            let flight = waiter.view();
            let mut step = StepTimer::begin(|| StepKind::Flight);
            let waited = self.wait_for(waiter, key).await;
            step.end(None);
            drop(edge);
            match waited {
                Err(step) => {
                    self.answered(match step {
                        Step::TimedOut(_) => CallOutcome::TimedOut,
                        _ => CallOutcome::Stale,
                    });
                    return Ok(step);
                }
                Ok(WaitOutcome::Completed(LoadOutcome::Stale(stale))) => {
                    if self.takes_stale() && function.may_serve_stale(&stale, key) {
                        self.answered(CallOutcome::Stale);
                        function.report_stale_on_error();
                        return Ok(Step::Completed(LoadOutcome::Value(stale.value)));
                    }
                    self.wait.load_failed();
                }
                // A tag of the result was invalidated, so this call may have begun after that. It
                // joins a newer flight, or leads one.
                Ok(WaitOutcome::Completed(_)) if !function.may_take(&flight) => {}
                Ok(WaitOutcome::Completed(outcome)) => {
                    self.answered(CallOutcome::Joined);
                    return Ok(Step::Completed(outcome));
                }
                Ok(WaitOutcome::Failed) => {
                    self.wait.load_failed();
                    if !can_share {
                        function.report_unshared_errors();
                    }
                }
                Ok(WaitOutcome::Lead(leader)) => {
                    // After an invalidation newer callers are on a newer flight. This call joins
                    // that one; each other waiter of this flight takes its lead in turn and does
                    // the same.
                    if leader.is_current() {
                        leader.set_span(trace::current());
                        leader.restart(&state.fences, state.clock.now());
                        return Err(leader);
                    }
                }
            }
            waiter = match function.join_flight(key) {
                Join::Lead(leader) => return Err(leader),
                Join::Wait(waiter) => waiter,
            };
        }
    }

    /// Begins a wait for the load of another caller. `Err` is the counter of the reason why the
    /// call is not to wait.
    fn begin_wait(&self, waiter: &Waiter) -> Result<WaitEdge, &'a Counter> {
        let function = self.function;
        let uncached = &function.counters.uncached;
        if !self.wait.may_wait() {
            return Err(&uncached.impatient);
        }
        // A blocked thread must not wait for a task, because it may be the thread that runs the
        // task.
        if function.is_blocking && waiter.is_of_a_task() {
            return Err(&uncached.blocking);
        }
        WaitEdge::begin(waiter.flight_id()).ok_or(&uncached.recursive)
    }

    /// Reads the lower tiers on behalf of all callers of the flight, and takes their leases.
    pub(super) async fn lead(&mut self, key: &Arc<Key>, mut leader: Leader) -> Step {
        let place = self.place;
        if let Some(place) = place {
            place.leads(Some(leader.id()));
        }
        // Set if the caller has no value that it may return while the key is backed off.
        let mut must_load = false;
        let step = loop {
            let (leading, visits) = match self.find(key, leader).await {
                Ok(step) => break step,
                Err(found) => found,
            };
            leader = match self.take_turn(key, leading, visits, &mut must_load).await {
                Ok(step) => break step,
                Err(leading) => leading,
            };
        };
        if let Some(place) = place {
            place.leads(None);
        }
        step
    }

    /// Looks for a value in memory, and then in the lower tiers. `Err` if there is none that the
    /// call returns, with what the tiers have said.
    async fn find(
        &mut self,
        key: &Arc<Key>,
        leader: Leader,
    ) -> Result<Step, (Leader, Box<TierVisits<'a>>)> {
        let function = self.function;
        let value_type = self.value_type;
        // Another flight may have completed after this call's look-up and before it became the
        // leader.
        if !self.needs_value
            && let Some((outcome, tags)) = function.peek_outcome(key, value_type)
        {
            leader.note_tags(&tags);
            self.answered_by_memory(CallOutcome::Hit);
            return Ok(complete(leader, outcome));
        }
        if self.takes_stale()
            && let Some(stale) = function.backed_off_value(key)
        {
            function.counters.backed_off.add_one();
            self.answered(CallOutcome::Stale);
            let outcome = LoadOutcome::Value(Arc::clone(&stale.value));
            leader.complete(LoadOutcome::Stale(stale));
            return Ok(Step::Completed(outcome));
        }
        let start = leader.start();
        self.stale = function.stale_value(key);
        let mut visits = self.visits(key);
        match visits.read(value_type).await {
            // The call cannot return that there is no value.
            TierLookup::Hit(hit) if self.needs_value && hit.value.is_none() => {}
            TierLookup::Hit(hit) => {
                if leader.is_current() && hit.is_promoted {
                    function.keep_found(key, &hit, start, value_type);
                }
                self.answered_by(&hit);
                return Ok(self.complete_found(leader, &hit, start));
            }
            TierLookup::Stale(hit) => {
                let at = hit.at;
                visits.count_miss(&hit);
                let found = self.keep_stale(key, hit, &leader);
                if self.may_revalidate(&found, key) {
                    function.lower[at].counters.stale_hits.add_one();
                    self.answered_by_stale(at);
                    return Ok(self.answer_and_revalidate(key, leader, found));
                }
            }
            TierLookup::Unavailable => {
                if !self.needs_value
                    && let Some(isolated) = function.serve_isolated(key, value_type)
                {
                    leader.note_tags(&isolated.tags);
                    self.answered_by_memory(isolated.answer);
                    return Ok(complete(leader, isolated.outcome));
                }
                if let Some(stale) = self.stale.clone()
                    && self.may_revalidate(&stale, key)
                {
                    function.count_isolated_hit();
                    self.answered(CallOutcome::Stale);
                    return Ok(self.answer_and_revalidate(key, leader, stale));
                }
            }
            TierLookup::Miss => {}
        }
        Err((leader, visits))
    }

    /// Takes the leases of the lower tiers, or waits for the load of another instance. `Err` if the
    /// call looks for a value again.
    async fn take_turn(
        &mut self,
        key: &Arc<Key>,
        leader: Leader,
        mut visits: Box<TierVisits<'a>>,
        must_load: &mut bool,
    ) -> Result<Step, Leader> {
        let function = self.function;
        if let Some(stale) = &self.stale {
            leader.offer_stale(stale.clone());
        }
        let mode = match self.wait.lease_mode(&mut visits) {
            LeaseMode::Exclusive if self.stale.is_some() && !*must_load => LeaseMode::Refresh,
            mode => mode,
        };
        match visits.lease(mode, self.value_type).await {
            // The load of another instance failed, and the callers that waited for it have left.
            // Otherwise each instance would run a body that no call needs.
            LeaseTurn::Load if !self.wait.may_wait() && self.is_abandoned(&leader) => {
                self.answered(CallOutcome::TimedOut);
                return Ok(Step::TimedOut(function.timed_out()));
            }
            LeaseTurn::Load => return Ok(self.run(visits, leader)),
            // Only a tier that breaks its contract answers so to a caller that needs a value.
            LeaseTurn::BackedOff(_) if *must_load => return Ok(self.run(visits, leader)),
            // A task holds the lease, and this thread may be the one that runs the task.
            LeaseTurn::Wait(..) if function.is_blocking => return Ok(self.run(visits, leader)),
            LeaseTurn::BackedOff(left) => {
                function.note_back_off(key, left, None);
                if let Some(stale) = self.stale_instead(self.stale.clone(), key) {
                    drop(visits);
                    self.answered(CallOutcome::Stale);
                    function.counters.backed_off.add_one();
                    leader.complete(LoadOutcome::Stale(stale.clone()));
                    return Ok(Step::Completed(LoadOutcome::Value(stale.value)));
                }
                // The value was invalidated since, or is too old now.
                *must_load = true;
            }
            LeaseTurn::Wait(wakeup, at) => {
                let flight = Some(leader.id());
                Box::pin(self.wait.wait(visits, wakeup, at, flight)).await;
                if !self.wait.may_wait() {
                    // The source failed for the other instance. If each instance asked it too, an
                    // outage would cost a load of each.
                    if let Some(stale) = self.stale_instead(self.stale.clone(), key) {
                        self.answered(CallOutcome::Stale);
                        function.report_stale_on_error();
                        leader.complete(LoadOutcome::Stale(stale.clone()));
                        return Ok(Step::Completed(LoadOutcome::Value(stale.value)));
                    }
                    // The waiters have waited for a failed load too, and must not wait for the one
                    // of this call.
                    leader.release_waiters();
                }
                // A value that is read from now on is as of now.
                let state = &function.state;
                leader.restart(&state.fences, state.clock.now());
            }
        }
        Err(leader)
    }

    /// Returns `true` if the load continues in the background, and no caller waits for it.
    fn is_abandoned(&self, leader: &Leader) -> bool {
        self.detached.as_ref().is_some_and(Detached::is_set) && !leader.view().has_waiters()
    }

    /// Answers all callers of the flight with what a tier has. If the value is due, the call also
    /// begins the load that replaces it. `start` is the number of the flight before the read.
    fn complete_found(&self, leader: Leader, hit: &TierHit, start: u64) -> Step {
        let outcome = hit.outcome();
        leader.note_tags(&hit.tags);
        leader.complete(outcome.clone());
        match self.if_due(hit, start) {
            None => Step::Completed(outcome),
            Some(revalidated) => Step::Revalidate(outcome, revalidated),
        }
    }

    /// Keeps a stale value that a lower tier has, so that later callers find it in memory.
    pub(super) fn keep_stale(&mut self, key: &Key, hit: StaleHit, leader: &Leader) -> StaleValue {
        let function = self.function;
        let start = hit.number.unwrap_or_else(|| leader.start());
        let found = StaleValue {
            value: hit.value,
            start,
            dated: start,
            fresh_until: hit.freshness.end(function.state.clock.now()),
            is_expired: hit.is_expired,
            tags: hit.tags,
        };
        if leader.is_current() {
            function.keep_stale(key, &found, hit.is_expired, self.value_type);
        }
        let known = self.stale.take();
        let newer = known.filter(|known| known.fresh_until > found.fresh_until);
        self.stale.insert(newer.unwrap_or(found)).clone()
    }

    /// Returns `true` if the call may return the value at once, and another load replaces it.
    fn may_revalidate(&self, stale: &StaleValue, key: &Key) -> bool {
        self.is_late() && self.function.may_serve_while_revalidating(stale, key)
    }

    /// Answers all callers of the flight with a stale value. One of them begins the load that
    /// replaces it.
    fn answer_and_revalidate(&self, key: &Key, leader: Leader, stale: StaleValue) -> Step {
        let outcome = LoadOutcome::Value(Arc::clone(&stale.value));
        leader.note_tags(&stale.tags);
        leader.complete(outcome.clone());
        if !self.function.claims_load_of(key) {
            return Step::Completed(outcome);
        }
        let revalidated = Revalidated {
            stale: Some(stale),
            ..Revalidated::default()
        };
        Step::Revalidate(outcome, revalidated)
    }

    /// Returns the value as one that a load in the background replaces, if it is due, and only for
    /// a function without memory: an entry in memory is due at its own moment.
    ///
    /// The load offers the value to its callers, as it does a stale one, so that none of them waits
    /// for the load while the value is fresh.
    fn if_due(&self, hit: &TierHit, start: u64) -> Option<Revalidated> {
        let function = self.function;
        if function.has_memory() || !self.is_late() {
            return None;
        }
        let value = Arc::clone(hit.value.as_ref()?);
        let gap = function.refresh_gap(hit.life, hit.load);
        let due_within = gap.filter(|gap| hit.left <= *gap)?;
        let start = hit.number.unwrap_or(start);
        Some(Revalidated {
            stale: Some(StaleValue {
                value,
                start,
                dated: start,
                fresh_until: function.state.clock.now().after(hit.left),
                is_expired: false,
                tags: hit.tags.clone(),
            }),
            due_within,
        })
    }

    /// Reads the lower tiers for the value as of now.
    pub(super) async fn read_strong(&mut self, key: &Arc<Key>) -> Step {
        let function = self.function;
        let state = &*function.state;
        let value_type = self.value_type;
        loop {
            let start = state.fences.now();
            let mut visits = self.visits(key);
            let known = function.known(key);
            let known_etag = known.as_ref().map(|(record, _)| record.etag);
            visits.make_strong(known);
            match visits.read(value_type).await {
                // The call cannot return that there is no value.
                TierLookup::Hit(hit) if self.needs_value && hit.value.is_none() => {}
                TierLookup::Hit(hit) => {
                    function.keep_direct_read(key, &hit, start, known_etag, value_type);
                    self.answered_by(&hit);
                    return Step::Completed(hit.outcome());
                }
                TierLookup::Stale(hit) => visits.count_miss(&hit),
                TierLookup::Miss | TierLookup::Unavailable => {}
            }
            let mode = self.wait.lease_mode(&mut visits);
            match visits.lease(mode, value_type).await {
                // Only a load that has a stale value is backed off.
                LeaseTurn::Load | LeaseTurn::BackedOff(_) => {
                    let now = state.clock.now();
                    let leader = state.flights.lead(key, &state.fences, now, false);
                    return self.run(visits, leader);
                }
                LeaseTurn::Wait(wakeup, at) => self.wait.wait(visits, wakeup, at, None).await,
            }
        }
    }

    /// Leads a flight whose value replaces what the tiers have.
    pub(super) async fn replace(&mut self, key: &Arc<Key>) -> Step {
        let function = self.function;
        let state = &*function.state;
        function.drop_disabled(key).await;
        let now = state.clock.now();
        let leader = state.flights.lead(key, &state.fences, now, true);
        let mut visits = self.visits(key);
        // In this mode no tier lets the call wait.
        let _ = visits.lease(LeaseMode::Preempt, self.value_type).await;
        self.run(visits, leader)
    }
}

/// Answers all callers of a flight.
pub(super) fn complete(leader: Leader, outcome: LoadOutcome) -> Step {
    leader.complete(outcome.clone());
    Step::Completed(outcome)
}
