//! One call, as far as it depends on the types of its function: it looks in memory, has its
//! [`Load`] do everything else, and runs the body.
//!
//! This is compiled again for each function, so it is as little as can be.

mod spec;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

pub(crate) use self::spec::ResultSpec;
pub use self::spec::{CacheValue, CachedResult, ResultOf};
use crate::blocking;
use crate::cached_function::CachedFunction;
use crate::flight::LoadScope;
use crate::key::{ArgumentList, Arguments, Key};
use crate::load::{Load, Loaded, Mode, Step};
use crate::outcome::{LoadOutcome, Outcome, ShareError, View};

/// The result of a look-up in memory.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum MemoryLookup<T: CachedResult> {
    /// The result.
    Hit(T::Result),
    /// What is needed to go on.
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
    bound: Arc<CachedFunction>,
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
pub(crate) fn look_up<T: CachedResult>(
    bound: &Arc<CachedFunction>,
    returned: T,
    arguments: impl ArgumentList,
) -> MemoryLookup<T> {
    let key = match Arguments::encode(arguments, bound.seed) {
        Ok(arguments) => {
            let key = arguments.key(bound.id);
            if let Some(value) = bound.hit(&key, &returned.spec().value_type) {
                return MemoryLookup::Hit(T::Result::value(value));
            }
            Some(key.to_owned())
        }
        Err(error) => {
            bound.report_missing_key(&error);
            None
        }
    };
    MemoryLookup::Miss(Miss {
        bound: Arc::clone(bound),
        key,
        returned,
    })
}

impl<T: CachedResult> Miss<T> {
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
        let mode = Mode::of_call(&self.bound);
        Box::pin(drive(
            self.bound,
            self.key,
            mode,
            self.returned.spec(),
            load,
        ))
    }

    /// The same on this thread, which waits where another runs the load.
    ///
    /// A panic of the body goes through it, and the flight fails.
    pub fn load_blocking(self, load: impl FnOnce() -> T::Result) -> T::Result {
        let bound = Arc::clone(&self.bound);
        // Tiers below memory work in the async runtime that they were started in.
        let _entered = match bound.tokio_context() {
            None => None,
            Some(tokio_context) => match tokio_context.enter() {
                None => return load(),
                entered => entered,
            },
        };
        let (mode, spec) = (Mode::of_call(&bound), self.returned.spec());
        blocking::wait(drive(
            self.bound,
            self.key,
            mode,
            spec,
            move || async move { load() },
        ))
    }
}

/// Loads a value: has the [`Load`] do its steps, and runs the body where it says so. Without a key
/// the body runs and nothing is kept.
pub(crate) async fn drive<R, V, S, F>(
    bound: Arc<CachedFunction>,
    key: Option<Key>,
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
    let mut load = Load::new(&bound, key, &spec.value_type, mode);
    while let Step::Completed(outcome) = load.next(spec.share.can_share()).await {
        if let Some(result) = receive(&outcome, &spec) {
            return result;
        }
        load.received_nothing();
    }
    // The body and the note that others wait for it end here, and not after the value is stored: the
    // flight has ended by then.
    let outcome = {
        let mut leading = LoadScope::new(load.led());
        let mut body = pin!(body());
        poll_fn(|cx| {
            let _entered = leading.enter();
            body.as_mut().poll(cx)
        })
        .await
    };
    // The value alone lives across the await: the error type need not be `Send`.
    let loaded = match settle(&mut load, &spec, outcome) {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    load.finish(loaded.clone()).await;
    let result = match loaded {
        Some(loaded) => (spec.value_type.give)(loaded.held).map(R::value),
        None => R::absent(),
    };
    result.expect(
        "a value has the type that it was held as, and a result that was absent can be so again",
    )
}

/// Returns the value of an outcome, if it has one, to be kept. An outcome of which nothing is kept is
/// returned as it is.
fn settle<R, V, S>(
    load: &mut Load<'_>,
    spec: &ResultSpec<V, S>,
    outcome: R,
) -> Result<Option<Loaded>, R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    let is_kept = match outcome.view() {
        View::Failed(error) => {
            // Nobody waits for the error of a body that runs beside another load.
            let is_running = load.is_running();
            load.fail(is_running.then(|| spec.share.share(error)).flatten());
            return Err(outcome);
        }
        _ if !load.is_running() => return Err(outcome),
        View::Value(value) => spec.keep_if.is_none_or(|keep_if| keep_if(value)),
        View::Absent => false,
    };
    let held = outcome.into_value().ok().map(spec.value_type.hold);
    Ok(held.map(|held| Loaded { held, is_kept }))
}

/// A waiter's result.
fn receive<R, V, S>(outcome: &LoadOutcome, spec: &ResultSpec<V, S>) -> Option<R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    match outcome {
        LoadOutcome::Value(held) => (spec.value_type.give)(Arc::clone(held)).map(R::value),
        LoadOutcome::Absent => R::absent(),
        LoadOutcome::Failed(shared) => spec.share.receive(&**shared).and_then(R::failed),
    }
}
