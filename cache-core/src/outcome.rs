//! What a body returns, and what of it is kept and shared.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use crate::entry::Held;

/// What a load of a value `V` may return: `V`, `Option<V>`, `Result<V, E>` or `Result<Option<V>, E>`.
///
/// Only the value is kept. `None` and `Err` go to the caller, and to those who waited with it.
pub trait Outcome<V>: Sized {
    /// What a failed load says.
    type Error;

    /// Looks at what the load ended in.
    fn view(&self) -> View<'_, V, Self::Error>;

    /// The value, or itself where there is none.
    ///
    /// # Errors
    /// The outcome as it was, when it holds no value.
    fn into_value(self) -> Result<V, Self>;

    /// A value as this type shows it.
    fn value(value: V) -> Self;

    /// No value, where this type can say so.
    fn absent() -> Option<Self>;

    /// A failure, where this type can say so.
    fn failed(error: Self::Error) -> Option<Self>;
}

/// What an [`Outcome`] holds.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the ways a load can end"
)]
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
}

/// How the error of a failed load reaches those who waited for it.
///
/// The caller who ran the load gets its error itself; this makes one for each of the others.
pub trait ShareError<E>: Copy + Send + Sync + 'static {
    /// Returns what waiters can make an error of, or `None` if the error is not shared: then each waiter runs the load itself.
    fn share(self, error: &E) -> Option<Box<dyn Any + Send + Sync>>;

    /// A waiter's error.
    fn receive(self, shared: &(dyn Any + Send + Sync)) -> Option<E>;

    /// Whether errors of this type can be shared at all.
    fn can_share(self) -> bool {
        true
    }
}

/// Waiters get a clone of the error.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct ShareByClone;

/// Waiters get an error made of a [`SharedError`], as `anyhow::Error` and `Box<dyn Error + Send + Sync>` can be.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct ShareByText;

/// Waiters get an error that this function rebuilds from the one of the load: for errors that are not `Clone`, such as
/// `std::io::Error`.
///
/// The function is called once for what the waiters share, and once for each waiter.
#[expect(clippy::exhaustive_structs, reason = "a function, and nothing else")]
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

/// The error of a load that another caller ran, as text: an error that cannot be cloned reaches its waiters as this.
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

/// What a load ended in, without the types of its function.
#[derive(Clone)]
pub(crate) enum LoadOutcome {
    Value(Held),
    Absent,
    /// What a waiter can make an error of.
    Failed(Arc<dyn Any + Send + Sync>),
}
