//! The leader of a flight.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;

use super::deadlock::FlightId;
use super::table::{Flight, Flights, Phase, wake_all};
use super::view::FlightView;
use crate::clock::Moment;
use crate::fence::{Fences, TagStripes};
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::sync::lock;

/// The right and the duty to run a load. A leader that is dropped before it
/// [completes](Leader::complete) or [fails](Leader::fail) leaves the lead to the first waiter that
/// polls.
pub(crate) struct Leader {
    pub(super) flights: Arc<Flights>,
    pub(super) flight: Arc<Flight>,
    pub(super) ended: bool,
}

impl Leader {
    /// Returns the number of the fences when this load began.
    pub(crate) fn start(&self) -> u64 {
        lock(&self.flight.state).start
    }

    /// Returns `true` if new callers of the key would still join this flight.
    pub(crate) fn is_current(&self) -> bool {
        self.flights.is_current(&self.flight) && !lock(&self.flight.state).is_outdated
    }

    /// Dates the load from now, instead of from when the flight began. The stale value that was
    /// offered is withdrawn, because a fence may have voided it; the leader offers the one that it
    /// finds now. The soft deadline stays until the leader sets another one.
    pub(crate) fn restart(&self, fences: &Fences, now: Moment) {
        let _withdrawn = {
            let mut state = lock(&self.flight.state);
            state.start = fences.now();
            state.began = now;
            state.is_outdated = false;
            // The refresh or put that was to replace the value was dropped. This is a load like any
            // other.
            state.replaces = false;
            state.has_body_ended = false;
            // Dropped outside the lock, because the destructor of a value is user code.
            state.stale.take()
        };
    }

    /// Offers a stale value to all callers of the flight. Each judges it itself, at the moment at
    /// which it has no other answer. The waiters are woken, because one whose soft deadline has
    /// passed waits for nothing but this.
    pub(crate) fn offer_stale(&self, stale: StaleValue) {
        let (wakers, _replaced) = {
            let mut state = lock(&self.flight.state);
            (state.take_wakers(), state.stale.replace(stale))
        };
        wake_all(wakers);
    }

    /// Sets the moment at which callers stop to wait if there is a stale value. The waiters are
    /// woken, because they may have joined before there was a deadline.
    pub(crate) fn set_soft_deadline(&self, deadline: Instant) {
        let wakers = {
            let mut state = lock(&self.flight.state);
            state.soft_deadline = Some(deadline);
            state.take_wakers()
        };
        wake_all(wakers);
    }

    /// Notes that the body has returned. From now on callers wait for tiers only, which have time
    /// limits of their own, so their deadlines do not apply any more.
    pub(crate) fn body_ended(&self) {
        lock(&self.flight.state).has_body_ended = true;
    }

    /// Sets the span of the call that leads, after it has taken the lead of another.
    pub(crate) fn set_span(&self, span: Span) {
        let _replaced = std::mem::replace(&mut lock(&self.flight.state).span, span);
    }

    /// Adds tags that the result has. Called before [`complete`](Self::complete): a waiter does not
    /// take the result if one of them was invalidated since the load began.
    pub(crate) fn note_tags(&self, tags: &TagStripes) {
        if tags.is_empty() {
            return;
        }
        let mut state = lock(&self.flight.state);
        state.tags = state.tags.and(tags);
    }

    /// Returns a view of the flight, for a caller that gives this leader to a future.
    pub(crate) fn view(&self) -> FlightView {
        FlightView(Arc::clone(&self.flight))
    }

    /// Returns `true` if the key was [invalidated](Flights::mark_invalidated) on this instance
    /// since the flight began. A raised fence alone does not tell that: the leader's own message to
    /// other instances raises it too.
    pub(crate) fn is_invalidated(&self) -> bool {
        lock(&self.flight.state).is_invalidated
    }

    /// Gives the load a new number, as if it had begun now: values that were read since it began
    /// are older.
    pub(crate) fn renumber(&self, fences: &Fences) {
        lock(&self.flight.state).start = fences.next();
    }

    /// Answers all waiters. Insert the value into memory before calling this: later callers start a
    /// new flight.
    pub(crate) fn complete(mut self, outcome: LoadOutcome) {
        self.end(Phase::Completed(outcome));
    }

    /// Ends the flight without an answer. Each waiter continues by itself, and later callers start
    /// a new flight.
    pub(crate) fn fail(mut self) {
        self.end(Phase::Failed);
    }

    /// Lets the waiters go on by themselves, and keeps the lead for later callers. Called after the
    /// load of another instance failed for which this flight waited, with all its waiters.
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
        let (waiters, _span) = {
            let mut state = lock(&self.flight.state);
            state.phase = phase;
            (std::mem::take(&mut state.waiters), state.take_span())
        };
        wake_all(waiters.into_values().flatten());
    }

    /// Returns the id of the flight.
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
