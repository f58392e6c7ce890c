//! One call: look in memory, join or lead the flight, look below, load, commit.

mod refresh;
mod terms;
mod waits;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::refresh::refresh;
pub(crate) use self::terms::Terms;
pub use self::terms::{CacheValue, Returned, Returns};
use self::waits::Waits;
use crate::blocking;
use crate::bound::{Bound, Hit, LowerTiers, Search, Turn};
use crate::codec::ValueType;
use crate::entry::Held;
use crate::flight::{Arrival, Leader, Leading, Place, Waiting};
use crate::key::{ArgumentList, Arguments, Key};
use crate::outcome::{Landed, Outcome, ShareError, View};

/// What a look-up in memory came to.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum Lookup<T: Returned> {
    /// The result.
    Hit(T::Result),
    /// What is needed to go on.
    Miss(Miss<T>),
}

impl<T: Returned> fmt::Debug for Lookup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Miss(_) => "Miss",
        })
    }
}

/// A call that memory could not answer.
pub struct Miss<T> {
    bound: Arc<Bound>,
    /// `None` where no key could be made: the body runs, nothing is kept.
    key: Option<Key>,
    returned: T,
}

impl<T> fmt::Debug for Miss<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Looks in memory. Allocates nothing on a hit.
#[inline]
pub(crate) fn look_up<T: Returned>(
    bound: &Arc<Bound>,
    returned: T,
    arguments: impl ArgumentList,
) -> Lookup<T> {
    let key = match Arguments::encode(arguments, bound.seed) {
        Ok(arguments) => {
            let key = arguments.key(bound.id);
            if let Some(value) = bound.hit(&key, &returned.terms().value_type) {
                return Lookup::Hit(T::Result::value(value));
            }
            Some(key.to_owned())
        }
        Err(error) => {
            bound.counters.key_errors.add_one();
            tracing::debug!(error = ?error, "a call has no key and is not cached");
            None
        }
    };
    Lookup::Miss(Miss {
        bound: Arc::clone(bound),
        key,
        returned,
    })
}

impl<T: Returned> Miss<T> {
    /// Gets the result: from another caller's load, from a lower tier, or by running `load`.
    ///
    /// Boxed, so that a caller's future does not grow by all of this on its way to a hit.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Pin<Box<impl Future<Output = T::Result>>>
    where
        F: Future<Output = T::Result>,
    {
        Box::pin(self.run(load))
    }

    /// The same on this thread, which waits where another runs the load.
    ///
    /// A panic of the body goes through it, and the lead to the next who waits.
    pub fn load_blocking(self, load: impl FnOnce() -> T::Result) -> T::Result {
        let bound = Arc::clone(&self.bound);
        // Tiers below memory work in the async runtime that they were started in.
        let _entered = match bound.home() {
            None => None,
            Some(home) => match home.enter() {
                None => return load(),
                entered => entered,
            },
        };
        blocking::wait(self.run(move || async move { load() }))
    }

    async fn run<F>(self, load: impl FnOnce() -> F) -> T::Result
    where
        F: Future<Output = T::Result>,
    {
        let Some(key) = self.key else {
            return load().await;
        };
        let (bound, terms) = (&*self.bound, self.returned.terms());
        if bound.is_strong() {
            ask_each_time(bound, key, terms, load).await
        } else {
            take_part(bound, key, terms, load).await
        }
    }
}

/// A call that takes part in the flight of its key, or leads one.
async fn take_part<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let stack = &*bound.stack;
    let mut waits = Waits::default();
    loop {
        let counts = |start, began| bound.counts(&key, start, began);
        let waiter = match stack
            .flights
            .join(&key, &stack.fences, stack.clock.now(), counts)
        {
            Place::Lead(leader) => return lead(bound, key, terms, leader, waits, load).await,
            Place::Wait(waiter) => waiter,
        };
        // A thread must not wait for a task, which it may be the one to run.
        let may_wait = waits.may_wait() && !(bound.is_blocking && waiter.is_of_a_task());
        let waiting = match may_wait {
            true => Waiting::begin(waiter.flight_id()),
            false => None,
        };
        let Some(_waiting) = waiting else {
            drop(waiter);
            return run_alone(bound, load).await;
        };
        bound.counters.waits.add_one();
        match waiter.await {
            Arrival::Landed(landing) => {
                if let Some(result) = receive(&*landing, &terms) {
                    return result;
                }
                // An error that is of no use to this call.
                waits.load_failed();
            }
            Arrival::Failed => {
                waits.load_failed();
                if !terms.share.can_share() {
                    bound.report_unshared_errors();
                }
            }
            Arrival::Lead(leader) => {
                // After an invalidation newer callers are on a newer flight. This call joins that one; each other
                // waiter of this flight takes its lead in turn and does the same.
                if leader.is_current() {
                    leader.restart(&stack.fences, stack.clock.now());
                    return lead(bound, key, terms, leader, waits, load).await;
                }
            }
        }
    }
}

/// Runs the body of a call that may not wait for another one's load. The value is not kept: the load that runs beside
/// it keeps its own.
async fn run_alone<R, V, F>(bound: &Bound, load: impl FnOnce() -> F) -> R
where
    R: Outcome<V>,
    F: Future<Output = R>,
{
    bound.counters.loads.add_one();
    let outcome = load().await;
    if let View::Failed(_) = outcome.view() {
        bound.counters.load_errors.add_one();
    }
    outcome
}

/// The call of a function with memory alone.
pub(crate) async fn plain<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    match bound.hit(&key.as_ref(), &terms.value_type) {
        Some(value) => R::value(value),
        None => take_part(bound, key, terms, load).await,
    }
}

/// A waiter's result.
fn receive<R, V, S>(landing: &(dyn Any + Send + Sync), terms: &Terms<V, S>) -> Option<R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    match landing.downcast_ref()? {
        Landed::Value(held) => (terms.value_type.give)(Arc::clone(held)).map(R::value),
        Landed::Absent => R::absent(),
        Landed::Failed(shared) => terms.share.receive(&**shared).and_then(R::failed),
    }
}

async fn lead<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    leader: Leader,
    mut waits: Waits,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    loop {
        // The flight of another may have landed between this call's look and its place in the table.
        if let Some(held) = bound.peek(&key.as_ref())
            && let Some(value) = (terms.value_type.give)(Arc::clone(&held))
        {
            leader.land(Arc::new(Landed::Value(held)));
            return R::value(value);
        }
        let start = leader.start();
        let mut lower = bound.lower_tiers(&key);
        match bound.find(&key, &mut lower, &terms.value_type).await {
            Search::Found(Hit {
                value,
                left,
                number,
                is_promoted,
                ..
            }) => {
                let held = if leader.is_current() && is_promoted {
                    let number = number.unwrap_or(start);
                    bound.keep_found(&key, &value, number, left, &terms.value_type)
                } else {
                    (terms.value_type.hold)(&value)
                };
                leader.land(Arc::new(Landed::Value(held)));
                return R::value(value);
            }
            Search::Unanswered => {
                if let Some(held) = bound.serve_isolated(&key.as_ref())
                    && let Some(value) = (terms.value_type.give)(Arc::clone(&held))
                {
                    leader.land(Arc::new(Landed::Value(held)));
                    return R::value(value);
                }
            }
            Search::Nowhere => {}
        }
        let claim = waits.claim(bound, &mut lower);
        match bound.lease(&mut lower, claim, &terms.value_type).await {
            Turn::Load => return run_body(bound, key, terms, leader, lower, load).await,
            // A task holds the lease, which this thread may be the one to run.
            Turn::Wait(..) if bound.is_blocking => {
                return run_body(bound, key, terms, leader, lower, load).await;
            }
            Turn::Wait(wakeup, at) => {
                waits
                    .wait(bound, lower, wakeup, at, Some(leader.id()))
                    .await;
                // The waiters have waited for a failed load too, and must not wait for the one of this call.
                if !waits.may_wait() {
                    leader.release_waiters();
                }
                // A value that is read from now on is as of now.
                leader.restart(&bound.stack.fences, bound.stack.clock.now());
            }
        }
    }
}

/// A call that is strongly consistent: it takes part in no flight, whose load may have begun before an
/// invalidation that is not known here. The lease of the lower tier keeps others from loading at the same time.
pub(crate) async fn ask_each_time<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let mut waits = Waits::default();
    loop {
        let start = bound.stack.fences.now();
        let mut lower = bound.lower_tiers(&key);
        let known = bound.known(&key);
        let known_seal = known.as_ref().map(|(seal, _)| *seal);
        lower.ask_strongly(known);
        if let Search::Found(hit) = bound.find(&key, &mut lower, &terms.value_type).await {
            bound.keep_asked(&key, &hit, start, known_seal, &terms.value_type);
            return R::value(hit.value);
        }
        let claim = waits.claim(bound, &mut lower);
        match bound.lease(&mut lower, claim, &terms.value_type).await {
            Turn::Load => {
                let stack = &bound.stack;
                let leader = stack.flights.lead(&key, &stack.fences, stack.clock.now());
                let start = leader.start();
                let result = run_body(bound, key.clone(), terms, leader, lower, load).await;
                if !matches!(result.view(), View::Failed(_)) {
                    bound.drop_older(&key, start);
                }
                return result;
            }
            Turn::Wait(wakeup, at) => waits.wait(bound, lower, wakeup, at, None).await,
        }
    }
}

async fn run_body<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    leader: Leader,
    mut lower: LowerTiers<'_>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    bound.counters.loads.add_one();
    let began = bound.stack.clock.now();
    let outcome = Leading::scope(leader.id(), lower.exclusive_leases(), load()).await;
    // The value alone lives on across the fill: an error type need not be `Send` for that.
    let (value, held) = match settle(bound, &key, terms, &leader, &lower, outcome) {
        Settled::Kept(value, held) => (value, held),
        Settled::Passed(outcome, landed) => {
            // The leases are released before the flight ends: a waiter that gets no result of this load runs its own,
            // and later callers begin a new flight. Each of them would wait for these leases.
            match &landed {
                Some(Landed::Failed(_)) | None => lower.load_failed(),
                Some(Landed::Value(_) | Landed::Absent) => drop(lower),
            }
            match landed {
                Some(landed) => leader.land(Arc::new(landed)),
                None => leader.fail(),
            }
            return outcome;
        }
    };
    let took = bound.stack.clock.now().since(began);
    publish(
        bound,
        &key,
        &value,
        held,
        took,
        leader,
        lower,
        &terms.value_type,
    )
    .await;
    R::value(value)
}

/// Answers those who wait with a value that memory has, and gives it to the lower tiers.
///
/// Nobody need wait for those, nor for this caller to live that long; except where they alone can answer who comes next.
#[expect(clippy::too_many_arguments, reason = "all that a load has come to")]
pub(crate) async fn publish<V>(
    bound: &Bound,
    key: &Key,
    value: &V,
    held: Held,
    took: Duration,
    leader: Leader,
    mut lower: LowerTiers<'_>,
    value_type: &ValueType<V>,
) {
    let landing = Arc::new(Landed::Value(Arc::clone(&held)));
    let start = leader.start();
    let mut leader = Some(leader);
    if bound.has_memory()
        && let Some(leader) = leader.take()
    {
        leader.land(Arc::clone(&landing) as _);
    }
    bound
        .fill(key, value, start, took, &mut lower, value_type)
        .await;
    if lower.replaces() {
        bound.drop_others(key, &held);
    }
    if let Some(leader) = leader {
        leader.land(landing);
    }
}

/// What is left to do after a load.
enum Settled<R, V> {
    /// The value is to go to the lower tiers, and to those who wait.
    Kept(V, Held),
    /// The outcome goes to the caller, and this to the waiters. `None` is an error that cannot be shared.
    Passed(R, Option<Landed>),
}

/// Judges what a load ended in, and keeps in memory what is to be kept.
fn settle<R, V, S>(
    bound: &Bound,
    key: &Key,
    terms: Terms<V, S>,
    leader: &Leader,
    lower: &LowerTiers<'_>,
    outcome: R,
) -> Settled<R, V>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    let landed = match outcome.view() {
        View::Value(value) => {
            // A flight that another took the place of must not overwrite what that one brings.
            let kept = terms.keep_if.is_none_or(|keep_if| keep_if(value)) && leader.is_current();
            if kept {
                let held = bound.keep_loaded(key, value, leader, lower, &terms.value_type);
                return match outcome.into_value() {
                    Ok(value) => Settled::Kept(value, held),
                    Err(outcome) => Settled::Passed(outcome, Some(Landed::Value(held))),
                };
            }
            Some(Landed::Value((terms.value_type.hold)(value)))
        }
        View::Absent => Some(Landed::Absent),
        View::Failed(error) => {
            bound.counters.load_errors.add_one();
            terms.share.share(error).map(Landed::Failed)
        }
    };
    Settled::Passed(outcome, landed)
}
