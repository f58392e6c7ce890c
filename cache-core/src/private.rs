//! What an expansion may name, and nothing else. No part of the public interface.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

pub use inventory;
use serde::Serialize;

pub use crate::__returns as returns;
pub use crate::builder::EnvTier;
pub use crate::call::{CacheValue, Lookup, Miss};
use crate::call::{Terms, look_up};
use crate::codec::{SharedValue, ValueType};
pub use crate::definition::Declaration;
use crate::entry::{Weigh, weigh_by_serde};
use crate::error::Error;
pub use crate::handle::Call;
use crate::handle::Handle;
pub use crate::key::{KeyArgument, Piece};
pub use crate::level::Level;
use crate::outcome::{Cloned, Described, Outcome, SharedError, Unshared};
pub use crate::policy::Ttl;
pub use crate::runtime::Registered;
pub use crate::site::{Instance, Site};

/// A function and, where it is generic, which of its instances.
#[derive(Clone, Copy, Debug)]
pub struct At {
    site: &'static Site,
    instance: Option<Instance>,
}

impl At {
    /// A function that is not generic.
    #[must_use]
    #[inline]
    pub const fn new(site: &'static Site) -> Self {
        Self {
            site,
            instance: None,
        }
    }

    /// The instance that the type of `types` tells from others.
    #[must_use]
    #[inline]
    pub fn instance<T>(site: &'static Site, _types: &T) -> Self {
        Self {
            site,
            instance: Some(Instance::of::<T>()),
        }
    }

    /// Drops every key of the function.
    pub fn invalidate_all(self) -> impl Future<Output = Result<(), Error>> + Send {
        let bound = self.site.with_bound(self.instance, Arc::clone);
        async move { bound.invalidate_all().await }
    }
}

/// The type of a value, as a value.
pub fn type_of<T: ?Sized>(_: &T) -> PhantomData<T> {
    PhantomData
}

/// Asserts that an argument can be part of a key; the error stands at the argument's type, and is the only one: what comes out
/// can be serialized whatever went in.
#[inline]
pub fn argument<T: KeyArgument + ?Sized>(argument: &T) -> impl Serialize + '_ {
    argument
}

/// Looks in memory.
#[inline]
pub fn start<R, V, S, A>(at: At, terms: Returns<V, S>, arguments: &A) -> Lookup<R, V, S>
where
    R: Outcome<V>,
    V: CacheValue,
    A: Serialize + ?Sized,
{
    at.site
        .with_bound(at.instance, |bound| look_up(bound, terms.0, arguments))
}

/// The key of a call that is not made yet; its body takes the arguments, so it comes after.
pub fn handle<V, S, A>(at: At, terms: Returns<V, S>, arguments: &A) -> Handle<V>
where
    V: CacheValue,
    A: Serialize + ?Sized,
{
    let terms = Terms {
        value_type: terms.0.value_type,
        keep_if: terms.0.keep_if,
        share: Unshared,
    };
    at.site
        .with_bound(at.instance, |bound| Handle::new(bound, terms, arguments))
}

/// A call that is not made yet.
pub fn call<R, V, F>(handle: Handle<V>, body: F) -> Call<R, F>
where
    R: Outcome<V>,
    V: CacheValue,
    F: Future<Output = R>,
{
    Call::new(handle, body)
}

/// What a call does with its value; made of what the probes found.
pub struct Returns<V, S>(Terms<V, S>);

impl<V, S> fmt::Debug for Returns<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returns")
    }
}

impl<V, S> Returns<V, S> {
    /// For a value of the probed kind.
    #[inline]
    pub const fn new(_kind: PhantomData<V>, value_type: ValueType<V>, share: S) -> Self {
        Self(Terms {
            value_type,
            keep_if: None,
            share,
        })
    }

    /// Keeps only what `keep_if` approves.
    #[must_use]
    #[inline]
    pub fn keep_if(mut self, keep_if: fn(&V) -> bool) -> Self {
        self.0.keep_if = Some(keep_if);
        self
    }
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
    fn share(&self) -> Cloned {
        Cloned
    }
}

impl<T, E: Clone + Send + Sync + 'static> ClonedErrors for &&Probe<Result<T, E>> {}

/// Errors that can be made of another's text.
pub trait DescribedErrors {
    /// How they are shared.
    fn share(&self) -> Described {
        Described
    }
}

impl<T, E: From<SharedError> + fmt::Display> DescribedErrors for &Probe<Result<T, E>> {}

/// Errors of any other kind, and results that have none.
pub trait OtherErrors {
    /// How they are shared.
    fn share(&self) -> Unshared {
        Unshared
    }
}

impl<T> OtherErrors for Probe<T> {}

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

/// The type of a value that stays in memory.
#[inline]
pub const fn memory_only<V: CacheValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::memory_only()
}

/// The type of a value that may go to every tier; the error stands at the return type.
#[inline]
pub const fn shared<V: CacheValue + SharedValue>(_kind: PhantomData<V>) -> ValueType<V> {
    ValueType::shared()
}

/// Asserts that a value can be cached; the error stands at the return type.
#[inline]
pub const fn value<V: CacheValue>(kind: PhantomData<V>) -> PhantomData<V> {
    kind
}

#[doc(hidden)]
#[macro_export]
macro_rules! __returns {
    (memory_only $returned:ty) => {
        $crate::__returns!(@ memory_only $returned)
    };
    (shared $returned:ty) => {
        $crate::__returns!(@ shared $returned)
    };
    (@ $value_type:ident $returned:ty) => {{
        #[allow(unused_imports)]
        use $crate::private::{
            ClonedErrors as _, DescribedErrors as _, HeldAsItIs as _, HeldBehindPointer as _, NestedKind as _, OtherErrors as _, Plain as _, PlainKind as _,
            Walked as _, Weighed as _, WrappedKind as _,
        };
        let kind = $crate::private::value((&&&$crate::private::Probe::<$returned>::new()).kind());
        let value_type = $crate::private::$value_type(kind);
        let value_type = (&&&$crate::private::Probe::of(kind)).weighed(value_type);
        let value_type = (&&$crate::private::Probe::of(kind)).held(value_type);
        let share = (&&&$crate::private::Probe::<$returned>::new()).share();
        $crate::private::Returns::new(kind, value_type, share)
    }};
}
