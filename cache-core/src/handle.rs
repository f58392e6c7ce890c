//! Handles: one key of one function, to drop, look at, replace.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bound::Bound;
use crate::call::{CacheValue, Terms, refresh};
use crate::error::{Error, ErrorKind};
use crate::key::{Arguments, Key};
use crate::outcome::{Landed, Outcome, Unshared};
use crate::tier::Claim;

/// A key of a function.
#[derive(Debug)]
struct Place {
    bound: Arc<Bound>,
    key: Result<Key, Error>,
}

impl Place {
    fn new<A: serde::Serialize + ?Sized>(bound: &Arc<Bound>, arguments: &A) -> Self {
        let key = Arguments::encode(arguments, bound.seed)
            .map(|arguments| arguments.key(bound.id).to_owned());
        Self {
            bound: Arc::clone(bound),
            key,
        }
    }

    async fn invalidate(&self) -> Result<(), Error> {
        self.bound
            .invalidate(self.key.as_ref().map_err(Clone::clone)?)
            .await
    }

    async fn peek<V: CacheValue>(&self, terms: &Terms<V, Unshared>) -> Option<V> {
        let key = self.key.as_ref().ok()?;
        if let Some(value) = self.bound.peek(&key.as_ref(), &terms.value_type) {
            return Some(value);
        }
        let mut lower = self.bound.lower_tiers(key);
        self.bound
            .find(key, &mut lower, &terms.value_type)
            .await
            .map(|(value, _)| value)
    }

    async fn put<V: CacheValue>(&self, value: V, terms: &Terms<V, Unshared>) -> Result<(), Error> {
        let (bound, key) = (&*self.bound, self.key.as_ref().map_err(Clone::clone)?);
        // Loads under way may have seen what the value replaces.
        let dropped = bound.invalidate(key).await;
        let leader = bound.stack.flights.lead(key, &bound.stack.fences);
        let mut lower = bound.lower_tiers(key);
        bound
            .lease(&mut lower, Claim::TakeOver, &terms.value_type)
            .await;
        bound.keep(key, &value, leader.start(), None, &terms.value_type);
        leader.land(Arc::new(Landed::Value(value.clone())));
        bound
            .fill(
                key,
                &value,
                std::time::Duration::ZERO,
                &mut lower,
                &terms.value_type,
            )
            .await;
        dropped
    }

    async fn refresh<R, V, F>(&self, terms: &Terms<V, Unshared>, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        V: CacheValue,
        F: Future<Output = R>,
    {
        match &self.key {
            Ok(key) => refresh(&self.bound, key.clone(), *terms, load).await,
            Err(_) => load().await,
        }
    }
}

/// One key of a [`Function`](crate::Function).
pub struct Handle<V> {
    place: Place,
    terms: Terms<V, Unshared>,
}

impl<V> fmt::Debug for Handle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("key", &self.place.key)
            .finish_non_exhaustive()
    }
}

impl<V: CacheValue> Handle<V> {
    pub(crate) fn new<A>(bound: &Arc<Bound>, terms: Terms<V, Unshared>, arguments: &A) -> Self
    where
        A: serde::Serialize + ?Sized,
    {
        Self {
            place: Place::new(bound, arguments),
            terms,
        }
    }

    /// Drops the value in every tier. When it has returned, no call that starts here gets a value whose load began
    /// before.
    ///
    /// # Errors
    /// A lower tier could not be told: its record may be read again when it is back. Memory is clean all the same.
    /// [`Codec`](ErrorKind::Codec) when the arguments make no key.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it returned, it promises nothing.
    pub async fn invalidate(&self) -> Result<(), Error> {
        self.place.invalidate().await
    }

    /// The value, if a tier has it. Never loads.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self) -> Option<V> {
        self.place.peek(&self.terms).await
    }

    /// Replaces the value in every tier; loads under way do not overwrite it.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate). A tier that could not take the new value is a miss there, and counted.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped, it may have dropped the old value without storing the new.
    pub async fn put(&self, value: V) -> Result<(), Error> {
        self.place.put(value, &self.terms).await
    }

    /// Loads now and replaces the value; loads under way do not overwrite it. Who calls meanwhile gets the value
    /// there is, or waits for this load.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped, it gives the lead to a waiter.
    pub async fn refresh<R, F>(&self, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
    {
        self.place.refresh(&self.terms, load).await
    }
}

/// A call of an annotated function that is not made yet: `get_user::entry(42)`.
///
/// `R` is what the function returns. Its methods speak of the value inside: for a function that returns
/// `Result<User, E>`, `Option<User>` or `Result<Option<User>, E>` they are `peek() -> Option<User>` and
/// `put(user: User)`. They are found by type, in three steps of `Deref`, so that aliases work.
pub struct Call<R, F>(OptionalCall<R, F>);

/// The methods of a [`Call`] that returns a `Result<T, E>` or an `Option<T>`.
pub struct OptionalCall<R, F>(PlainCall<R, F>);

/// The methods of a [`Call`] that returns its value as it is, and those that every call has.
pub struct PlainCall<R, F> {
    place: Place,
    /// `Terms<V, Unshared>` of the value's type, which the return type hides.
    terms: Box<dyn Any + Send + Sync>,
    /// The body, not begun. A lock only to make it shareable; it is taken once.
    body: Mutex<Option<F>>,
    returns: PhantomData<fn() -> R>,
}

impl<R, F> Call<R, F> {
    /// The call of `body`, which is not begun, under the key of `handle`.
    pub(crate) fn new<V: CacheValue>(handle: Handle<V>, body: F) -> Self {
        Self(OptionalCall(PlainCall {
            place: handle.place,
            terms: Box::new(handle.terms),
            body: Mutex::new(Some(body)),
            returns: PhantomData,
        }))
    }
}

impl<R, F> Call<R, F> {
    /// [`invalidate`](PlainCall::invalidate) as a future that holds no argument: what `invalidate!` gives.
    ///
    /// # Errors
    /// As [`Handle::invalidate`].
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it returned, it promises nothing.
    pub fn into_invalidation(self) -> impl Future<Output = Result<(), Error>> + Send + use<R, F> {
        let place = self.0.0.place;
        async move { place.invalidate().await }
    }
}

impl<R, F> Deref for Call<R, F> {
    type Target = OptionalCall<R, F>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<R, F> Deref for OptionalCall<R, F> {
    type Target = PlainCall<R, F>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {
        $(impl<R, F> fmt::Debug for $name<R, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })*
    };
}

opaque_debug!(Call, OptionalCall, PlainCall);

impl<R, F> PlainCall<R, F> {
    /// Drops the value in every tier; see [`Handle::invalidate`].
    ///
    /// # Errors
    /// As [`Handle::invalidate`].
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it returned, it promises nothing.
    pub async fn invalidate(&self) -> Result<(), Error> {
        self.place.invalidate().await
    }

    fn terms<V: CacheValue>(&self) -> Result<&Terms<V, Unshared>, Error> {
        self.terms.downcast_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Configuration,
                format!(
                    "use the handle for `{}`: the function is generic and keeps its value as another type",
                    std::any::type_name::<V>()
                ),
            )
        })
    }

    async fn peek_value<V: CacheValue>(&self) -> Option<V> {
        self.place.peek(self.terms().ok()?).await
    }

    async fn put_value<V: CacheValue>(&self, value: V) -> Result<(), Error> {
        self.place.put(value, self.terms()?).await
    }
}

impl<R, F: Future<Output = R>> PlainCall<R, F> {
    async fn refresh_value<V: CacheValue>(&self) -> R
    where
        R: Outcome<V>,
    {
        let body = self
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let body = body.expect(
            "`refresh` runs the body with its arguments, which can be done once per handle",
        );
        match self.terms() {
            Ok(terms) => self.place.refresh(terms, || body).await,
            Err(_) => body.await,
        }
    }
}

macro_rules! value_methods {
    ($($call:ident<$returns:ty> with $($parameter:ident),*;)*) => {
        $(
            impl<V: CacheValue, $($parameter,)* F> $call<$returns, F> {
                /// The value, if a tier has it. Never loads.
                ///
                /// # Cancel safety
                /// Cancel safe.
                pub async fn peek(&self) -> Option<V> {
                    self.peek_value().await
                }

                /// Replaces the value in every tier; see [`Handle::put`].
                ///
                /// # Errors
                /// As [`Handle::put`].
                ///
                /// # Cancel safety
                /// Not cancel safe: dropped, it may have dropped the old value without storing the new.
                pub async fn put(&self, value: V) -> Result<(), Error> {
                    self.put_value(value).await
                }
            }

            impl<V: CacheValue, $($parameter,)* F: Future<Output = $returns>> $call<$returns, F> {
                /// Runs the body now and replaces the value; see [`Handle::refresh`].
                ///
                /// # Errors
                /// The body's own.
                ///
                /// # Panics
                /// When it is called twice: the body takes the arguments with it.
                ///
                /// # Cancel safety
                /// Cancel safe: dropped, it gives the lead to a waiter.
                pub async fn refresh(&self) -> $returns {
                    self.refresh_value::<V>().await
                }
            }
        )*
    };
}

value_methods! {
    Call<Result<Option<V>, E>> with E;
    OptionalCall<Result<V, E>> with E;
    OptionalCall<Option<V>> with;
    PlainCall<V> with;
}
