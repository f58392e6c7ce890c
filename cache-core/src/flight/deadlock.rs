//! Loads that wait for each other.
//!
//! A body may call annotated functions, so one flight can wait for another. If a wait closed a ring
//! (a body that calls its own key, or two bodies that call each other's), no flight in it would
//! ever complete; so the caller that would close the ring runs its own load instead.
//!
//! A ring inside this process is found here, before the wait begins. A ring over several instances
//! goes through the leases of a shared tier, which alone sees all of it: a call that is about to
//! wait for a lease tells the tier which leases of this process are [blocked](blocked) by that
//! wait.
//!
//! The flights that a task leads travel with the task, not with tasks that it spawns: a body that
//! spawns a task, calls its own key there and awaits that task waits for itself, as it would with a
//! mutex.

use std::cell::RefCell;
use std::collections::HashMap;
#[cfg(all(test, not(schedules)))]
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tier::HeldLease;

/// A flight, by a number that no other flight of the process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightId(u64);

impl FlightId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The leases under which a load runs. Other instances may be waiting for them. `None` if there are
/// none: an empty slice would be allocated.
pub(crate) type HeldLeases = Option<Arc<[HeldLease]>>;

/// A flag that says that a load was handed over to the background. Clones are one flag.
///
/// From then on no caller runs the load inside its own: it is inner to no other load, and a load
/// that was around it does not wait for it any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detached(Arc<AtomicBool>);

impl Detached {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A flight that a task leads.
#[derive(Clone, Debug)]
struct Led {
    flight: FlightId,
    leases: HeldLeases,
    /// `None` if the load is never handed over.
    detached: Option<Detached>,
}

thread_local! {
    /// The flights that the task leads which this thread polls, the innermost last.
    static LED_HERE: RefCell<Vec<Led>> = const { RefCell::new(Vec::new()) };
}

fn led_here() -> Vec<Led> {
    LED_HERE
        .try_with(|led| attached(&led.borrow()).to_vec())
        .unwrap_or_default()
}

/// Returns the flights from the innermost load on that was handed over. The loads around that one
/// do not run it any more.
fn attached(led: &[Led]) -> &[Led] {
    let is_detached = |one: &Led| one.detached.as_ref().is_some_and(Detached::is_set);
    &led[led.iter().rposition(is_detached).unwrap_or(0)..]
}

/// The waits of one flight.
struct Waits {
    leases: HeldLeases,
    targets: Vec<Target>,
}

/// A flight that another waits for.
#[derive(Clone, Debug)]
struct Target {
    flight: FlightId,
    /// The wait ends when this is set. `None` for a wait that only its caller ends.
    detached: Option<Detached>,
}

impl Target {
    fn is_awaited(&self) -> bool {
        !self.detached.as_ref().is_some_and(Detached::is_set)
    }

    /// Returns `true` if both are of one wait. A load may both run a flight as an inner one, and
    /// wait for it after it was handed over.
    fn is_same_as(&self, other: &Self) -> bool {
        let is_same_flag = match (&self.detached, &other.detached) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(&one.0, &other.0),
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.flight == other.flight && is_same_flag
    }
}

/// The flights that wait for another from inside their load. The lock is held for a walk over loads
/// that are nested in loads, which are few.
static WAITS: Mutex<Option<HashMap<FlightId, Waits>>> = Mutex::new(None);

fn lock_waits() -> MutexGuard<'static, Option<HashMap<FlightId, Waits>>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait of one flight for another. It is noted until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitEdge(Option<(FlightId, Target)>);

impl WaitEdge {
    /// Notes that the innermost load of this task waits for `flight`. `None` if the wait would
    /// close a ring.
    pub(crate) fn begin(flight: FlightId) -> Option<Self> {
        let led = led_here();
        let Some(innermost) = led.last() else {
            return Some(Self(None));
        };
        let mut waits = lock_waits();
        let waits = waits.get_or_insert_default();
        match reaches(waits, flight, |reached| is_led(&led, reached)) {
            true => None,
            false => {
                let detached = None;
                Some(Self::note(waits, innermost, Target { flight, detached }))
            }
        }
    }

    fn note(waits: &mut HashMap<FlightId, Waits>, from: &Led, to: Target) -> Self {
        let noted = waits.entry(from.flight).or_insert_with(|| Waits {
            leases: from.leases.clone(),
            targets: Vec::new(),
        });
        noted.targets.push(to.clone());
        Self(Some((from.flight, to)))
    }
}

impl Drop for WaitEdge {
    fn drop(&mut self) {
        let Some((from, to)) = &self.0 else { return };
        let mut waits = lock_waits();
        let Some(waits) = waits.as_mut() else { return };
        if let Some(noted) = waits.get_mut(from) {
            if let Some(at) = noted.targets.iter().position(|one| one.is_same_as(to)) {
                noted.targets.swap_remove(at);
            }
            if noted.targets.is_empty() {
                waits.remove(from);
            }
        }
    }
}

fn is_led(led: &[Led], flight: FlightId) -> bool {
    led.iter().any(|one| one.flight == flight)
}

/// Returns `true` if a flight is, or waits for, one that `is_target` accepts.
fn reaches(
    waits: &HashMap<FlightId, Waits>,
    from: FlightId,
    is_target: impl Fn(FlightId) -> bool,
) -> bool {
    let mut open = vec![from];
    let mut seen = Vec::new();
    while let Some(flight) = open.pop() {
        if is_target(flight) {
            return true;
        }
        if !seen.contains(&flight) {
            seen.push(flight);
            let targets = waits.get(&flight).map(|noted| &noted.targets);
            let awaited = targets.into_iter().flatten().filter(|to| to.is_awaited());
            open.extend(awaited.map(|to| to.flight));
        }
    }
    false
}

/// The leases of this process whose loads cannot end before this task continues: those of the loads
/// that it runs, and those of the loads that wait, directly or through others, for one of these or
/// for `flight`, which it leads.
///
/// Empty for a call outside of any load that no caller waits for from inside a load. Such a call
/// cannot be part of a ring.
pub(crate) fn blocked(flight: Option<FlightId>) -> Vec<HeldLease> {
    let led = led_here();
    let mut blocked: Vec<HeldLease> = Vec::new();
    let mut add = |leases: &HeldLeases| {
        for lease in leases.iter().flat_map(|leases| leases.iter()) {
            if !blocked.contains(lease) {
                blocked.push(lease.clone());
            }
        }
    };
    led.iter().for_each(|led| add(&led.leases));
    let is_target = |reached| Some(reached) == flight || is_led(&led, reached);
    if let Some(waits) = lock_waits().as_ref() {
        for (from, noted) in waits {
            if reaches(waits, *from, is_target) {
                add(&noted.leases);
            }
        }
    }
    blocked
}

/// A body that runs as the load of a flight. Calls inside it must know, so each poll of the body is
/// [entered](Self::enter).
#[derive(Debug)]
pub(crate) struct LoadScope {
    led: Vec<Led>,
    /// The load around this one waits for it, and the other flights of its batch for the last one.
    _outer_waits: Vec<WaitEdge>,
}

impl LoadScope {
    /// A body that loads for a flight under leases; `None` if no caller waits for its value.
    #[cfg(all(test, not(schedules)))]
    pub(crate) fn new(inner: Option<(FlightId, HeldLeases)>) -> Self {
        Self::of(inner, None)
    }

    /// A body that loads for these flights, each under its leases; for none if no caller waits for
    /// its values. If the load may be handed over to the background, that sets `detached`.
    pub(crate) fn of(
        inner: impl IntoIterator<Item = (FlightId, HeldLeases)>,
        detached: Option<&Detached>,
    ) -> Self {
        let mut led = led_here();
        let outer = led.len();
        led.extend(inner.into_iter().map(|(flight, leases)| Led {
            flight,
            leases,
            detached: detached.cloned(),
        }));
        let outer_waits = match led.split_at(outer) {
            (_, []) => Vec::new(),
            (around, [others @ .., innermost]) => {
                let waits = |from: &Led, detached: Option<Detached>| {
                    let flight = innermost.flight;
                    let to = Target { flight, detached };
                    WaitEdge::note(lock_waits().get_or_insert_default(), from, to)
                };
                let around = around.last().into_iter();
                let around = around.map(|one| waits(one, innermost.detached.clone()));
                // A call inside the body waits on behalf of the innermost flight. The others of the
                // batch end no sooner, also after the hand-over, so each of them waits for that
                // one.
                around
                    .chain(others.iter().map(|one| waits(one, None)))
                    .collect()
            }
        };
        Self {
            led,
            _outer_waits: outer_waits,
        }
    }

    /// Marks this thread as one that polls the body, until the result is dropped.
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        exchange(&mut self.led);
        Entered(self)
    }

    #[cfg(all(test, not(schedules)))]
    async fn scope<F: Future>(flight: FlightId, leases: HeldLeases, body: F) -> F::Output {
        let mut leading = Self::new(Some((flight, leases)));
        let mut body = std::pin::pin!(body);
        std::future::poll_fn(|cx| {
            let _entered = leading.enter();
            body.as_mut().poll(cx)
        })
        .await
    }
}

/// A poll of a body. Also a panic ends it.
pub(crate) struct Entered<'a>(&'a mut LoadScope);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        exchange(&mut self.0.led);
    }
}

fn exchange(led: &mut Vec<Led>) {
    // The thread may be ending; nothing is polled on it any more.
    let _ = LED_HERE.try_with(|here| std::mem::swap(&mut *here.borrow_mut(), led));
}

#[cfg(all(test, not(schedules)))]
mod tests;
