//! Step 2, for a caller whose time is limited: it waits for a load until its own deadline, or until
//! the load is late and there is a stale value.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{Held, Load, Step};
use crate::cached_function::CachedFunction;
use crate::call_trace::CallOutcome;
use crate::flight::{FlightView, WaitOutcome, Waiter};
use crate::key::Key;
use crate::late_load::LateLoad;
use crate::load_timeout::LoadTimeout;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::timer::{Timer, deadline_after};

/// How the wait of a leader for its own load ended.
pub(crate) enum Waited {
    /// The load ended, and has left its result.
    Done,
    /// The load continues in the background, and the caller gets this value.
    Stale(Held),
    /// The load continues in the background, and there is no value.
    TimedOut(LoadTimeout),
}

/// Why a waiter stops to wait before the load ends.
enum Unanswered {
    /// The load replaces this value, which the waiter may return at once. The leader offered it
    /// after the waiter joined.
    Replaced(StaleValue),
    /// A deadline of the waiter passed. It gets the stale value, if there is one.
    TimedOut(Option<StaleValue>),
}

/// The deadlines of one caller.
pub(super) struct Deadlines {
    hard: Option<Timer>,
    /// The last soft deadline that was seen, which its flight sets.
    soft: Option<(Instant, Timer)>,
}

impl Deadlines {
    pub(super) fn new(hard: Option<Instant>) -> Self {
        Self {
            hard: hard.map(Timer::new),
            soft: None,
        }
    }

    /// Returns `true` if the soft deadline has passed. Registers the waker otherwise.
    pub(super) fn is_late(&mut self, soft: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = soft else { return false };
        let known = self.soft.take().filter(|(known, _)| *known == deadline);
        let (_, timer) = self
            .soft
            .insert(known.unwrap_or_else(|| (deadline, Timer::new(deadline))));
        Pin::new(timer).poll(cx).is_ready()
    }

    /// Returns `true` if the caller must not wait any longer. Registers the waker otherwise.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let hard = self.hard.as_mut();
        hard.is_some_and(|hard| Pin::new(hard).poll(cx).is_ready())
    }
}

impl CachedFunction {
    /// Returns the moment at which a caller that begins to wait now stops to wait. `can_time_out`
    /// says whether its error can say so.
    pub(crate) fn deadline(&self, can_time_out: bool) -> Option<Instant> {
        let hard = self.times.hard_timeout.filter(|_| can_time_out);
        hard.map(deadline_after)
    }

    pub(super) fn timed_out(&self) -> LoadTimeout {
        let hard = self.times.hard_timeout.unwrap_or_default();
        LoadTimeout::new(self.name(), hard)
    }
}

impl Load<'_> {
    /// Waits for the load of another caller. `Err` if the call ends with a stale value, or without
    /// a result.
    pub(super) async fn wait_for(
        &self,
        mut waiter: Waiter,
        key: &Arc<Key>,
    ) -> Result<WaitOutcome, Step> {
        let function = self.function;
        let mut deadlines = Deadlines::new(self.deadline);
        let ended = poll_fn(|cx| {
            if let Poll::Ready(outcome) = Pin::new(&mut waiter).poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            if waiter.has_body_ended() {
                return Poll::Pending;
            }
            // Read after the waiter has registered its waker, which a change of the deadline or of
            // the stale value wakes.
            if let Some(stale) = self.stale_of(&waiter, key) {
                return Poll::Ready(Err(Unanswered::Replaced(stale)));
            }
            if deadlines.is_late(waiter.soft_deadline(), cx)
                && let Some(stale) = self.stale_instead(waiter.stale(), key)
            {
                return Poll::Ready(Err(Unanswered::TimedOut(Some(stale))));
            }
            match deadlines.is_over(cx) {
                true => {
                    let stale = self.stale_instead(waiter.stale(), key);
                    Poll::Ready(Err(Unanswered::TimedOut(stale)))
                }
                false => Poll::Pending,
            }
        });
        let of_stale = |stale: StaleValue| Step::Completed(LoadOutcome::Value(stale.value));
        ended.await.map_err(|unanswered| match unanswered {
            Unanswered::Replaced(stale) => of_stale(stale),
            Unanswered::TimedOut(stale) => {
                function.counters.timeouts.add_one();
                stale.map_or_else(|| Step::TimedOut(function.timed_out()), of_stale)
            }
        })
    }

    /// Waits for the load that this call leads, and hands the load over to the background if it
    /// takes too long.
    pub(crate) async fn wait_for_own(&mut self, mut late: LateLoad) -> Waited {
        let scope = self.own_scope();
        if let Some(span) = scope.span() {
            late.is_caused_by(span);
        }
        let (function, Some(key)) = (self.function, &self.key) else {
            scope.enter(late).await;
            return Waited::Done;
        };
        let mut deadlines = Deadlines::new(self.deadline);
        let ended = poll_fn(|cx| {
            if Pin::new(&mut late).poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let flight = late.flight();
            if flight.is_some_and(FlightView::has_body_ended) {
                return Poll::Pending;
            }
            let stale = || flight.and_then(FlightView::stale);
            if deadlines.is_late(flight.and_then(FlightView::soft_deadline), cx)
                && let Some(stale) = self.stale_instead(stale(), key)
            {
                return Poll::Ready(Err(Some(stale)));
            }
            match deadlines.is_over(cx) {
                true => Poll::Ready(Err(self.stale_instead(stale(), key))),
                false => Poll::Pending,
            }
        });
        let Err(stale) = scope.enter(ended).await else {
            // The load has recorded how it answered the call.
            if let Some(call) = &mut self.trace {
                call.is_answered_elsewhere();
            }
            return Waited::Done;
        };
        function.counters.timeouts.add_one();
        self.answered(match stale {
            Some(_) => CallOutcome::Stale,
            None => CallOutcome::TimedOut,
        });
        late.detach();
        match stale {
            Some(stale) => Waited::Stale(stale.value),
            None => Waited::TimedOut(function.timed_out()),
        }
    }

    /// Returns the stale value that the flight has for this call, if the call need not wait for the
    /// flight: a load in the background replaces the value.
    pub(super) fn stale_of(&self, waiter: &Waiter, key: &Key) -> Option<StaleValue> {
        let stale = waiter.stale()?;
        (self.is_late() && self.function.may_serve_while_revalidating(&stale, key)).then_some(stale)
    }

    /// Counts a call that gets the value that its flight replaces, and records how it is answered:
    /// the value is still fresh if it is loaded ahead of its end.
    pub(super) fn answered_by_flight(&mut self, value: &StaleValue, key: &Key) {
        self.function.counters.waits.add_one();
        self.answered(match self.function.is_fresh(value, key) {
            true => CallOutcome::Hit,
            false => CallOutcome::Stale,
        });
    }

    /// Returns the stale value that a caller gets whose load does not give it one: that of the
    /// flight, or that of memory.
    pub(super) fn stale_instead(
        &self,
        of_flight: Option<StaleValue>,
        key: &Key,
    ) -> Option<StaleValue> {
        let function = self.function;
        if !self.takes_stale() {
            return None;
        }
        let is_servable = |stale: &StaleValue| function.may_serve_stale(stale, key);
        let of_flight = of_flight.filter(is_servable);
        of_flight.or_else(|| function.stale_value(key).filter(is_servable))
    }
}
