//! A load that can outlive the call that began it.
//!
//! The call polls the load like a part of itself. When the caller was answered otherwise, or when
//! the call is dropped while other callers wait for the load, the load is handed over to its owner,
//! where it continues: it keeps its lead and its leases, and its value answers the waiters.
//!
//! Nothing here depends on the types of a function: the load leaves its result in a
//! [`ResultSlot`], so that this is compiled once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tracing::Span;

use crate::background::Work;
use crate::cached_function::CachedFunction;
use crate::flight::{Detached, FlightView};
use crate::runtime::CacheRuntime;
use crate::trace::{background_load, in_background};

/// An owner of loads that run in the background.
pub(crate) trait LoadOwner: Send + Sync {
    /// Continues a load. Returns `false` if it was refused, and dropped.
    fn accept(&self, load: Work, caller: Caller) -> bool;
}

impl LoadOwner for CachedFunction {
    fn accept(&self, load: Work, caller: Caller) -> bool {
        let load = caller.continue_in_background(self.name(), load);
        self.report_unless(self.state.handed_over.run(load))
    }
}

impl CachedFunction {
    /// Begins a load in the background, once there is a place. Returns `false` if it was refused,
    /// and dropped.
    pub(crate) fn begin_in_background(&self, load: Work) -> bool {
        let load = Caller::current().continue_in_background(self.name(), load);
        self.report_unless(self.state.loads.run(load))
    }

    fn report_unless(&self, is_accepted: bool) -> bool {
        if !is_accepted {
            self.report_shed();
        }
        is_accepted
    }
}

/// Flights of a load that other callers may wait for.
pub(crate) trait Awaited: Send + Sync {
    /// Returns `true` if other callers wait for one of them.
    fn has_waiters(&self) -> bool;
}

/// The context of a call, as far as its load keeps it in the background.
///
/// The load sees the caller's [`CacheRuntime::scope`]. It sees no other task-local of the caller.
#[derive(Debug)]
pub(crate) struct Caller {
    runtime: Option<CacheRuntime>,
    span: Span,
}

impl Caller {
    /// Returns the caller that is polled now.
    pub(crate) fn current() -> Self {
        Self {
            runtime: CacheRuntime::of_task(),
            span: Span::current(),
        }
    }

    /// Makes a load part of the caller's runtime, and gives it a span of its own. The span follows
    /// from the caller's and is not inside it, because the caller's may end first.
    fn continue_in_background(self, function: &str, load: Work) -> Work {
        let load = match self.runtime {
            Some(runtime) => Box::pin(CacheRuntime::scope(runtime, load)),
            None => load,
        };
        in_background(background_load(function), &self.span, load)
    }
}

/// A load of a flight, while its caller polls it.
///
/// The future is ready when the load has ended; then its [`ResultSlot`] has the result.
///
/// # Cancel safety
/// If it is dropped while other callers wait for the flight, the load is handed over. If no caller
/// waits, or if the owner refuses the load, the load is dropped, and a caller that waits by then
/// takes the lead. A load that panicked is dropped, and its flight fails.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct LateLoad {
    /// `None` after it ended, and while it is polled: a load that panics must not be polled again.
    load: Option<Work>,
    /// `None` for a load that begins its flight later. It is dropped with its caller.
    flight: Option<FlightView>,
    /// The flights of a batch, in place of `flight`.
    batch: Option<Arc<dyn Awaited>>,
    detached: Detached,
    owner: Arc<dyn LoadOwner>,
    caller: Option<Caller>,
}

impl LateLoad {
    /// Makes a load of its flight. It owns the flight's [`Leader`](crate::flight::Leader), and runs
    /// its body in a [`LoadScope`](crate::flight::LoadScope) with `detached`.
    pub(crate) fn new(
        load: Work,
        flight: Option<FlightView>,
        detached: Detached,
        owner: Arc<dyn LoadOwner>,
    ) -> Self {
        Self {
            load: Some(load),
            flight,
            batch: None,
            detached,
            owner,
            caller: Some(Caller::current()),
        }
    }

    /// Makes a load of several flights, as [`new`](Self::new) does.
    pub(crate) fn of_batch(
        load: Work,
        flights: Arc<dyn Awaited>,
        detached: Detached,
        owner: Arc<dyn LoadOwner>,
    ) -> Self {
        let mut late = Self::new(load, None, detached, owner);
        late.batch = Some(flights);
        late
    }

    /// Sets the span from which the load follows once it is handed over, if that is enabled.
    pub(crate) fn is_caused_by(&mut self, span: &Span) {
        if let Some(caller) = self.caller.as_mut().filter(|_| !span.is_disabled()) {
            caller.span = span.clone();
        }
    }

    /// Returns the flight of the load.
    pub(crate) fn flight(&self) -> Option<&FlightView> {
        self.flight.as_ref()
    }

    /// Hands the load over to its owner, because the caller was answered otherwise. Returns `false`
    /// if the owner refused it, and dropped it.
    pub(crate) fn detach(mut self) -> bool {
        self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        let (Some(load), Some(caller)) = (self.load.take(), self.caller.take()) else {
            return false;
        };
        // Set before the owner has the load. Otherwise a body that already runs in the background
        // could still seem to run inside the load that its caller runs.
        self.detached.set();
        self.owner.accept(load, caller)
    }
}

impl Future for LateLoad {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut load) = self.load.take() else {
            return Poll::Ready(());
        };
        let polled = load.as_mut().poll(cx);
        if polled.is_pending() {
            self.load = Some(load);
        }
        polled
    }
}

impl Drop for LateLoad {
    fn drop(&mut self) {
        // A caller that joins after this check takes the lead when the load is dropped below.
        let has_waiters = self.flight.as_ref().is_some_and(FlightView::has_waiters)
            || self
                .batch
                .as_ref()
                .is_some_and(|flights| flights.has_waiters());
        if self.load.is_some() && has_waiters {
            self.hand_over();
        }
    }
}

impl fmt::Debug for LateLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateLoad")
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}

/// Where a load leaves its result for the caller that began it. Clones are one slot.
pub(crate) struct ResultSlot<R>(Arc<Mutex<Option<R>>>);

impl<R> ResultSlot<R> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Leaves the result. It is dropped with the last clone of the slot if the caller does not take
    /// it.
    pub(crate) fn put(&self, result: R) {
        *self.lock() = Some(result);
    }

    /// Takes the result, if the load has ended.
    pub(crate) fn take(&self) -> Option<R> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Clone for ResultSlot<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for ResultSlot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultSlot")
    }
}

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
