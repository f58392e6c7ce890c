//! What an expansion may name, and nothing else. No part of the public interface.

pub use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

pub use inventory;
use serde::Serialize;

pub use crate::__returns as returns;
pub use crate::call::{CacheValue, CachedResult, MemoryLookup, Miss, ResultOf};
use crate::call::{ResultSpec, look_up};
use crate::codec::{SharedValue, ValueType};
pub use crate::function::definition::Definition;
pub use crate::function::instantiation::Instantiation;
pub use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
pub use crate::function::registry::Registered;
pub use crate::function::slot::FunctionSlot;
use crate::function::slot::Origin;
pub use crate::function::ttl::Ttl;
pub use crate::handle::Call;
use crate::handle::Handle;
pub use crate::invalidation::Invalidation;
pub use crate::key::{ArgumentList, Arguments, KeyArgument, Parts, Piece, Refused};
pub use crate::level::{Level, Levels};
pub use crate::outcome::NotShared;
use crate::outcome::{ShareByClone, ShareByText, ShareWith, SharedError};
pub use crate::runtime::builder::EnvTier;
use crate::weigh::{Weigh, weigh_by_serde};

/// A function and, where it is generic, which of its instances.
#[derive(Clone, Copy, Debug)]
pub struct FunctionRef {
    slot: &'static FunctionSlot,
    instance: Option<Instantiation>,
}

impl FunctionRef {
    /// A function that is not generic.
    #[must_use]
    #[inline]
    pub const fn new(slot: &'static FunctionSlot) -> Self {
        Self {
            slot,
            instance: None,
        }
    }

    /// The instance that the type of `types` tells from others.
    #[must_use]
    #[inline]
    pub fn instance<T>(slot: &'static FunctionSlot, _types: &T) -> Self {
        Self {
            slot,
            instance: Some(Instantiation::of::<T>()),
        }
    }

    /// Drops every key of the function.
    pub fn invalidate_all(self) -> Invalidation {
        Invalidation::of_all(Origin::declared(self.slot, self.instance))
    }
}

/// The type of a value, as a value.
pub fn type_of<T: ?Sized>(_: &T) -> PhantomData<T> {
    PhantomData
}

/// What is done with the key of a call, once its arguments are told.
pub trait CallMode<T: CachedResult> {
    /// What comes of it.
    type Output;

    /// Does it.
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> Self::Output;
}

/// Begins the call: looks in memory.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct CallNow;

impl<T: CachedResult> CallMode<T> for CallNow {
    type Output = MemoryLookup<T>;

    #[inline]
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> MemoryLookup<T> {
        look_up(&at.slot.bound(at.instance), returned, arguments)
    }
}

/// Makes the handle of the call, which is not begun.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct MakeHandle;

impl<T: CachedResult> CallMode<T> for MakeHandle {
    type Output = Handle<T::Value>;

    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> Handle<T::Value> {
        let spec = returned.spec();
        let spec = ResultSpec {
            value_type: spec.value_type,
            keep_if: spec.keep_if,
            share: NotShared,
        };
        Handle::new(Origin::declared(at.slot, at.instance), spec, arguments)
    }
}

/// A call that is not made yet.
pub fn call<V, F>(handle: Handle<V>, body: F) -> Call<F::Output, F>
where
    V: Send + Sync + 'static,
    F: Future,
{
    Call::new(handle, body)
}

/// What the probes found of a result type.
#[inline]
pub const fn returns<R, V, S>(
    _result: PhantomData<R>,
    value_type: ValueType<V>,
    share: S,
) -> ResultOf<R, V, S> {
    ResultOf::new(ResultSpec {
        value_type,
        keep_if: None,
        share,
    })
}

/// A type to probe, by method look-up on references: what is implemented for the most references wins. (`T`, `Option<T>`,
/// `Result<T, E>` and `Result<Option<T>, E>` are told apart by type, so aliases work; in a generic function by its
/// bounds.)
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Probe<T> {
    /// Probes `T`.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Probe<T> {
    /// Probes the type that `kind` stands for.
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
    /// The value.
    type Value;

    /// Its type.
    fn kind(&self) -> PhantomData<Self::Value> {
        PhantomData
    }
}

impl<T, E> NestedKind for &&Probe<Result<Option<T>, E>> {
    type Value = T;
}

/// The value inside `Result<T, E>` or `Option<T>`.
pub trait WrappedKind {
    /// The value.
    type Value;

    /// Its type.
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

/// A value that is returned as it is.
pub trait PlainKind {
    /// The value.
    type Value;

    /// Its type.
    fn kind(&self) -> PhantomData<Self::Value> {
        PhantomData
    }
}

impl<T> PlainKind for Probe<T> {
    type Value = T;
}

/// Errors that can be cloned.
pub trait ClonedErrors {
    /// How they are shared.
    fn share(&self) -> ShareByClone {
        ShareByClone
    }
}

impl<T, E: Clone + Send + Sync + 'static> ClonedErrors for &&Probe<Result<T, E>> {}

/// Errors that can be made of another's text.
pub trait DescribedErrors {
    /// How they are shared.
    fn share(&self) -> ShareByText {
        ShareByText
    }
}

impl<T, E: From<SharedError> + fmt::Display> DescribedErrors for &Probe<Result<T, E>> {}

/// Errors of any other kind, and results that have none.
pub trait OtherErrors {
    /// How they are shared.
    fn share(&self) -> NotShared {
        NotShared
    }
}

impl<T> OtherErrors for Probe<T> {}

/// Errors that a function of the user's rebuilds.
pub trait RebuiltErrors<E> {
    /// How they are shared.
    fn rebuilt(&self, rebuild: fn(&E) -> E) -> ShareWith<E> {
        ShareWith(rebuild)
    }
}

impl<T, E: Send + Sync + 'static> RebuiltErrors<E> for &Probe<Result<T, E>> {}

/// Results in which there is no error to rebuild: the bound is not met by any, and is the only mistake.
pub trait NoErrors {
    /// What is probed.
    type Result;

    /// How they are not shared.
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

/// A result with an error that can be shared: named in an error message, and implemented by nothing.
#[diagnostic::on_unimplemented(
    message = "`share_error` needs a function that returns a `Result<_, E>` with `E: Send + Sync + 'static`",
    label = "there is no such error in `{Self}`",
    note = "leave `share_error` out where there is no error: values, and `None`, reach every call that waited"
)]
pub trait Fallible {}

/// Values that say what they weigh.
pub trait Weighed<V> {
    /// The value's type, weighed so.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V: Weigh> Weighed<V> for &&Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type.weigh(V::weigh)
    }
}

/// Values that serde can walk through.
pub trait Walked<V> {
    /// The value's type, weighed so.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V: Serialize> Walked<V> for &Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type.weigh(weigh_by_serde)
    }
}

/// Values of which only the size is known.
pub trait Plain<V> {
    /// The value's type, weighed so.
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V> Plain<V> for Probe<V> {
    #[inline]
    fn weighed(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type
    }
}

/// Values that are shared pointers already.
pub trait HeldAsItIs<V> {
    /// The value's type, held so.
    fn held(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<T: Send + Sync + 'static> HeldAsItIs<Arc<T>> for &Probe<Arc<T>> {
    #[inline]
    fn held(&self, value_type: ValueType<Arc<T>>) -> ValueType<Arc<T>> {
        value_type.as_it_is()
    }
}

/// Values that memory puts behind a pointer of its own.
pub trait HeldBehindPointer<V> {
    /// The value's type, held so.
    fn held(&self, value_type: ValueType<V>) -> ValueType<V>;
}

impl<V> HeldBehindPointer<V> for Probe<V> {
    #[inline]
    fn held(&self, value_type: ValueType<V>) -> ValueType<V> {
        value_type
    }
}

/// The type of a value that stays in memory; the error stands at the return type, and is the only one: nothing else asks that
/// the value can be cloned.
#[inline]
pub const fn memory_only<V: CacheValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::memory_only()
}

/// The type of a value that may go to every tier; the error stands at the return type.
#[inline]
pub const fn shared<V: CacheValue + SharedValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::shared()
}

#[doc(hidden)]
#[macro_export]
macro_rules! __returns {
    (unshared $kind:ident $returned:ty) => {
        $crate::__returns!(@ $kind $returned, $crate::private::NotShared)
    };
    (rebuilt($rebuild:expr) $kind:ident $returned:ty) => {
        $crate::__returns!(@ $kind $returned, (&&&$crate::private::Probe::<$returned>::new()).rebuilt($rebuild))
    };
    ($kind:ident $returned:ty) => {
        $crate::__returns!(@ $kind $returned, (&&&$crate::private::Probe::<$returned>::new()).share())
    };
    (@ $value_type:ident $returned:ty, $share:expr) => {{
        #[allow(unused_imports)]
        use $crate::private::{
            ClonedErrors as _, DescribedErrors as _, HeldAsItIs as _, HeldBehindPointer as _, NestedKind as _, NoErrors as _, OtherErrors as _, Plain as _, PlainKind as _,
            RebuiltErrors as _,
            Walked as _, Weighed as _, WrappedKind as _,
        };
        let kind = (&&&$crate::private::Probe::<$returned>::new()).kind();
        let value_type = $crate::private::$value_type(kind);
        let value_type = (&&&$crate::private::Probe::of(kind)).weighed(value_type);
        let value_type = (&&$crate::private::Probe::of(kind)).held(value_type);
        let share = $share;
        $crate::private::returns(::core::marker::PhantomData::<$returned>, value_type, share)
    }};
}
