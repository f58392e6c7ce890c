//! A waiter of a flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tracing::Span;

use super::deadlock::FlightId;
use super::leader::Leader;
use super::table::{Flight, Flights, Phase};
use super::view::FlightView;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::sync::lock;

/// The answer to a waiter.
pub(crate) enum WaitOutcome {
    /// The result of the load.
    Completed(LoadOutcome),
    /// The load failed, and its error cannot be shared. The waiter must not wait for another load
    /// of the key.
    Failed,
    /// The lead, since the previous leader was dropped.
    Lead(Leader),
}

/// A caller that waits for the load of another. Cancel safe: if it is dropped, it leaves the
/// flight.
pub(crate) struct Waiter {
    pub(super) flights: Arc<Flights>,
    pub(super) flight: Arc<Flight>,
    /// `None` after the waiter was answered.
    pub(super) id: Option<u64>,
}

impl Waiter {
    /// Returns `true` if an async task runs the load. A blocked thread must not wait for it,
    /// because it may be the thread that runs the task.
    pub(crate) fn is_of_a_task(&self) -> bool {
        self.flight.is_of_a_task
    }

    /// Returns the stale value that the leader offered last. It may be read at any time, also after
    /// the waiter was answered.
    pub(crate) fn stale(&self) -> Option<StaleValue> {
        lock(&self.flight.state).stale.clone()
    }

    /// Returns `true` if the body of the load has returned.
    pub(crate) fn has_body_ended(&self) -> bool {
        lock(&self.flight.state).has_body_ended
    }

    /// Returns when the caller stops to wait if there is a stale value. `None` if the leader has
    /// not set it. The waiter is woken when that changes.
    pub(crate) fn soft_deadline(&self) -> Option<Instant> {
        lock(&self.flight.state).soft_deadline
    }

    /// Makes the span of this caller follow from that of the leader.
    pub(crate) fn follow(&self, span: &Span) {
        if !span.is_disabled() {
            let leader = lock(&self.flight.state).span.clone();
            span.follows_from(&leader);
        }
    }

    /// Returns a view of the flight, which may be read after the waiter was answered.
    pub(crate) fn view(&self) -> FlightView {
        FlightView(Arc::clone(&self.flight))
    }

    /// Returns the id of the flight.
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
                state.has_body_ended = false;
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
            // A flight with a waiter is not abandoned.
            Phase::Led | Phase::Abandoned => {
                let known = state.waiters.entry(id).or_default().replace(waker);
                drop(state);
                // Dropped outside the lock: the waker may be the last owner of a task that waits
                // for this flight, and dropping that task takes the lock.
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
