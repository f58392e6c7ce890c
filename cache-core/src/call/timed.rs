//! One call of a function with times besides its ttl: a stale value may answer it, and its load may
//! continue in the background.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::{CachedResult, Loading, MemoryLookup, Miss, look_up};
use crate::cached_function::CachedFunction;
use crate::key::ArgumentList;

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

/// A load in the background that replaces a stale value.
#[derive(Debug)]
pub struct Revalidation<T>(Miss<T>);

/// A call that memory could not answer.
#[derive(Debug)]
pub struct TimedMiss<T>(Miss<T>);

/// A call of a late function after its look-up.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum LateCall<R, F> {
    /// The result of the call.
    Answered(R),
    /// The call waits for a load.
    Loading(Loading<F>),
}

impl<R, F> fmt::Debug for LateCall<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered(_) => "Answered",
            Self::Loading(_) => "Loading",
        })
    }
}

/// Looks in memory. Allocates nothing on a hit.
#[inline]
pub(crate) fn look_up_timed<T: CachedResult>(
    function: &Arc<CachedFunction>,
    returned: T,
    arguments: impl ArgumentList,
) -> TimedLookup<T> {
    match look_up(function, returned, arguments) {
        MemoryLookup::Hit(result) => TimedLookup::Hit(result),
        MemoryLookup::Miss(miss) => TimedLookup::Miss(TimedMiss(miss)),
    }
}

impl<T: CachedResult> TimedLookup<T> {
    /// Continues a call of a late function: begins the load of a stale value in the background, or
    /// waits for the load of a value that is not there.
    pub fn load_late<M, F>(
        self,
        make: M,
    ) -> LateCall<T::Result, impl Future<Output = T::Result> + use<T, M, F>>
    where
        T::Result: Send,
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
        T::Result: Send,
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T::Result> + Send + 'static,
    {
        drop(self);
        drop(make);
    }
}

impl<T: CachedResult> TimedMiss<T> {
    /// Gets the result as [`Miss::load`] does, from a load that ends with its caller.
    pub fn load<F>(self, load: impl FnOnce() -> F) -> Loading<impl Future<Output = T::Result>>
    where
        F: Future<Output = T::Result>,
    {
        self.0.load(load)
    }

    /// Gets the result on this thread, as [`Miss::load_blocking`] does.
    pub fn load_blocking(self, load: impl FnOnce() -> T::Result) -> T::Result {
        self.0.load_blocking(load)
    }

    /// Gets the result from a load that may continue in the background after the caller was
    /// answered.
    pub fn load_late<M, F>(self, make: M) -> Loading<impl Future<Output = T::Result> + use<T, M, F>>
    where
        T::Result: Send,
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = T::Result> + Send + 'static,
    {
        self.0.load(make)
    }
}
