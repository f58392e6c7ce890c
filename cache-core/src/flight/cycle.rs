//! Loads that wait for each other.
//!
//! A body may call annotated functions, so that one flight waits for another. Where a wait would close a ring (a body
//! that calls its own key, or two that call each other's) nobody would ever land; the caller that would close it runs
//! its own load instead.
//!
//! What a task leads travels with the task, not with what it spawns: a body that spawns a task, calls its own key there
//! and awaits that task waits for itself, as it would with a mutex.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Flight;

/// A flight, by its address: valid while it is led or awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(usize);

impl FlightId {
    pub(super) fn of(flight: &Arc<Flight>) -> Self {
        Self(Arc::as_ptr(flight) as usize)
    }
}

tokio::task_local! {
    /// The flights that this task leads: the innermost last.
    static LED_HERE: Vec<FlightId>;
}

/// Which flight waits for which, where one waits from inside another. Held for a walk over loads that are nested in
/// loads, which are few.
static WAITS: Mutex<Option<HashMap<FlightId, Vec<FlightId>>>> = Mutex::new(None);

fn waits() -> MutexGuard<'static, Option<HashMap<FlightId, Vec<FlightId>>>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait of one flight for another, noted while it lasts.
#[derive(Debug)]
pub(crate) struct Waiting(Option<(FlightId, FlightId)>);

impl Waiting {
    /// Notes that this task, in whatever it leads, waits for `flight`; `None` when that would close a ring.
    pub(crate) fn begin(flight: FlightId) -> Option<Self> {
        LED_HERE
            .try_with(|led| {
                let innermost = *led.last()?;
                let mut waits = waits();
                let waits = waits.get_or_insert_default();
                if reaches(waits, flight, led) {
                    return None;
                }
                waits.entry(innermost).or_default().push(flight);
                Some(Self(Some((innermost, flight))))
            })
            .unwrap_or(Some(Self(None)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some((from, to)) = self.0 else { return };
        let mut waits = waits();
        let Some(waits) = waits.as_mut() else { return };
        if let Some(targets) = waits.get_mut(&from) {
            if let Some(at) = targets.iter().position(|target| *target == to) {
                targets.swap_remove(at);
            }
            if targets.is_empty() {
                waits.remove(&from);
            }
        }
    }
}

fn reaches(waits: &HashMap<FlightId, Vec<FlightId>>, from: FlightId, targets: &[FlightId]) -> bool {
    let mut open = vec![from];
    let mut seen = Vec::new();
    while let Some(flight) = open.pop() {
        if targets.contains(&flight) {
            return true;
        }
        if !seen.contains(&flight) {
            seen.push(flight);
            open.extend(waits.get(&flight).into_iter().flatten());
        }
    }
    false
}

/// Runs a body as the load of a flight.
#[derive(Debug)]
pub(crate) struct Leading;

impl Leading {
    /// Whether this task runs a load.
    pub(crate) fn is_under_way() -> bool {
        LED_HERE.try_with(|led| !led.is_empty()).unwrap_or(false)
    }

    /// Runs `body`, which loads for `flight`, so that calls inside it know.
    pub(crate) async fn scope<F: Future>(flight: FlightId, body: F) -> F::Output {
        let (led, _outer_waits) = LED_HERE
            .try_with(|outer| {
                let mut led = outer.clone();
                let outer_waits = led.last().map(|outer| note(*outer, flight));
                led.push(flight);
                (led, outer_waits)
            })
            .unwrap_or_else(|_| (vec![flight], None));
        LED_HERE.scope(led, body).await
    }
}

/// Notes that the load of `outer` is inside of that of `inner`.
fn note(outer: FlightId, inner: FlightId) -> Waiting {
    waits()
        .get_or_insert_default()
        .entry(outer)
        .or_default()
        .push(inner);
    Waiting(Some((outer, inner)))
}
