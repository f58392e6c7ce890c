//! The keys of a batch whose load may continue in the background.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Held;
use crate::flight::FlightView;
use crate::timer::deadline_after;
use crate::trace::BatchSpan;

/// The state of each key of a late batch, for the caller and for its load.
pub(crate) struct LateItems {
    items: Mutex<Vec<LateItem>>,
    /// When the caller stops to wait if each key has a value, as far as its own loads are
    /// concerned: they begin with the batch.
    soft_deadline: Option<Instant>,
    /// The span of the batch, if it is enabled.
    trace: OnceLock<BatchSpan>,
}

#[derive(Clone, Default)]
pub(super) struct LateItem {
    /// Set if the batch leads the flight of the key. Otherwise it waits for another caller.
    is_led: bool,
    /// `None` also for a strong function, which begins its flights later.
    pub(super) flight: Option<FlightView>,
    /// The result, once it is known.
    pub(super) result: Option<Option<Held>>,
}

impl fmt::Debug for LateItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateItems({})", self.all().len())
    }
}

impl LateItems {
    /// Makes the state of so many keys. `soft_timeout` is that of the function.
    pub(crate) fn new(keys: usize, soft_timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            items: Mutex::new(vec![LateItem::default(); keys]),
            soft_deadline: soft_timeout.map(deadline_after),
            trace: OnceLock::new(),
        })
    }

    /// Sets the span of the batch.
    pub(in crate::load) fn set_trace(&self, trace: BatchSpan) {
        // A batch has one.
        let _ = self.trace.set(trace);
    }

    /// Returns the span of the batch, if it is enabled.
    pub(super) fn trace(&self) -> Option<&BatchSpan> {
        self.trace.get()
    }

    /// Notes that the batch leads the flight of a key.
    pub(in crate::load) fn leads(&self, number: usize, flight: Option<FlightView>) {
        let mut items = self.all();
        items[number].is_led = true;
        items[number].flight = flight;
    }

    /// Returns `true` if the batch leads the flight of a key.
    pub(super) fn is_led(&self, number: usize) -> bool {
        self.all()[number].is_led
    }

    /// Notes the result of a key.
    pub(super) fn ended(&self, number: usize, result: Option<Held>) {
        self.all()[number].result = Some(result);
    }

    /// Returns when the caller stops to wait if each key has a value.
    pub(super) fn soft_deadline(&self) -> Option<Instant> {
        let items = self.all();
        let flights = items.iter().filter_map(|item| item.flight.as_ref());
        let deadlines = flights.filter_map(FlightView::soft_deadline);
        deadlines.chain(self.soft_deadline).min()
    }

    /// Returns `true` if all that is left to do is the storing of values.
    pub(super) fn have_bodies_ended(&self) -> bool {
        self.all().iter().all(|item| {
            let flight = item.flight.as_ref();
            item.result.is_some() || flight.is_some_and(FlightView::has_body_ended)
        })
    }

    pub(super) fn all(&self) -> MutexGuard<'_, Vec<LateItem>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
