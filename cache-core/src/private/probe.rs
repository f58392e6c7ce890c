//! Finding out what kind of result a function returns, by method look-up on references.
//!
//! A macro sees tokens and not types, so that `T`, `Option<T>`, `Result<T, E>` and
//! `Result<Option<T>, E>` must be distinguished by the compiler. [`__returns`](crate::__returns)
//! calls a method on `&&&Probe<T>`. Several traits have a method of that name, each for another
//! number of references; the compiler takes the first that applies, beginning with the most
//! references. So aliases of types work, and inside a generic function the bounds of its parameters
//! decide.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;

use crate::call::{CacheValue, ResultOf, ResultSpec};
use crate::codec::{SharedValue, ValueType};
use crate::outcome::{NotShared, ShareByClone, ShareByText, ShareWith, SharedError};
use crate::weigh::{Weigh, weigh_by_serde};

/// Puts together what the probes found out about a result type.
#[inline]
pub const fn returns<R, V, S>(
    _result: PhantomData<R>,
    value_type: ValueType<V>,
    share: S,
) -> ResultOf<R, V, S> {
    ResultOf::new(ResultSpec {
        value_type,
        keep_if: None,
        ttl_from: None,
        tags_of: None,
        share,
    })
}

/// A type to probe.
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Probe<T> {
    /// Returns the probe of `T`.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Probe<T> {
    /// Returns the probe of the type that `kind` stands for.
    #[must_use]
    #[inline]
    pub const fn of(_kind: PhantomData<T>) -> Self {
        Self(PhantomData)
    }
}

impl<T: ?Sized> Default for Probe<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The value inside `Result<Option<T>, E>`.
pub trait NestedKind {
    /// The type of the value.
    type Value;

    /// Returns the type of the value.
    fn kind(&self) -> PhantomData<Self::Value> {
        PhantomData
    }
}

impl<T, E> NestedKind for &&Probe<Result<Option<T>, E>> {
    type Value = T;
}

/// The value inside `Result<T, E>` or `Option<T>`.
pub trait WrappedKind {
    /// The type of the value.
    type Value;

    /// Returns the type of the value.
    fn kind(&self) -> PhantomData<Self::Value> {
        PhantomData
    }
}

impl<T, E> WrappedKind for &Probe<Result<T, E>> {
    type Value = T;
}

impl<T> WrappedKind for &Probe<Option<T>> {
    type Value = T;
}

/// The value of any other type: the whole.
pub trait PlainKind {
    /// The type of the value.
    type Value;

    /// Returns the type of the value.
    fn kind(&self) -> PhantomData<Self::Value> {
        PhantomData
    }
}

impl<T> PlainKind for Probe<T> {
    type Value = T;
}

/// Results with an error that can be cloned.
pub trait ClonedErrors {
    /// Returns how waiters get the error.
    fn share(&self) -> ShareByClone {
        ShareByClone
    }
}

impl<T, E: Clone + Send + Sync + 'static> ClonedErrors for &&Probe<Result<T, E>> {}

/// Results with an error that can be made from the text of another.
pub trait DescribedErrors {
    /// Returns how waiters get the error.
    fn share(&self) -> ShareByText {
        ShareByText
    }
}

impl<T, E: From<SharedError> + fmt::Display> DescribedErrors for &Probe<Result<T, E>> {}

/// Results with any other error, or with none.
pub trait OtherErrors {
    /// Returns how waiters get the error.
    fn share(&self) -> NotShared {
        NotShared
    }
}

impl<T> OtherErrors for Probe<T> {}

/// Results with an error that a function of the user rebuilds (`share_error`).
pub trait RebuiltErrors<E> {
    /// Returns how waiters get the error.
    fn rebuilt(&self, rebuild: fn(&E) -> E) -> ShareWith<E> {
        ShareWith(rebuild)
    }
}

impl<T, E: Send + Sync + 'static> RebuiltErrors<E> for &Probe<Result<T, E>> {}

/// Results without an error that could be rebuilt. No type meets the bound on [`Fallible`], so
/// using `share_error` with such a result is one compile error, which explains itself.
pub trait NoErrors {
    /// The probed type.
    type Result;

    /// Never compiles.
    fn rebuilt<F>(&self, _rebuild: F) -> NotShared
    where
        Self::Result: Fallible,
    {
        NotShared
    }
}

impl<T> NoErrors for Probe<T> {
    type Result = T;
}

/// A result with an error that can be shared. No type implements it; the compile error about the
/// missing implementation is what it is for.
#[diagnostic::on_unimplemented(
    message = "`share_error` needs a function that returns a `Result<_, E>` with `E: Send + Sync \
               + 'static`",
    label = "`{Self}` has no such error",
    note = "remove `share_error`: values, and `None`, reach every call that waited without it"
)]
pub trait Fallible {}

/// Values that compute their weight.
pub trait Weighed<V> {
    /// Returns the value type with that way to weigh a value.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V: Weigh> Weighed<V> for &&Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type.weigh(V::weigh)
    }
}

/// Values that serde can traverse.
pub trait Walked<V> {
    /// Returns the value type with that way to weigh a value.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V: Serialize> Walked<V> for &Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type.weigh(weigh_by_serde)
    }
}

/// Values of which only the size on the stack is known.
pub trait Plain<V> {
    /// Returns the value type with that way to weigh a value.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V> Plain<V> for Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type
    }
}

/// Values that are shared pointers, which memory holds as they are.
pub trait HeldAsItIs<V> {
    /// Returns the value type with that way to hold a value.
    fn held(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<T: Send + Sync + 'static> HeldAsItIs<Arc<T>> for &Probe<Arc<T>> {
    #[inline]
    fn held(&self, value_type: ValueType<Arc<T>>) -> ValueType<Arc<T>> {
        value_type.as_it_is()
    }
}

/// Values that memory puts behind a shared pointer.
pub trait HeldBehindPointer<V> {
    /// Returns the value type with that way to hold a value.
    fn held(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V> HeldBehindPointer<V> for Probe<V> {
    #[inline]
    fn held(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type
    }
}

/// Returns the type of a value that stays in memory. Only this function requires that the value can
/// be cached, so a value that cannot is one compile error, at the return type.
#[inline]
pub const fn memory_only<V: CacheValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::memory_only()
}

/// Returns the type of a value that every tier may store. Only this function requires that the
/// value can be stored, so a value that cannot is one compile error, at the return type.
#[inline]
pub const fn shared<V: CacheValue + SharedValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::shared()
}

/// Returns what a call must know of its result type, which is probed.
#[doc(hidden)]
#[macro_export]
macro_rules! __returns {
    (unshared $kind:ident $returned:ty) => {
        $crate::__returns!(@ $kind $returned, $crate::private::NotShared)
    };
    (rebuilt($rebuild:expr) $kind:ident $returned:ty) => {
        $crate::__returns!(
            @ $kind $returned,
            (&&&$crate::private::Probe::<$returned>::new()).rebuilt($rebuild)
        )
    };
    ($kind:ident $returned:ty) => {
        $crate::__returns!(
            @ $kind $returned,
            (&&&$crate::private::Probe::<$returned>::new()).share()
        )
    };
    (@ $value_type:ident $returned:ty, $share:expr) => {{
        #[allow(unused_imports)]
        use $crate::private::{
            ClonedErrors as _, DescribedErrors as _, HeldAsItIs as _, HeldBehindPointer as _,
            NestedKind as _, NoErrors as _, OtherErrors as _, Plain as _, PlainKind as _,
            RebuiltErrors as _, Walked as _, Weighed as _, WrappedKind as _,
        };
        let kind = (&&&$crate::private::Probe::<$returned>::new()).kind();
        let value_type = $crate::private::$value_type(kind);
        let value_type = (&&&$crate::private::Probe::of(kind)).weighed(value_type);
        let value_type = (&&$crate::private::Probe::of(kind)).held(value_type);
        let share = $share;
        $crate::private::returns(::core::marker::PhantomData::<$returned>, value_type, share)
    }};
}
