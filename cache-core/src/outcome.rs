//! Results of bodies: the value in them that is kept, and how their errors are shared.

pub(crate) mod error_rules;

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use crate::entry::Held;
use crate::load_timeout::LoadTimeout;
use crate::stale::StaleValue;

/// A type that a load of a value `V` may return: `V`, `Option<V>`, `Result<V, E>` or
/// `Result<Option<V>, E>`.
///
/// Only the value is kept. `None` and `Err` are returned to the caller and to its waiters.
pub trait Outcome<V>: Sized {
    /// The error of a failed load.
    type Error;

    /// Returns what the outcome holds.
    fn view(&self) -> View<'_, V, Self::Error>;

    /// Returns the value.
    ///
    /// # Errors
    /// The outcome itself, if it holds no value.
    fn into_value(self) -> Result<V, Self>;

    /// Makes an outcome from a value.
    fn value(value: V) -> Self;

    /// Makes an outcome without a value, if the type has one.
    fn absent() -> Option<Self>;

    /// Makes a failed outcome, if the type has one.
    fn failed(error: Self::Error) -> Option<Self>;

    /// Returns the error of a failed outcome.
    fn into_error(self) -> Option<Self::Error>;
}

/// The content of an [`Outcome`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a load can end in no other way")]
pub enum View<'a, V, E> {
    /// A value to keep.
    Value(&'a V),
    /// The load found nothing.
    Absent,
    /// The load failed.
    Failed(&'a E),
}

impl<V> Outcome<V> for V {
    type Error = Infallible;

    fn view(&self) -> View<'_, V, Infallible> {
        View::Value(self)
    }

    fn into_value(self) -> Result<V, Self> {
        Ok(self)
    }

    fn value(value: V) -> Self {
        value
    }

    fn absent() -> Option<Self> {
        None
    }

    fn failed(_: Infallible) -> Option<Self> {
        None
    }

    fn into_error(self) -> Option<Infallible> {
        None
    }
}

impl<V> Outcome<V> for Option<V> {
    type Error = Infallible;

    fn view(&self) -> View<'_, V, Infallible> {
        self.as_ref().map_or(View::Absent, View::Value)
    }

    fn into_value(self) -> Result<V, Self> {
        self.ok_or(None)
    }

    fn value(value: V) -> Self {
        Some(value)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn failed(_: Infallible) -> Option<Self> {
        None
    }

    fn into_error(self) -> Option<Infallible> {
        None
    }
}

impl<V, E> Outcome<V> for Result<V, E> {
    type Error = E;

    fn view(&self) -> View<'_, V, E> {
        match self {
            Ok(value) => View::Value(value),
            Err(error) => View::Failed(error),
        }
    }

    fn into_value(self) -> Result<V, Self> {
        self.map_err(Err)
    }

    fn value(value: V) -> Self {
        Ok(value)
    }

    fn absent() -> Option<Self> {
        None
    }

    fn failed(error: E) -> Option<Self> {
        Some(Err(error))
    }

    fn into_error(self) -> Option<E> {
        self.err()
    }
}

impl<V, E> Outcome<V> for Result<Option<V>, E> {
    type Error = E;

    fn view(&self) -> View<'_, V, E> {
        match self {
            Ok(Some(value)) => View::Value(value),
            Ok(None) => View::Absent,
            Err(error) => View::Failed(error),
        }
    }

    fn into_value(self) -> Result<V, Self> {
        match self {
            Ok(Some(value)) => Ok(value),
            none_or_error => Err(none_or_error),
        }
    }

    fn value(value: V) -> Self {
        Ok(Some(value))
    }

    fn absent() -> Option<Self> {
        Some(Ok(None))
    }

    fn failed(error: E) -> Option<Self> {
        Some(Err(error))
    }

    fn into_error(self) -> Option<E> {
        self.err()
    }
}

/// How waiters get the error of a failed load.
///
/// The caller that ran the load gets the error itself. This makes one for each waiter.
pub trait ShareError<E>: Copy + Send + Sync + 'static {
    /// Returns a value from which waiters can make an error, or `None` if the error is not shared:
    /// then each waiter runs the load itself.
    fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>>;

    /// Makes the error of a waiter.
    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E>;

    /// Returns `true` if errors of this type can be shared at all.
    fn can_share(self) -> bool {
        true
    }

    /// Returns `true` if callers may get a stale value in place of this error. Default: always.
    fn may_serve_stale(self, _error: &E) -> bool {
        true
    }

    /// Returns `true` if an error of this type can say that a load took too long. If not, no caller
    /// of a load is limited in time. Default: `false`.
    fn can_time_out(self) -> bool {
        false
    }

    /// Makes the error of a caller whose load took too long. Default: `None`, for errors that
    /// cannot say so.
    fn timed_out(self, _timeout: LoadTimeout) -> Option<E> {
        None
    }

    /// Returns a value from which later callers can make this error, if it is to be kept in memory.
    /// [`receive`](Self::receive) makes the error. Default: `None`, no error is kept.
    fn keep(self, _error: &E) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }
}

/// Waiters get a clone of the error.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct ShareByClone;

/// Waiters get an error that is made from a [`SharedError`], as `anyhow::Error` and
/// `Box<dyn Error + Send + Sync>` can be.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct ShareByText;

/// Waiters get an error that this function rebuilds from the one of the load. It is for errors that
/// are not `Clone`, such as `std::io::Error`.
///
/// The function is called once to make the error that waiters share, and once for each waiter.
#[expect(
    clippy::exhaustive_structs,
    reason = "it will never hold more than a function"
)]
pub struct ShareWith<E>(pub fn(&E) -> E);

impl<E> Clone for ShareWith<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ShareWith<E> {}

impl<E> fmt::Debug for ShareWith<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareWith")
    }
}

/// Errors are not shared: each waiter runs the load itself.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct NotShared;

impl<E: Clone + Send + Sync + 'static> ShareError<E> for ShareByClone {
    fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(error.clone()))
    }

    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E> {
        shared.downcast_ref::<E>().cloned()
    }
}

impl<E: From<SharedError> + fmt::Display> ShareError<E> for ShareByText {
    fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(SharedError {
            message: format!("{error:#}").into(),
        }))
    }

    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E> {
        shared.downcast_ref::<SharedError>().cloned().map(E::from)
    }
}

impl<E: Send + Sync + 'static> ShareError<E> for ShareWith<E> {
    fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new((self.0)(error)))
    }

    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E> {
        shared.downcast_ref::<E>().map(self.0)
    }
}

impl<E> ShareError<E> for NotShared {
    fn share(self, _: &E) -> Option<Box<dyn Any + Send + Sync>> {
        None
    }

    fn receive(self, _: &(dyn Any + Send + Sync)) -> Option<E> {
        None
    }

    fn can_share(self) -> bool {
        false
    }
}

/// The error of a load that another caller ran, as text. Waiters get it if the error itself cannot
/// be cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedError {
    message: Arc<str>,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SharedError {}

/// The outcome of a load, without the types of its function.
#[derive(Clone)]
pub(crate) enum LoadOutcome {
    Value(Held),
    Absent,
    /// A value from which a waiter can make an error.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The body was dropped at its limit.
    TimedOut(LoadTimeout),
    /// The load failed, and its callers get the stale value, if it may still be returned.
    Stale(StaleValue),
}
