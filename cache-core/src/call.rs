//! One call, as far as it depends on the types of its function: it looks in memory, has its
//! [`Load`] do everything else, and runs the body.
//!
//! This is compiled again for each function, so it does as little as possible. Parts that do not
//! depend on the function's types are functions of their own that are not inlined.

pub(crate) mod batch;
pub(crate) mod late;
mod limited;
mod spec;
pub(crate) mod timed;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use self::spec::ResultSpec;
pub use self::spec::{CacheValue, CachedResult, ResultOf};
use crate::blocking;
use crate::cached_function::CachedFunction;
use crate::caching::BodyScope;
use crate::error::Error;
use crate::key::{ArgumentList, Arguments, Key, KeyRef};
use crate::load::{Failure, Held, Load, Loaded, Mode, Step};
use crate::outcome::{LoadOutcome, Outcome, ShareError, View};

/// A key of a function in one runtime.
#[derive(Debug)]
pub(crate) struct BoundKey {
    function: Arc<CachedFunction>,
    /// `None` if the arguments make no key: the body runs and nothing is kept.
    key: Option<Key>,
}

impl BoundKey {
    pub(crate) fn new(function: Arc<CachedFunction>, key: Key) -> Self {
        Self {
            function,
            key: Some(key),
        }
    }
}

/// The result of a look-up in memory.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum MemoryLookup<T: CachedResult> {
    /// The result of the call.
    Hit(T::Result),
    /// The call as far as it got.
    Miss(Miss<T>),
}

impl<T: CachedResult> fmt::Debug for MemoryLookup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Miss(_) => "Miss",
        })
    }
}

/// A call that memory could not answer.
pub struct Miss<T> {
    place: BoundKey,
    returned: T,
}

impl<T> fmt::Debug for Miss<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.place.key)
            .finish_non_exhaustive()
    }
}

/// Looks in memory. Allocates nothing on a hit.
#[inline]
pub(crate) fn look_up<T: CachedResult>(
    function: &Arc<CachedFunction>,
    returned: T,
    arguments: impl ArgumentList,
) -> MemoryLookup<T> {
    let mut encoded = Arguments::empty(function.seed);
    let place = match encoded.write(arguments) {
        Ok(()) => {
            let key = encoded.key(function.id);
            if let Some(held) = function.hit(&key)
                && let Some(value) = (returned.spec().value_type.give)(held)
            {
                return MemoryLookup::Hit(T::Result::value(value));
            }
            missed(function, &key)
        }
        Err(error) => has_no_key(function, &error),
    };
    MemoryLookup::Miss(Miss { place, returned })
}

#[cold]
#[inline(never)]
fn missed(function: &Arc<CachedFunction>, key: &KeyRef<'_>) -> BoundKey {
    let function = function.after_miss();
    BoundKey::new(Arc::clone(function), KeyRef::to_owned(*key))
}

#[cold]
#[inline(never)]
fn has_no_key(function: &Arc<CachedFunction>, error: &Error) -> BoundKey {
    let function = function.after_miss();
    function.report_missing_key(error);
    BoundKey {
        function: Arc::clone(function),
        key: None,
    }
}

impl<T: CachedResult> Miss<T> {
    /// Gets the result: from another caller's load, from a lower tier, or by running `load`.
    ///
    /// Boxed, so that all of this does not make the future of the caller larger, which most often
    /// finds its value in memory.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Loading<impl Future<Output = T::Result>>
    where
        F: Future<Output = T::Result>,
    {
        let Self { place, returned } = self;
        let mode = Mode::of_call(&place.function);
        Loading(Box::pin(drive(place, mode, move || returned.spec(), load)))
    }

    /// Gets the result on this thread, which blocks if another caller runs the load.
    ///
    /// A panic of the body is not caught, and fails the flight.
    pub fn load_blocking(self, load: impl FnOnce() -> T::Result) -> T::Result {
        let Self { place, returned } = self;
        let function = Arc::clone(&place.function);
        // Tiers below memory work in the async runtime in which they were started.
        let _entered = match function.tokio_context() {
            None => None,
            Some(tokio_context) => match tokio_context.enter() {
                None => {
                    let _traced = function.report_no_runtime();
                    let mut scope = BodyScope::unkept();
                    let _entered = scope.enter();
                    return load();
                }
                entered => entered,
            },
        };
        let mode = Mode::of_call(&function);
        let body = move || async move { load() };
        blocking::wait(drive(place, mode, move || returned.spec(), body))
    }
}

/// A call that loads its value.
#[must_use = "futures do nothing unless polled"]
pub struct Loading<F>(Pin<Box<F>>);

impl<F> fmt::Debug for Loading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loading")
    }
}

impl<F: Future> Future for Loading<F> {
    type Output = F::Output;

    /// It is not inlined: otherwise all of the load would be compiled into the function of the
    /// caller, in the way of its hits.
    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Loads a value: has the [`Load`] do its steps, and runs the body when a step asks for it. Without
/// a key the body runs and nothing is kept.
pub(crate) async fn drive<R, V, S, F>(
    place: BoundKey,
    mode: Mode,
    spec: impl FnOnce() -> ResultSpec<V, S>,
    body: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let spec = spec();
    let key = place.key.map(Arc::new);
    let mut load = Load::new(&place.function, key, &spec.value_type, mode);
    while let Step::Completed(outcome) = load.next(spec.share.can_share()).await {
        if let Some(result) = receive(&outcome, &spec) {
            return result;
        }
        load.received_nothing();
    }
    // The body is dropped here, together with the note that others wait for it, and not after the
    // value is stored: the flight has ended by then.
    let outcome = {
        let mut scope = load.scope();
        let mut body = pin!(body());
        poll_fn(|cx| {
            let _entered = scope.enter();
            body.as_mut().poll(cx)
        })
        .await
    };
    // Only the value lives across the await, so that the error type need not be `Send`.
    let loaded = match settle(&mut load, &spec, outcome, plain_failure) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    give(load.finish(loaded).await, &spec)
}

/// Runs the body of a call that has no key. Nothing of it is kept.
pub(crate) async fn run_unkept<F: Future>(body: F) -> F::Output {
    let mut scope = BodyScope::unkept();
    let mut body = pin!(body);
    poll_fn(|cx| {
        let _entered = scope.enter();
        body.as_mut().poll(cx)
    })
    .await
}

/// Takes the value out of an outcome, to be kept. Returns an outcome of which nothing is kept as it
/// is. `failure` says what the waiters and later callers get of an error.
fn settle<R, V, S>(
    load: &mut Load<'_>,
    spec: &ResultSpec<V, S>,
    outcome: R,
    failure: impl FnOnce(&S, &R::Error) -> Failure,
) -> Result<Option<Loaded>, R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    let (is_kept, ttl, tags) = match outcome.view() {
        View::Failed(error) => {
            return match load
                .fail(failure(&spec.share, error))
                .and_then(spec.value_type.give)
            {
                Some(value) => Err(R::value(value)),
                None => Err(outcome),
            };
        }
        view if !load.is_running() => {
            load.body_returned(matches!(view, View::Value(_)));
            return Err(outcome);
        }
        View::Value(value) => (
            spec.keep_if.is_none_or(|keep_if| keep_if(value)),
            spec.ttl_of(value),
            spec.tags_of(value),
        ),
        View::Absent => (false, None, Vec::new()),
    };
    let held = outcome.into_value().ok().map(spec.value_type.hold);
    Ok(held.map(|held| Loaded {
        held,
        is_kept,
        ttl,
        tags,
    }))
}

/// The answer to the waiters of a failed load, for a function without times besides its ttl.
fn plain_failure<E, S: ShareError<E>>(share: &S, error: &E) -> Failure {
    Failure {
        shared: share.share(error),
        ..Failure::default()
    }
}

/// Makes the result of a value, or of its absence.
fn give<R, V, S>(held: Option<Held>, spec: &ResultSpec<V, S>) -> R
where
    R: Outcome<V>,
{
    let result = match held {
        Some(held) => (spec.value_type.give)(held).map(R::value),
        None => R::absent(),
    };
    result.expect("a value has the type that it was held as; a type that was absent can be absent")
}

/// Makes the result of a waiter.
fn receive<R, V, S>(outcome: &LoadOutcome, spec: &ResultSpec<V, S>) -> Option<R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    match outcome {
        LoadOutcome::Value(held) => (spec.value_type.give)(Arc::clone(held)).map(R::value),
        LoadOutcome::Absent => R::absent(),
        LoadOutcome::Failed(shared) => spec.share.receive(&**shared).and_then(R::failed),
        LoadOutcome::TimedOut(timeout) => {
            let error = spec.share.timed_out(timeout.clone());
            error.and_then(R::failed)
        }
        // A waiter judges the value itself, in `load::join`.
        LoadOutcome::Stale(_) => None,
    }
}
