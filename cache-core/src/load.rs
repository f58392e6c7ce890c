//! The steps of a call, in order. Each has a file of its own.
//!
//! 1. [`look_up`]: memory is asked. On a hit the call ends here.
//! 2. [`join`]: the call joins the flight of its key, or leads one.
//! 3. [`read`]: the leader reads the tiers below memory. [`promote`] copies what it finds to the
//!    tiers above.
//! 4. [`lease`]: the leader takes leases, under which alone a value can be stored. If another
//!    instance holds the lease, the leader [waits](wait) for it and goes back to step 3.
//! 5. The [body] runs, in code that is compiled for its function (see [`call`](crate::call)).
//! 6. [`keep`]: the result is kept in memory. If the body failed, see [`failure`].
//! 7. [`store`]: the waiters are answered, and the result is stored in the lower tiers.
//!
//! A [`batch`] has a load for each key, after a [`first_read`] of all its keys.
//!
//! [`revalidate`] does steps 3 and 4 for a value that is to be replaced in the background. [`put`]
//! has the operations without a body. [`visit`] has the state of the lower tiers during one call.
//!
//! None of this depends on the type of the value, except the look-up: values travel as [`Held`],
//! and their own functions are reached through [`ErasedType`]. So it is compiled once, in this
//! crate.
//!
//! # Cancel safety
//! A load that is dropped releases its leases and then its lead; another caller of the key
//! continues.

mod batch;
mod body;
mod body_limit;
mod body_timer;
mod explain;
mod failure;
mod first_read;
mod gather;
mod join;
mod judge;
mod keep;
mod lease;
mod look;
mod look_up;
mod marks;
mod negative;
mod promote;
mod put;
mod read;
mod retry;
mod revalidate;
mod stand_in;
mod store;
mod traced;
mod visit;
mod wait;
mod wait_for;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::batch::{BatchStep, Items, LateBatch, LateItems, Share, WaitedBatch};
pub(crate) use self::body_limit::BodyLimit;
use self::body_timer::BodyTimer;
pub(crate) use self::failure::Failure;
use self::first_read::Begun;
pub(crate) use self::first_read::{FirstRead, read_first};
pub(crate) use self::gather::Gather;
use self::gather::Place;
pub(crate) use self::look::{Look, Revalidated};
pub(crate) use self::put::{Put, peek, put};
use self::store::Kept;
pub(crate) use self::traced::Continued;
use self::visit::TierVisits;
use self::wait::RemoteWait;
pub(crate) use self::wait_for::Waited;
use crate::cached_function::CachedFunction;
use crate::caching::{BodyNotes, BodyScope, Decisions, ReplacedValue};
use crate::codec::ErasedType;
pub(crate) use crate::entry::Held;
use crate::flight::{Detached, FlightId, HeldLeases, Leader, LoadScope};
use crate::key::Key;
use crate::load_timeout::LoadTimeout;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;
use crate::tag::Tag;
use crate::timer::deadline_after;
use crate::trace::{BodySpan, CallSpan};

/// A future of the load path. It is boxed so that its code is not compiled again where it is
/// awaited.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which values a load may take instead of running the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The value of another caller's load, or of any tier.
    Join,
    /// [`Join`](Self::Join), for a caller whose load may continue in the background. The
    /// call does not lead the flight itself: it gets the lead as a [`Step::Lead`].
    JoinLate,
    /// [`Join`](Self::Join) without stale values: a strong call of a function that has memory
    /// alone.
    JoinFresh,
    /// A value that the lower tiers say is current. It takes part in no flight, whose load may have
    /// begun before an invalidation that is not known here; the leases of the lower tiers keep
    /// others from loading at the same time.
    Strong,
    /// None: the body runs and its value replaces what the tiers have.
    Refresh,
}

impl Mode {
    /// The mode of a call of the function.
    pub(crate) fn of_call(function: &CachedFunction) -> Self {
        match function.is_strong() {
            true => Self::Strong,
            false => Self::Join,
        }
    }
}

/// A load of one key, on behalf of one call.
pub(crate) struct Load<'a> {
    function: &'a CachedFunction,
    key: Option<Arc<Key>>,
    value_type: &'a dyn ErasedType,
    mode: Mode,
    wait: RemoteWait,
    /// Set once the call was given a kept result that it cannot return, such as an error of another
    /// type. It takes no other kept result that may not be a value.
    needs_value: bool,
    /// When the caller stops waiting (`hard_timeout`).
    deadline: Option<Instant>,
    /// The stale value that the load is to replace. Callers get it if the load fails.
    stale: Option<StaleValue>,
    /// Set for a load in the background whose callers have a value.
    is_revalidation: bool,
    /// For such a load: a record that is fresh for no longer than this is to be replaced.
    due_within: Duration,
    /// Set when the load was handed over to the background.
    detached: Option<Detached>,
    /// The decisions of the body about its result.
    notes: Option<Arc<BodyNotes>>,
    /// Set while the body of this call runs, if its value is to be kept.
    running: Option<Running<'a>>,
    /// Set once the body of this call has begun.
    body: Option<BodyTimer<'a>>,
    /// The span of the body, while it runs.
    body_span: BodySpan,
    /// The span of the call. `None` if the call has none: before the load begins, if no span is
    /// wanted, for a load that answers no call, and for one of a batch.
    trace: Option<Box<CallSpan>>,
    /// Set once the span of the call has begun, also if none is wanted.
    trace_has_begun: bool,
    /// Set if the load is one of a batch, whose operations on the tiers are sent together.
    place: Option<Place<'a>>,
    /// The state in which a first read has left the key.
    begun: Begun,
}

/// The state of a load while its body runs. The leases are released before the lead is handed on.
struct Running<'a> {
    visits: Box<TierVisits<'a>>,
    leader: Leader,
}

impl Running<'_> {
    /// Returns the flight that the load leads, with the leases that others wait for.
    fn led(&self) -> (FlightId, HeldLeases) {
        (self.leader.id(), self.visits.exclusive_leases())
    }
}

/// The next step of a call.
pub(crate) enum Step {
    /// It returns this, if it can be converted into the call's result.
    Completed(LoadOutcome),
    /// It returns this, and a load in the background replaces the value.
    Revalidate(LoadOutcome, Revalidated),
    /// It is to run the load, whose flight it leads. `None` for a call of a strong function, which
    /// begins its flight later. Only a call of [`Mode::JoinLate`] gets this.
    Lead(Option<Leader>),
    /// It waited for as long as its function allows, and there is no stale value.
    TimedOut(LoadTimeout),
    /// It runs its body, and [finishes](Load::finish) the load.
    Run,
}

/// A value that a body returned.
pub(crate) struct Loaded {
    pub(crate) held: Held,
    /// Set if the function keeps it (`cache_if`).
    pub(crate) is_kept: bool,
    /// The ttl that the function gives to this value (`ttl_from`).
    pub(crate) ttl: Option<Duration>,
    /// The tags that the value itself has (`tags_of`).
    pub(crate) tags: Vec<Tag>,
}

impl fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<'a> Load<'a> {
    /// Makes a load. Without a key nothing is looked up or kept.
    pub(crate) fn new(
        function: &'a CachedFunction,
        key: Option<Arc<Key>>,
        value_type: &'a dyn ErasedType,
        mode: Mode,
    ) -> Self {
        Self {
            function,
            key,
            value_type,
            mode,
            wait: RemoteWait::default(),
            needs_value: false,
            deadline: None,
            stale: None,
            is_revalidation: false,
            due_within: Duration::ZERO,
            detached: None,
            notes: None,
            running: None,
            body: None,
            body_span: BodySpan::none(),
            trace: None,
            trace_has_begun: false,
            place: None,
            begun: Begun::default(),
        }
    }

    /// Makes this the load of one key of a batch.
    fn in_batch(mut self, place: Place<'a>) -> Self {
        self.place = Some(place);
        self
    }

    /// Continues after a first read.
    fn after_first_read(mut self, begun: Begun) -> Self {
        self.begun = begun;
        self
    }

    /// Returns the lower tiers, as this load visits them. They are boxed because they are passed on
    /// from step to step.
    fn visits(&mut self, key: &Arc<Key>) -> Box<TierVisits<'a>> {
        let visits = TierVisits::new(self.function, key).in_batch(self.place);
        let Begun { read, took, .. } = &mut self.begun;
        Box::new(visits.after_read(read.take(), std::mem::take(took)))
    }

    /// Limits the time that the caller waits for the loads of others.
    pub(crate) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the flag that says whether the load was handed over to the background.
    pub(crate) fn detached_by(mut self, detached: Detached) -> Self {
        self.detached = Some(detached);
        self
    }

    /// Continues until the call has its result or must run its body. `can_share` says whether
    /// errors of the function can be shared.
    pub(crate) fn next(&mut self, can_share: bool) -> Boxed<'_, Step> {
        self.begin_trace();
        self.own_scope().boxed(async move {
            let Some(key) = self.key.clone() else {
                return Step::Run;
            };
            match self.mode {
                Mode::JoinLate if self.function.is_strong() => Step::Lead(None),
                Mode::Join | Mode::JoinFresh | Mode::JoinLate => self.join(&key, can_share).await,
                Mode::Strong => Box::pin(self.read_strong(&key)).await,
                Mode::Refresh => Box::pin(self.replace(&key)).await,
            }
        })
    }

    /// Runs the load of a late call up to its body, after a [`Step::Lead`].
    pub(crate) fn lead_late(&mut self, leader: Option<Leader>) -> Boxed<'_, Step> {
        Box::pin(async move {
            let Some(key) = self.key.clone() else {
                return Step::Run;
            };
            match leader {
                Some(leader) => {
                    // A first read has set it before it began.
                    if let Some(soft) = self.function.times.soft_timeout
                        && leader.view().soft_deadline().is_none()
                    {
                        let soft = soft.saturating_sub(self.begun.took);
                        leader.set_soft_deadline(deadline_after(soft));
                    }
                    self.lead(&key, leader).await
                }
                None => {
                    self.mode = Mode::Strong;
                    self.read_strong(&key).await
                }
            }
        })
    }

    /// Returns `true` if the caller may get a stale value.
    fn takes_stale(&self) -> bool {
        matches!(self.mode, Mode::Join | Mode::JoinLate)
    }

    /// Returns `true` if the caller can begin a load in the background.
    fn is_late(&self) -> bool {
        self.mode == Mode::JoinLate
    }

    /// Returns `true` if this call leads a flight: its value is kept, and others may wait for it.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Notes that the outcome of another call's load, or a kept one, cannot be converted into this
    /// call's result. The call does not wait for a further load.
    pub(crate) fn received_nothing(&mut self) {
        self.needs_value = true;
        self.wait.load_failed();
    }

    /// Returns the scope in which the body of this call runs, which begins now.
    pub(crate) fn scope(&mut self) -> BodyScope {
        self.body_begins();
        self.body_span_begins();
        let led = self.running.as_ref().map(Running::led);
        self.notes = led.is_some().then(|| {
            let held = self.replaced_value();
            let replaced = held.map(|held| ReplacedValue {
                held,
                give: self.value_type.give(),
            });
            BodyNotes::new(replaced, self.function.is_tagged())
        });
        let scope = LoadScope::of(led, self.detached.as_ref());
        BodyScope::new(scope, self.notes.clone()).in_span(self.body_span.span())
    }

    /// Decisions of the body about its result.
    fn decisions(&self) -> Decisions {
        let notes = self.notes.as_ref();
        notes.map_or_else(Decisions::default, |notes| notes.decisions())
    }

    /// The value that the body may return again if its source says that it has not changed.
    fn replaced_value(&self) -> Option<Held> {
        if let Some(stale) = &self.stale {
            return Some(Arc::clone(&stale.value));
        }
        let key = self.key.as_ref().filter(|_| self.is_revalidation)?;
        self.function.peek(&(**key).as_ref())
    }

    fn run(&mut self, visits: Box<TierVisits<'a>>, leader: Leader) -> Step {
        // A late load has set its deadline before it read the tiers.
        if let Some(soft) = self.function.times.soft_timeout
            && leader.view().soft_deadline().is_none()
        {
            leader.set_soft_deadline(deadline_after(soft));
        }
        self.running = Some(Running { visits, leader });
        Step::Run
    }

    /// Keeps and stores what the body returned, and answers the waiters. `None` stands for a body
    /// that found nothing. Returns the value for this caller.
    ///
    /// # Cancel safety
    /// If it is dropped, the value may be kept in memory without being stored in the lower tiers.
    pub(crate) fn finish(&mut self, loaded: Option<Loaded>) -> Boxed<'_, Option<Held>> {
        self.own_scope().boxed(self.end(loaded))
    }

    async fn end(&mut self, loaded: Option<Loaded>) -> Option<Held> {
        let function = self.function;
        let decisions = self.decisions();
        let held = loaded.as_ref().map(|loaded| Arc::clone(&loaded.held));
        self.body_returned(held.is_some());
        let took = self.body_took();
        if decisions.is_failed {
            return self.end_as_failed(loaded.as_ref(), &decisions);
        }
        let (Some(running), Some(key)) = (self.running.take(), &self.key) else {
            return held;
        };
        let Running { mut visits, leader } = running;
        leader.body_ended();
        let start = leader.start();
        let ttl = loaded.as_ref().and_then(|loaded| loaded.ttl);
        visits.ttl = decisions.ttl.or(ttl);
        let is_taggable = visits.add_tags(loaded.as_ref(), &decisions);
        leader.note_tags(&visits.tag_stripes());
        let is_kept = match &loaded {
            Some(loaded) => loaded.is_kept && visits.ttl != Some(Duration::ZERO),
            None => function.times.none_ttl.is_some(),
        };
        let is_kept = is_kept && !decisions.is_skipped && is_taggable;
        if visits.is_guarded || function.is_guarded_here(key) {
            function.outdate_flight(key);
        }
        let is_current = leader.is_current();
        if is_kept && (is_current || function.has_lower()) {
            let kept = Kept {
                held: held.clone(),
                took,
            };
            visits.publish(kept, leader, self.value_type).await;
        } else {
            // Released before the waiters go on: they take the same leases.
            drop(visits);
            if is_taggable {
                let outcome = held.clone().map(LoadOutcome::Value);
                leader.complete(outcome.unwrap_or(LoadOutcome::Absent));
            } else {
                // Not all of its tags are known, so a waiter cannot tell whether one of them was
                // invalidated before the waiter began.
                leader.fail();
            }
        }
        if self.mode == Mode::Strong {
            function.drop_older(key, start);
        }
        // The source says that the value is not to be kept any more. If the load was overtaken,
        // there is a newer value.
        let replaced = (self.is_revalidation || self.stale.is_some()) && is_current;
        if !is_kept && (replaced || self.mode == Mode::Refresh) {
            // A tier that failed has counted it.
            let _ = Box::pin(function.invalidate(key)).await;
        }
        held
    }
}

#[cfg(test)]
mod tests;
