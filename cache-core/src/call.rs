//! One call: look in memory, join or lead the flight, look below, load, commit.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use crate::bound::Bound;
use crate::codec::ValueType;
use crate::flight::{Arrival, Leader, Leading, Place, Waiting};
use crate::key::{Arguments, Key};
use crate::outcome::{Landed, Outcome, ShareError, View};
use crate::tier::Claim;

/// A value that memory can hold and hand out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cached",
    label = "a cached value must be `Clone + Send + Sync + 'static`",
    note = "return `Arc<{Self}>`, which is cheap to clone, or derive `Clone` for `{Self}`"
)]
pub trait CacheValue: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Clone + Send + Sync + 'static> CacheValue for V {}

/// How a call treats its value.
pub(crate) struct Terms<V, S> {
    pub(crate) value_type: ValueType<V>,
    /// Whether a value is worth keeping; `None` keeps all.
    pub(crate) keep_if: Option<fn(&V) -> bool>,
    pub(crate) share: S,
}

impl<V, S: Copy> Clone for Terms<V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, S: Copy> Copy for Terms<V, S> {}

/// What a look-up in memory came to.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum Lookup<R, V, S> {
    /// The result.
    Hit(R),
    /// What is needed to go on.
    Miss(Miss<R, V, S>),
}

impl<R, V, S> fmt::Debug for Lookup<R, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Miss(_) => "Miss",
        })
    }
}

/// A call that memory could not answer.
pub struct Miss<R, V, S> {
    bound: Arc<Bound>,
    /// `None` where no key could be made: the body runs, nothing is kept.
    key: Option<Key>,
    terms: Terms<V, S>,
    returns: PhantomData<fn() -> R>,
}

impl<R, V, S> fmt::Debug for Miss<R, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Looks in memory. Allocates nothing on a hit.
#[inline]
pub(crate) fn look_up<R, V, S, A>(
    bound: &Arc<Bound>,
    terms: Terms<V, S>,
    arguments: &A,
) -> Lookup<R, V, S>
where
    R: Outcome<V>,
    V: CacheValue,
    A: serde::Serialize + ?Sized,
{
    let key = match Arguments::encode(arguments, bound.seed) {
        Ok(arguments) => {
            let key = arguments.key(bound.id);
            if let Some(value) = bound.hit(&key, &terms.value_type) {
                return Lookup::Hit(R::value(value));
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
        terms,
        returns: PhantomData,
    })
}

impl<R, V, S> Miss<R, V, S>
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
{
    /// Gets the result: from another caller's load, from a lower tier, or by running `load`.
    ///
    /// Boxed, so that a caller's future does not grow by all of this on its way to a hit.
    ///
    /// # Cancel safety
    /// Cancel safe. A leader that is dropped gives the lead to the next waiter.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Pin<Box<impl Future<Output = R>>>
    where
        F: Future<Output = R>,
    {
        Box::pin(self.run(load))
    }

    async fn run<F>(self, load: impl FnOnce() -> F) -> R
    where
        F: Future<Output = R>,
    {
        let Some(key) = self.key else {
            return load().await;
        };
        let (bound, terms) = (&*self.bound, self.terms);
        loop {
            let waiter = match bound
                .stack
                .flights
                .join(&key, &bound.stack.fences, &bound.fence)
            {
                Place::Lead(leader) => return lead(bound, key, terms, leader, load).await,
                Place::Wait(waiter) => waiter,
            };
            let Some(_waiting) = Waiting::begin(waiter.flight_id()) else {
                // Whoever runs that load waits for this one.
                drop(waiter);
                bound.counters.loads.add_one();
                return load().await;
            };
            bound.counters.waits.add_one();
            match waiter.await {
                Arrival::Landed(landing) => {
                    if let Some(result) = receive(&*landing, terms.share) {
                        return result;
                    }
                    // It ended in something this call's type cannot say.
                }
                Arrival::Lead(leader) => {
                    // After an invalidation newer callers are on a newer flight; the next waiter hears of it in turn.
                    if leader.is_current() {
                        leader.restart(&bound.stack.fences);
                        return lead(bound, key, terms, leader, load).await;
                    }
                }
            }
        }
    }
}

/// A waiter's result.
fn receive<R, V, S>(landing: &(dyn Any + Send + Sync), share: S) -> Option<R>
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
{
    match landing.downcast_ref::<Landed<V>>()? {
        Landed::Value(value) => Some(R::value(value.clone())),
        Landed::Absent => R::absent(),
        Landed::Failed(shared) => share.receive(&**shared).and_then(R::failed),
    }
}

async fn lead<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    leader: Leader,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    // The flight of another may have landed between this call's look and its place in the table.
    if let Some(value) = bound.peek(&key.as_ref(), &terms.value_type) {
        leader.land(Arc::new(Landed::Value(value.clone())));
        return R::value(value);
    }
    let start = leader.start();
    let mut lower = bound.lower_tiers(&key);
    if let Some((value, left)) = bound.find(&key, &mut lower, &terms.value_type).await {
        if leader.is_current() {
            bound.keep(&key, &value, start, Some(left), &terms.value_type);
        }
        leader.land(Arc::new(Landed::Value(value.clone())));
        return R::value(value);
    }
    run_body(bound, key, terms, leader, lower, Claim::Share, load).await
}

/// Runs the body whatever is kept, and replaces it: the load of a refresh.
pub(crate) async fn refresh<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let leader = bound.stack.flights.lead(&key, &bound.stack.fences);
    let lower = bound.lower_tiers(&key);
    run_body(bound, key, terms, leader, lower, Claim::TakeOver, load).await
}

async fn run_body<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    leader: Leader,
    mut lower: crate::bound::LowerTiers<'_>,
    claim: Claim,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let start = leader.start();
    bound.lease(&mut lower, claim, &terms.value_type).await;
    bound.counters.loads.add_one();
    let began = bound.stack.clock.now();
    let outcome = Leading::scope(leader.id(), load()).await;
    // The value alone lives on across the fill: an error type need not be `Send` for that.
    let value = match settle(bound, &key, terms, leader, start, outcome) {
        Ok(value) => value,
        Err(outcome) => return outcome,
    };
    let took = bound.stack.clock.now().since(began);
    bound
        .fill(&key, &value, took, &mut lower, &terms.value_type)
        .await;
    R::value(value)
}

/// Keeps what is to be kept in memory and answers the waiters, who need not wait for the lower tiers nor for this caller
/// to live that long. The value if it is to go to the lower tiers, else the outcome.
fn settle<R, V, S>(
    bound: &Bound,
    key: &Key,
    terms: Terms<V, S>,
    leader: Leader,
    start: u64,
    outcome: R,
) -> Result<V, R>
where
    R: Outcome<V>,
    V: CacheValue,
    S: ShareError<R::Error>,
{
    match outcome.view() {
        View::Value(value) => {
            // A flight that another took the place of must not overwrite what that one brings.
            let kept = terms.keep_if.is_none_or(|keep_if| keep_if(value)) && leader.is_current();
            if kept {
                bound.keep(key, value, start, None, &terms.value_type);
            }
            leader.land(Arc::new(Landed::Value(value.clone())));
            if kept {
                outcome.into_value()
            } else {
                Err(outcome)
            }
        }
        View::Absent => {
            leader.land(Arc::new(Landed::<V>::Absent));
            Err(outcome)
        }
        View::Failed(error) => {
            bound.counters.load_errors.add_one();
            match terms.share.share(error) {
                Some(shared) => leader.land(Arc::new(Landed::<V>::Failed(shared))),
                None => drop(leader),
            }
            Err(outcome)
        }
    }
}
