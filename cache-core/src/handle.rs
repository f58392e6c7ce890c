//! Handles: one key of one function, to drop, look at, replace.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cached_function::CachedFunction;
use crate::call::{CacheValue, ResultSpec, drive};
use crate::error::{Error, ErrorKind};
use crate::function::slot::Origin;
use crate::function::ttl::Ttl;
use crate::invalidation::Invalidation;
use crate::key::{ArgumentList, Arguments, Key, UnboundArguments};
use crate::load::{self, Mode};
use crate::outcome::{NotShared, Outcome};
use crate::tier::Receipt;
use crate::write_guard::WriteGuard;

/// A key of a function, in no runtime yet: each operation binds it where it is first polled.
#[derive(Debug)]
struct BoundKey {
    origin: Origin,
    arguments: Result<UnboundArguments, Error>,
}

impl BoundKey {
    fn new(origin: Origin, arguments: impl ArgumentList) -> Self {
        Self {
            origin,
            arguments: Arguments::unbound(arguments),
        }
    }

    /// The function in the runtime that a call here would use, and the key there.
    fn bind(&self) -> Result<(Arc<CachedFunction>, Key), Error> {
        let arguments = self.arguments.as_ref().map_err(Clone::clone)?;
        let bound = self.origin.bind();
        let key = arguments.key(bound.id, bound.seed);
        Ok((bound, key))
    }

    async fn invalidate(&self) -> Result<Receipt, Error> {
        let (bound, key) = self.bind()?;
        bound.invalidate(&key).await
    }

    async fn write_guard(&self) -> Result<WriteGuard, Error> {
        let (bound, key) = self.bind()?;
        Ok(WriteGuard::take(&bound, key).await)
    }

    async fn peek<V: 'static>(&self, spec: &ResultSpec<V, NotShared>) -> Option<V> {
        let (bound, key) = self.bind().ok()?;
        let held = load::peek(bound, key, &spec.value_type).await?;
        (spec.value_type.give)(held)
    }

    async fn put<V: 'static>(
        &self,
        value: V,
        ttl: Option<Duration>,
        spec: &ResultSpec<V, NotShared>,
    ) -> Result<Receipt, Error> {
        if let Some(ttl) = ttl {
            Ttl::everywhere(ttl).check()?;
        }
        let (bound, key) = self.bind()?;
        if spec.keep_if.is_some_and(|keep_if| !keep_if(&value)) {
            return bound.invalidate(&key).await;
        }
        let held = (spec.value_type.hold)(value);
        load::put(bound, key, held, ttl, &spec.value_type).await
    }

    async fn strong<R, V, F>(&self, spec: &ResultSpec<V, NotShared>, body: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        V: Send + Sync + 'static,
        F: Future<Output = R>,
    {
        let Ok((bound, key)) = self.bind() else {
            return body().await;
        };
        if bound.has_lower() {
            return drive(bound, Some(key), Mode::Strong, *spec, body).await;
        }
        // Without a lower tier, what memory has is current.
        match bound.hit(&key.as_ref(), &spec.value_type) {
            Some(value) => R::value(value),
            None => drive(bound, Some(key), Mode::Join, *spec, body).await,
        }
    }

    async fn refresh<R, V, F>(&self, spec: &ResultSpec<V, NotShared>, body: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        V: Send + Sync + 'static,
        F: Future<Output = R>,
    {
        match self.bind() {
            Ok((bound, key)) => drive(bound, Some(key), Mode::Refresh, *spec, body).await,
            Err(_) => body().await,
        }
    }
}

/// One key of a [`Function`](crate::Function).
///
/// A handle belongs to no runtime. Each operation acts on the runtime that a call would use where its future is first polled:
/// the one of the [scope](crate::CacheRuntime::scope), else the installed one. It does not matter where the handle was made.
pub struct Handle<V> {
    place: BoundKey,
    spec: ResultSpec<V, NotShared>,
}

impl<V> fmt::Debug for Handle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("arguments", &self.place.arguments)
            .finish_non_exhaustive()
    }
}

impl<V> Handle<V> {
    pub(crate) fn new(
        origin: Origin,
        spec: ResultSpec<V, NotShared>,
        arguments: impl ArgumentList,
    ) -> Self {
        Self {
            place: BoundKey::new(origin, arguments),
            spec,
        }
    }
}

impl<V: CacheValue> Handle<V> {
    /// Drops the value in every tier. When it has returned, no call that starts here gets a value whose load began
    /// before; nor, once the bound of the shared tier has passed, one on another instance. [`Receipt::Queued`] where a
    /// shared tier could not be reached and is told later.
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) when the arguments make no key; [`Unavailable`](ErrorKind::Unavailable) when the tier was
    /// shut down, or is one that does not queue. Memory is clean all the same.
    ///
    /// # Cancel safety
    /// Dropped before it was polled it does nothing. Dropped later, a shared tier that queues is told all the same.
    pub async fn invalidate(&self) -> Result<Receipt, Error> {
        self.place.invalidate().await
    }

    /// Returns the value if a tier has it. Never loads, and puts nothing into memory. A hit in a tier
    /// below memory is counted, and copied to the tiers between it and memory, as for a call.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self) -> Option<V> {
        self.place.peek(&self.spec).await
    }

    /// Replaces the value in every tier; loads under way do not overwrite it, and peers drop theirs. One that `cache_if` does not
    /// keep drops what is there.
    ///
    /// What invalidates the key on this instance from the first poll on drops this value too; what does on another, from when the
    /// shared tier has given the lease for it. It does not know of a change between when the value was made and then: where there
    /// may be one, take a [`write_guard`](Self::write_guard), or invalidate.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate), and what keeps the function from being cached at all, where something does. A tier that
    /// could not take the new value is a miss there, and counted; of one that no shared tier can take memory may lose sight too, when
    /// the channel brings the word of what was dropped for it.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped, it may have dropped the old value without storing the new.
    pub async fn put(&self, value: V) -> Result<Receipt, Error> {
        self.place.put(value, None, &self.spec).await
    }

    /// The same for a value that says itself how long it is fresh, as an answer with `max-age` does: `ttl` takes the place of the
    /// function's own, for this value, in every tier (by the tier's scale).
    ///
    /// # Errors
    /// As [`put`](Self::put); [`Configuration`](ErrorKind::Configuration) for a time of zero or of more than a year.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn put_for(&self, value: V, ttl: Duration) -> Result<Receipt, Error> {
        self.place.put(value, Some(ttl), &self.spec).await
    }

    /// Keeps values of this key from being stored until a transaction that changes it is committed; see [`WriteGuard`].
    ///
    /// # Errors
    /// [`Codec`](ErrorKind::Codec) when the arguments make no key. A tier that cannot be reached is none:
    /// [`WriteGuard::is_held`] tells.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn write_guard(&self) -> Result<WriteGuard, Error> {
        self.place.write_guard().await
    }

    /// The value as of now, whatever the function's consistency: memory answers only where the shared tier says that it has the
    /// same. Loads where there is none.
    ///
    /// # Cancel safety
    /// As a call of the function.
    pub async fn strong<R, F>(&self, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
    {
        self.place.strong(&self.spec, load).await
    }

    /// Loads now and replaces the value; loads under way do not overwrite it. Who calls meanwhile gets the value
    /// there is, or waits for this load. A load that finds nothing to keep drops the value; one that fails leaves it.
    ///
    /// # Cancel safety
    /// Cancel safe. If it is dropped, the first waiter that polls becomes the leader.
    pub async fn refresh<R, F>(&self, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
    {
        self.place.refresh(&self.spec, load).await
    }
}

/// A call of an annotated function that is not made yet: `get_user::entry(42)`.
///
/// It belongs to no runtime, as a [`Handle`] does: `CacheRuntime::scope(runtime, get_user::entry(42).refresh())` acts on `runtime`.
///
/// `R` is what the function returns. Its methods speak of the value inside: for a function that returns
/// `Result<User, E>`, `Option<User>` or `Result<Option<User>, E>` they are `peek() -> Option<User>` and
/// `put(user: User)`. They are found by type, in three steps of `Deref`, so that aliases work.
///
/// A generic function that returns `T` and is called for a `T` that is a `Result` keeps the whole of it, which this handle
/// can only drop: `peek` finds nothing, `put` is an error, `refresh` drops and runs the body.
pub struct Call<R, F>(OptionalCall<R, F>);

/// The methods of a [`Call`] that returns a `Result<T, E>` or an `Option<T>`.
pub struct OptionalCall<R, F>(PlainCall<R, F>);

/// The methods of a [`Call`] that returns its value as it is, and those that every call has.
pub struct PlainCall<R, F> {
    place: BoundKey,
    /// `ResultSpec<V, NotShared>` of the type that is kept, which the return type hides.
    spec: Box<dyn Any + Send + Sync>,
    /// The body, not begun. A lock only to make it shareable; it is taken once.
    body: Mutex<Option<F>>,
    returns: PhantomData<fn() -> R>,
}

impl<R, F> Call<R, F> {
    /// The call of `body`, which is not begun, under the key of `handle`.
    pub(crate) fn new<V: Send + Sync + 'static>(handle: Handle<V>, body: F) -> Self {
        Self(OptionalCall(PlainCall {
            place: handle.place,
            spec: Box::new(handle.spec),
            body: Mutex::new(Some(body)),
            returns: PhantomData,
        }))
    }

    /// [`invalidate`](PlainCall::invalidate) as a future that holds no argument, so that it can be spawned.
    pub fn into_invalidation(self) -> Invalidation {
        let BoundKey { origin, arguments } = self.0.0.place;
        Invalidation::of_key(origin, arguments)
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
    /// As [`Handle::invalidate`].
    pub async fn invalidate(&self) -> Result<Receipt, Error> {
        self.place.invalidate().await
    }

    /// Keeps values of this key from being stored until a transaction that changes it is committed; see [`WriteGuard`].
    ///
    /// # Errors
    /// As [`Handle::write_guard`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn write_guard(&self) -> Result<WriteGuard, Error> {
        self.place.write_guard().await
    }

    /// Where the function keeps values of this type.
    fn keeps<V: 'static>(&self) -> Option<&ResultSpec<V, NotShared>> {
        self.spec.downcast_ref()
    }

    fn take_body(&self) -> F {
        self.body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .expect("`refresh` and `strong` run the body with its arguments, which can be done once per handle")
    }
}

fn kept_whole<R>() -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "values of `{}` cannot be put: the function is generic and keeps its whole result",
            std::any::type_name::<R>()
        ),
    )
}

// What a function keeps follows from the result type as the function sees it. In a generic one an `Option<V>` can stand where
// it sees a `T`, and is then kept whole: so each method looks for both.
macro_rules! value_methods {
    ($($call:ident<$returns:ty> with [$($parameter:ident)?], kept as $($kept:ty),+;)*) => {
        $(
            impl<V: CacheValue, $($parameter,)? F> $call<$returns, F> {
                /// Returns the value if a tier has it. Never loads, and puts nothing into memory.
                /// A hit in a tier below memory is counted, and copied to the tiers between it
                /// and memory, as for a call.
                ///
                /// # Cancel safety
                /// Cancel safe.
                pub async fn peek(&self) -> Option<V> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = self.place.peek(spec).await?;
                        return inner::<$returns, $kept, V>(kept);
                    })+
                    None
                }

                /// Replaces the value in every tier; see [`Handle::put`].
                ///
                /// # Errors
                /// As [`Handle::put`].
                ///
                /// # Cancel safety
                /// Not cancel safe: dropped, it may have dropped the old value without storing the new.
                pub async fn put(&self, value: V) -> Result<Receipt, Error> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = inner::<$returns, V, $kept>(value).ok_or_else(kept_whole::<$returns>)?;
                        return self.place.put(kept, None, spec).await;
                    })+
                    Err(kept_whole::<$returns>())
                }

                /// Replaces the value with one that has a time of its own; see [`Handle::put_for`].
                ///
                /// # Errors
                /// As [`Handle::put_for`].
                ///
                /// # Cancel safety
                /// As [`put`](Self::put).
                pub async fn put_for(&self, value: V, ttl: Duration) -> Result<Receipt, Error> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = inner::<$returns, V, $kept>(value).ok_or_else(kept_whole::<$returns>)?;
                        return self.place.put(kept, Some(ttl), spec).await;
                    })+
                    Err(kept_whole::<$returns>())
                }
            }

            impl<V: CacheValue, $($parameter,)? F: Future<Output = $returns>> $call<$returns, F> {
                /// Makes the call with [strong consistency](crate::Consistency::Strong), whatever the function's own is; see
                /// [`Handle::strong`].
                ///
                /// # Errors
                /// The body's own.
                ///
                /// # Panics
                /// When the body was taken before: it takes the arguments with it.
                ///
                /// # Cancel safety
                /// As a call of the function.
                pub async fn strong(&self) -> $returns {
                    let body = self.take_body();
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        return self.place.strong(spec, || body).await;
                    })+
                    body.await
                }

                /// Runs the body now and replaces the value; see [`Handle::refresh`].
                ///
                /// # Errors
                /// The body's own.
                ///
                /// # Panics
                /// When it is called twice: the body takes the arguments with it.
                ///
                /// # Cancel safety
                /// Cancel safe. If it is dropped, the first waiter that polls becomes the leader. The body is gone with it: the handle cannot refresh
                /// again.
                pub async fn refresh(&self) -> $returns {
                    let body = self.take_body();
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        return self.place.refresh(spec, || body).await;
                    })+
                    // A tier that could not be told has counted it.
                    let _ = self.place.invalidate().await;
                    body.await
                }
            }
        )*
    };
}

/// The `W` in a result that holds a `V`.
fn inner<R: Outcome<V> + Outcome<W>, V, W>(value: V) -> Option<W> {
    <R as Outcome<W>>::into_value(<R as Outcome<V>>::value(value)).ok()
}

value_methods! {
    Call<Result<Option<V>, E>> with [E], kept as V, Option<V>;
    OptionalCall<Result<V, E>> with [E], kept as V;
    OptionalCall<Option<V>> with [], kept as V, Option<V>;
    PlainCall<V> with [], kept as V;
}
