//! Options of a function that only some types of results can have.
//!
//! Each has a trait that the fitting result types implement. Generated code calls the method of the
//! option, so a result that does not fit is one compile error, which explains itself.

use super::spec::{ResultOf, ResultSpec};
use crate::load_timeout::LoadTimeout;
use crate::outcome::error_rules::{ErrorIf, StaleIf, TimeoutFrom};

/// A result with an error that `stale_if` can judge.
#[diagnostic::on_unimplemented(
    message = "`stale_if` needs a function that returns a `Result`",
    label = "`{Self}` has no error that a stale value could replace",
    note = "remove `stale_if`: a function that returns no `Result` fails by a panic alone, and \
            `stale_if_error` covers it"
)]
pub trait HasError {
    /// The error.
    type Error: 'static;
}

#[diagnostic::do_not_recommend]
impl<T, E: 'static> HasError for Result<T, E> {
    type Error = E;
}

/// A result with an error that memory can keep.
#[diagnostic::on_unimplemented(
    message = "`error_if` needs a function that returns a `Result<_, E>` with `E: Clone + Send + \
               Sync + 'static`",
    label = "`{Self}` has no error that memory can keep",
    note = "derive `Clone` for the error, or wrap what cannot be cloned in an `Arc`"
)]
pub trait HasKeptError {
    /// The error.
    type Error;
}

#[diagnostic::do_not_recommend]
impl<T, E: Clone + Send + Sync + 'static> HasKeptError for Result<T, E> {
    type Error = E;
}

/// A result with an error that can be made from a [`LoadTimeout`].
#[diagnostic::on_unimplemented(
    message = "`hard_timeout` and `load_limit` need an error that can be made from a `LoadTimeout`",
    label = "`{Self}` has no such error",
    note = "return a `Result<_, E>` with `E: From<LoadTimeout>`: `anyhow::Error`, `Box<dyn Error + \
            Send + Sync>`, or an error with a variant such as thiserror's `Timeout(#[from] \
            LoadTimeout)`"
)]
pub trait CanTimeOut {}

#[diagnostic::do_not_recommend]
impl<T, E: From<LoadTimeout>> CanTimeOut for Result<T, E> {}

/// A result that can say that there is no value.
#[diagnostic::on_unimplemented(
    message = "`none_ttl` needs a function that returns an `Option<_>` or a `Result<Option<_>, _>`",
    label = "`{Self}` has no `None`",
    note = "remove `none_ttl`, or return an `Option`"
)]
pub trait HasNone {}

#[diagnostic::do_not_recommend]
impl<T> HasNone for Option<T> {}

#[diagnostic::do_not_recommend]
impl<T, E> HasNone for Result<Option<T>, E> {}

impl<R, V, S> ResultOf<R, V, S> {
    /// Returns a stale value only in place of the errors for which `may_serve_stale` returns
    /// `true`.
    #[must_use]
    #[inline]
    pub fn stale_if(
        self,
        may_serve_stale: fn(&R::Error) -> bool,
    ) -> ResultOf<R, V, StaleIf<S, R::Error>>
    where
        R: HasError,
    {
        self.map_share(|share| StaleIf::new(share, may_serve_stale))
    }

    /// Keeps the errors for which `is_kept` returns `true`.
    #[must_use]
    #[inline]
    pub fn error_if(self, is_kept: fn(&R::Error) -> bool) -> ResultOf<R, V, ErrorIf<S, R::Error>>
    where
        R: HasKeptError,
    {
        self.map_share(|share| ErrorIf::new(share, is_kept))
    }

    /// Makes the error of a load that took too long from its [`LoadTimeout`].
    #[must_use]
    #[inline]
    pub fn times_out(self) -> ResultOf<R, V, TimeoutFrom<S>>
    where
        R: CanTimeOut,
    {
        self.map_share(TimeoutFrom::new)
    }

    /// Checks that the result can say that there is no value.
    #[must_use]
    #[inline]
    pub fn keep_none(self) -> Self
    where
        R: HasNone,
    {
        self
    }

    pub(crate) fn map_share<T>(self, wrap: impl FnOnce(S) -> T) -> ResultOf<R, V, T> {
        let ResultSpec {
            value_type,
            keep_if,
            ttl_from,
            share,
        } = self.into_spec();
        ResultOf::new(ResultSpec {
            value_type,
            keep_if,
            ttl_from,
            share: wrap(share),
        })
    }
}
