//! One call of a function with times besides its ttl: a stale value may answer it, its body has a
//! limit, and a result that is no value may be kept.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::late::{LateCall, LateLoading, LateResult, begin_revalidation, drive_late};
use super::limited::run_limited;
use super::{BoundKey, CachedResult, Loading, ResultSpec, has_no_key, missed, receive};
use crate::blocking;
use crate::cached_function::CachedFunction;
use crate::caching::BodyScope;
use crate::key::{ArgumentList, Arguments, KeyRef};
use crate::load::{Load, Look, Mode, Revalidated, Step};
use crate::outcome::{Outcome, ShareError};

/// The result of a look-up in memory, for a function with times besides its ttl.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum TimedLookup<T: CachedResult> {
    /// The result of the call.
    Hit(T::Result),
    /// The result of the call, whose value is stale or due, and the load that is to replace it.
    Stale(T::Result, Revalidation<T>),
    /// The call as far as it got.
    Miss(TimedMiss<T>),
}

impl<T: CachedResult> fmt::Debug for TimedLookup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Stale(..) => "Stale",
            Self::Miss(_) => "Miss",
        })
    }
}

/// A load in the background that replaces a value which is stale or due.
pub struct Revalidation<T> {
    place: BoundKey,
    returned: T,
    revalidated: Revalidated,
}

impl<T> fmt::Debug for Revalidation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revalidation")
            .field("key", &self.place.key)
            .finish_non_exhaustive()
    }
}

/// A call that memory could not answer.
pub struct TimedMiss<T> {
    place: BoundKey,
    returned: T,
}

impl<T> fmt::Debug for TimedMiss<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedMiss")
            .field("key", &self.place.key)
            .finish_non_exhaustive()
    }
}

/// Looks in memory. Allocates nothing on a hit. `is_late` says that the caller can begin a load
/// that outlives the call, if the function has one.
#[inline]
pub(crate) fn look_up_timed<T: CachedResult>(
    function: &Arc<CachedFunction>,
    returned: T,
    arguments: impl ArgumentList,
    is_late: bool,
) -> TimedLookup<T> {
    let mut encoded = Arguments::empty(function.seed);
    let place = match encoded.write(arguments) {
        Ok(()) => {
            let key = encoded.key(function.id);
            let answered = match function.judge(&key, is_late) {
                // Apart from the other results, so that a hit does not run the code that drops
                // them.
                Look::Fresh(held) => {
                    let value = (returned.spec().value_type.give)(held);
                    value.map(|value| TimedLookup::Hit(T::Result::value(value)))
                }
                look => answer(function, returned, &key, look),
            };
            match answered {
                Some(answered) => return answered,
                None => missed(function, &key),
            }
        }
        Err(error) => has_no_key(function, &error),
    };
    TimedLookup::Miss(TimedMiss { place, returned })
}

/// Answers a call by a result that memory has, if its type has such a result.
#[inline(never)]
fn answer<T: CachedResult>(
    function: &Arc<CachedFunction>,
    returned: T,
    key: &KeyRef<'_>,
    look: Look,
) -> Option<TimedLookup<T>> {
    let spec = returned.spec();
    let result = match look {
        Look::Absent => T::Result::absent()?,
        Look::Failed(shared) => T::Result::failed(spec.share.receive(&*shared)?)?,
        Look::Stale { value, replaces } => {
            let result = T::Result::value((spec.value_type.give)(value)?);
            if let Some(revalidated) = replaces {
                let function = function.original().unwrap_or(function);
                let key = KeyRef::to_owned(*key);
                let revalidation = Revalidation {
                    place: BoundKey::new(Arc::clone(function), key),
                    returned,
                    revalidated,
                };
                return Some(TimedLookup::Stale(result, revalidation));
            }
            result
        }
        Look::Fresh(_) | Look::Miss => return None,
    };
    Some(TimedLookup::Hit(result))
}

impl<T: CachedResult> TimedLookup<T> {
    /// Continues a call of a late function: begins the load of a stale value in the background, or
    /// waits for the load of a value that is not there.
    pub fn load_late<M, F>(self, make: M) -> LateCall<T::Result>
    where
        T::Result: LateResult,
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T::Result> + Send + 'static,
    {
        match self {
            Self::Hit(result) => LateCall::Answered(result),
            Self::Stale(result, revalidation) => {
                revalidation.begin(make);
                LateCall::Answered(result)
            }
            Self::Miss(miss) => LateCall::Loading(miss.load_late(make)),
        }
    }
}

impl<T: CachedResult> Revalidation<T> {
    /// Begins the load, which the runtime owns. The value of the load replaces the stale one.
    pub fn begin<M, F>(self, make: M)
    where
        T::Result: LateResult,
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T::Result> + Send + 'static,
    {
        let BoundKey { function, key } = self.place;
        if let Some(key) = key {
            let spec = self.returned.spec();
            begin_revalidation(&function, Arc::new(key), self.revalidated, spec, make);
        }
    }
}

impl<T: CachedResult> TimedMiss<T> {
    /// Gets the result from another caller's load, from a lower tier, or by running `load`, which
    /// ends with its caller.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Loading<impl Future<Output = T::Result>>
    where
        F: Future<Output = T::Result>,
    {
        let Self { place, returned } = self;
        let mode = Mode::of_call(&place.function);
        Loading(Box::pin(drive_timed(place, mode, returned.spec(), load)))
    }

    /// Gets the result on this thread, as [`Miss::load_blocking`](super::Miss::load_blocking) does.
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
        blocking::wait(drive_timed(place, mode, returned.spec(), body))
    }

    /// Gets the result as [`load`](Self::load) does, from a load that may continue in the
    /// background after the caller was answered.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped and other callers wait, its load continues in the
    /// background.
    pub fn load_late<M, F>(self, make: M) -> LateLoading<T::Result>
    where
        T::Result: LateResult,
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T::Result> + Send + 'static,
    {
        let Self { place, returned } = self;
        Box::pin(drive_late(place, returned.spec(), make))
    }
}

/// Loads a value as [`drive`](super::drive) does, for a function with times besides its ttl.
pub(crate) async fn drive_timed<R, V, S, F>(
    place: BoundKey,
    mode: Mode,
    spec: ResultSpec<V, S>,
    body: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let key = place.key.map(Arc::new);
    let mut load = Load::new(&place.function, key, &spec.value_type, mode);
    while let Step::Completed(outcome) = load.next(spec.share.can_share()).await {
        if let Some(result) = receive(&outcome, &spec) {
            return result;
        }
        load.received_nothing();
    }
    let limit = load.body_limit(spec.share.can_time_out());
    let result = run_limited(&mut load, &spec, body(), limit).await;
    result.expect("a limit is set only if the error can say that it was reached")
}
