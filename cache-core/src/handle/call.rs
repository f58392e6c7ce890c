//! Handles of annotated functions, by the kind of result that the function returns.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::unbound::UnboundKey;
use crate::call::{CacheValue, ResultSpec};
use crate::codec::ErasedType;
use crate::error::{Error, ErrorKind};
use crate::explanation::Explanation;
use crate::outcome::{NotShared, Outcome};
use crate::tier::Receipt;
use crate::write_guard::WriteGuard;

/// A call of an annotated function that has not begun: `get_user::entry(42)`.
///
/// Like a [`Handle`](crate::Handle) it belongs to no runtime:
/// `CacheRuntime::scope(runtime, get_user::entry(42).refresh())` acts on `runtime`.
///
/// `R` is the type that the function returns. The methods take and return the value in it: for a
/// function that returns `Result<User, E>`, `Option<User>` or `Result<Option<User>, E>` they are
/// `peek() -> Option<User>` and `put(user: User)`. The type decides, in three steps of `Deref`, so
/// that aliases work.
///
/// A generic function that returns `T` keeps a `T` that is a `Result` as a whole, which this handle
/// can only invalidate: `peek` finds nothing, `put` is an error, and `refresh` invalidates and runs
/// the body.
pub struct Call<R, F>(OptionalCall<R, F>);

/// The methods of a [`Call`] that returns a `Result<T, E>` or an `Option<T>`.
pub struct OptionalCall<R, F>(PlainCall<R, F>);

/// The methods of a [`Call`] that returns the value itself, and those that every call has.
pub struct PlainCall<R, F> {
    key: UnboundKey,
    /// The `ResultSpec<V, NotShared>` of the type `V` that is kept, which the return type hides.
    spec: Box<dyn AnySpec>,
    /// The body, which has not begun. It is taken out once. The lock is only there so that the call
    /// can be shared between threads; it is never held across an await.
    body: Mutex<Option<F>>,
    returns: PhantomData<fn() -> R>,
}

/// A [`ResultSpec`] whose type is hidden.
pub(super) trait AnySpec: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn value_type(&self) -> &dyn ErasedType;
}

impl<V: Send + Sync + 'static> AnySpec for ResultSpec<V, NotShared> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn value_type(&self) -> &dyn ErasedType {
        &self.value_type
    }
}

impl<R, F> Call<R, F> {
    pub(super) fn new(key: UnboundKey, spec: Box<dyn AnySpec>, body: F) -> Self {
        Self(OptionalCall(PlainCall {
            key,
            spec,
            body: Mutex::new(Some(body)),
            returns: PhantomData,
        }))
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
    /// Removes the value from every tier; see [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Cancel safety
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    pub async fn invalidate(&self) -> Result<Receipt, Error> {
        self.key.invalidate().await
    }

    /// Makes the value stale in every tier; see [`Handle::expire`](crate::Handle::expire).
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Cancel safety
    /// As [`Handle::expire`](crate::Handle::expire).
    pub async fn expire(&self) -> Result<Receipt, Error> {
        self.key.expire().await
    }

    /// Prevents values of this key from being stored until a transaction that changes it is
    /// committed; see [`WriteGuard`].
    ///
    /// # Errors
    /// As [`Handle::write_guard`](crate::Handle::write_guard).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn write_guard(&self) -> Result<WriteGuard, Error> {
        self.key.write_guard().await
    }

    /// Explains the key: what each tier has under it, and what a call of it does now; see
    /// [`Handle::explain`](crate::Handle::explain).
    ///
    /// # Errors
    /// None.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn explain(&self) -> Explanation {
        self.key.explain(self.spec.value_type()).await
    }

    /// Returns how the function treats its values if they are of this type.
    fn keeps<V: 'static>(&self) -> Option<&ResultSpec<V, NotShared>> {
        self.spec.as_any().downcast_ref()
    }

    fn take_body(&self) -> F {
        self.body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .expect(
                "the body of this call has run: `refresh` or `strong` can be called once per \
                     handle",
            )
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

// The type that a function keeps follows from its result type as the function sees it. A generic
// function that returns a `T` keeps an `Option<V>` as a whole if `T` is that type. So each method
// looks for both.
macro_rules! value_methods {
    ($($call:ident<$returns:ty> with [$($parameter:ident)?], kept as $($kept:ty),+;)*) => {
        $(
            impl<V: CacheValue, $($parameter,)? F> $call<$returns, F> {
                /// Returns the value if a tier has it. Never loads. A hit in a tier below memory is
                /// counted, and copied to memory and the tiers above it, as for a call.
                ///
                /// # Cancel safety
                /// Cancel safe.
                pub async fn peek(&self) -> Option<V> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = self.key.peek(spec).await?;
                        return inner::<$returns, $kept, V>(kept);
                    })+
                    None
                }

                /// Replaces the value in every tier; see [`Handle::put`](crate::Handle::put).
                ///
                /// # Errors
                /// As [`Handle::put`](crate::Handle::put).
                ///
                /// # Cancel safety
                /// Not cancel safe: dropped, it may have removed the old value without storing the
                /// new one.
                pub async fn put(&self, value: V) -> Result<Receipt, Error> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = inner::<$returns, V, $kept>(value);
                        let kept = kept.ok_or_else(kept_whole::<$returns>)?;
                        return self.key.put(kept, None, spec).await;
                    })+
                    Err(kept_whole::<$returns>())
                }

                /// Replaces the value with one that has a ttl of its own; see
                /// [`Handle::put_for`](crate::Handle::put_for).
                ///
                /// # Errors
                /// As [`Handle::put_for`](crate::Handle::put_for).
                ///
                /// # Cancel safety
                /// As [`put`](Self::put).
                pub async fn put_for(&self, value: V, ttl: Duration) -> Result<Receipt, Error> {
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        let kept = inner::<$returns, V, $kept>(value);
                        let kept = kept.ok_or_else(kept_whole::<$returns>)?;
                        return self.key.put(kept, Some(ttl), spec).await;
                    })+
                    Err(kept_whole::<$returns>())
                }
            }

            impl<V: CacheValue, $($parameter,)? F: Future<Output = $returns>> $call<$returns, F> {
                /// Makes the call with [strong consistency](crate::Consistency::Strong), whatever
                /// the function's own is; see [`Handle::strong`](crate::Handle::strong).
                ///
                /// # Errors
                /// The body's own.
                ///
                /// # Panics
                /// If this or [`refresh`](Self::refresh) was called before: the body consumes the
                /// arguments.
                ///
                /// # Cancel safety
                /// As a call of the function.
                pub async fn strong(&self) -> $returns {
                    let body = self.take_body();
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        return self.key.strong(spec, || body).await;
                    })+
                    body.await
                }

                /// Runs the body now and replaces the value; see
                /// [`Handle::refresh`](crate::Handle::refresh).
                ///
                /// # Errors
                /// The body's own.
                ///
                /// # Panics
                /// If this or [`strong`](Self::strong) was called before: the body consumes the
                /// arguments.
                ///
                /// # Cancel safety
                /// Cancel safe. If it is dropped, the first waiter that polls becomes the leader.
                /// The body is dropped with it, so the handle cannot refresh again.
                pub async fn refresh(&self) -> $returns {
                    let body = self.take_body();
                    $(if let Some(spec) = self.keeps::<$kept>() {
                        return self.key.refresh(spec, || body).await;
                    })+
                    // A tier that could not be invalidated has counted the failure.
                    let _ = self.key.invalidate().await;
                    body.await
                }
            }
        )*
    };
}

/// Returns the `W` in a result that holds a `V`.
fn inner<R: Outcome<V> + Outcome<W>, V, W>(value: V) -> Option<W> {
    <R as Outcome<W>>::into_value(<R as Outcome<V>>::value(value)).ok()
}

value_methods! {
    Call<Result<Option<V>, E>> with [E], kept as V, Option<V>;
    OptionalCall<Result<V, E>> with [E], kept as V;
    OptionalCall<Option<V>> with [], kept as V, Option<V>;
    PlainCall<V> with [], kept as V;
}
