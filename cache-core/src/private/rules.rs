//! Options that only some types of results can have. The types are distinguished by method look-up,
//! as in [`probe`](super::probe).
//!
//! Each option is a method of two traits. One is for the results that the option fits. The other is
//! for the rest: it has a bound that no type meets, so that such a function is one compile error,
//! which explains itself.

use super::probe::Probe;
use crate::call::ResultOf;
use crate::load_timeout::LoadTimeout;
use crate::outcome::error_rules::{ErrorIf, StaleIf, TimeoutFrom};

/// Results with an error that `stale_if` can judge.
pub trait JudgedErrors<R, E> {
    /// Serves a stale value only in place of the errors for which `may_serve_stale` returns `true`.
    fn stale_if<V, S>(
        &self,
        returned: ResultOf<R, V, S>,
        may_serve_stale: fn(&E) -> bool,
    ) -> ResultOf<R, V, StaleIf<S, E>> {
        returned.map_share(|share| StaleIf::new(share, may_serve_stale))
    }
}

impl<T, E: 'static> JudgedErrors<Result<T, E>, E> for &Probe<Result<T, E>> {}

/// Results without an error that could be judged.
pub trait NoJudgedErrors<R> {
    /// Never compiles.
    fn stale_if<V, S, F>(&self, returned: ResultOf<R, V, S>, _: F) -> ResultOf<R, V, S>
    where
        R: HasError,
    {
        returned
    }
}

impl<R> NoJudgedErrors<R> for Probe<R> {}

/// A result with an error. No type implements it; the compile error about the missing
/// implementation is what it is for.
#[diagnostic::on_unimplemented(
    message = "`stale_if` needs a function that returns a `Result`",
    label = "`{Self}` has no error that a stale value could replace",
    note = "remove `stale_if`, or return a `Result`"
)]
pub trait HasError {}

/// Results with an error that memory can keep.
pub trait KeptErrors<R, E> {
    /// Keeps the errors for which `is_kept` returns `true`.
    fn error_if<V, S>(
        &self,
        returned: ResultOf<R, V, S>,
        is_kept: fn(&E) -> bool,
    ) -> ResultOf<R, V, ErrorIf<S, E>> {
        returned.map_share(|share| ErrorIf::new(share, is_kept))
    }
}

impl<T, E> KeptErrors<Result<T, E>, E> for &Probe<Result<T, E>> where
    E: Clone + Send + Sync + 'static
{
}

/// Results without an error that memory could keep.
pub trait NoKeptErrors<R> {
    /// Never compiles.
    fn error_if<V, S, F>(&self, returned: ResultOf<R, V, S>, _: F) -> ResultOf<R, V, S>
    where
        R: HasKeptError,
    {
        returned
    }
}

impl<R> NoKeptErrors<R> for Probe<R> {}

/// A result with an error that memory can keep. No type implements it, as for [`HasError`].
#[diagnostic::on_unimplemented(
    message = "`error_if` needs a function that returns a `Result<_, E>` with `E: Clone + Send + \
               Sync + 'static`",
    label = "`{Self}` has no error that memory can keep",
    note = "derive `Clone` for the error, and put what cannot be cloned into an `Arc`"
)]
pub trait HasKeptError {}

/// Results with an error that can be made from a [`LoadTimeout`].
pub trait TimeoutErrors<R> {
    /// Makes the error of a load that took too long (`hard_timeout`, `load_limit`).
    fn times_out<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, TimeoutFrom<S>> {
        returned.map_share(TimeoutFrom::new)
    }

    /// Makes the error of a load that took too long, for a late function without an option that
    /// says how long: its loads in the background have a limit too.
    fn may_time_out<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, TimeoutFrom<S>> {
        self.times_out(returned)
    }
}

impl<T, E: From<LoadTimeout>> TimeoutErrors<Result<T, E>> for &Probe<Result<T, E>> {}

/// Results that cannot say that a load took too long.
pub trait NoTimeoutErrors<R> {
    /// Never compiles.
    fn times_out<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, S>
    where
        R: CanTimeOut,
    {
        returned
    }

    /// Returns the same. A caller of a load that took too long runs its own load.
    fn may_time_out<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, S> {
        returned
    }
}

impl<R> NoTimeoutErrors<R> for Probe<R> {}

/// A result that can say that a load took too long. No type implements it, as for [`HasError`].
#[diagnostic::on_unimplemented(
    message = "`hard_timeout` and `load_limit` need an error that can be made from a `LoadTimeout`",
    label = "`{Self}` has no such error",
    note = "return a `Result<_, E>` with `E: From<LoadTimeout>`: `anyhow::Error`, `Box<dyn Error + \
            Send + Sync>`, or an error of your own with a variant `Timeout(#[from] LoadTimeout)`"
)]
pub trait CanTimeOut {}

/// Results that can say that there is no value.
pub trait OptionalValues<R> {
    /// Keeps the result that there is no value (`none_ttl`).
    fn keep_none<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, S> {
        returned
    }
}

impl<T> OptionalValues<Option<T>> for &Probe<Option<T>> {}

impl<T, E> OptionalValues<Result<Option<T>, E>> for &Probe<Result<Option<T>, E>> {}

/// Results that always have a value or an error.
pub trait RequiredValues<R> {
    /// Never compiles.
    fn keep_none<V, S>(&self, returned: ResultOf<R, V, S>) -> ResultOf<R, V, S>
    where
        R: HasNone,
    {
        returned
    }
}

impl<R> RequiredValues<R> for Probe<R> {}

/// A result that can say that there is no value. No type implements it, as for [`HasError`].
#[diagnostic::on_unimplemented(
    message = "`none_ttl` needs a function that returns an `Option<_>` or a `Result<Option<_>, _>`",
    label = "`{Self}` has no `None`",
    note = "remove `none_ttl`, or return an `Option`"
)]
pub trait HasNone {}

/// Adds an option to what a call knows of its result type, which is probed.
#[doc(hidden)]
#[macro_export]
macro_rules! __rule {
    ($option:ident($($function:expr)?) $returned:ty, $returns:expr) => {{
        #[allow(unused_imports)]
        use $crate::private::{
            JudgedErrors as _, KeptErrors as _, NoJudgedErrors as _, NoKeptErrors as _,
            NoTimeoutErrors as _, OptionalValues as _, RequiredValues as _, TimeoutErrors as _,
        };
        let returns = $returns;
        (&&$crate::private::Probe::<$returned>::new()).$option(returns $(, $function)?)
    }};
}
