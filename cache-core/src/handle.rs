//! Handles: one key of one function, to invalidate, read, or replace.

mod batch;
mod call;
mod unbound;

use std::fmt;
use std::future::Future;
use std::time::Duration;

pub use self::batch::BatchEntry;
pub(crate) use self::batch::BatchKeys;
pub use self::call::{Call, OptionalCall, PlainCall};
use self::unbound::UnboundKey;
use crate::call::{CacheValue, ResultSpec};
use crate::error::Error;
use crate::explanation::Explanation;
use crate::function::slot::Origin;
use crate::key::ArgumentList;
use crate::outcome::{NotShared, Outcome};
use crate::tier::Receipt;
use crate::write_guard::WriteGuard;

/// One key of a [`Function`](crate::Function).
///
/// A handle belongs to no runtime. Each operation acts on the runtime that a call would use where
/// its future is first polled: that of the [scope](crate::CacheRuntime::scope), or the installed
/// one. It does not matter where the handle was made.
pub struct Handle<V> {
    key: UnboundKey,
    spec: ResultSpec<V, NotShared>,
}

impl<V> fmt::Debug for Handle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("arguments", &self.key.arguments)
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
            key: UnboundKey::new(origin, arguments),
            spec,
        }
    }

    /// Makes the handle of the call that runs `body`, which has not begun.
    pub(crate) fn into_call<F>(self, body: F) -> Call<F::Output, F>
    where
        V: Send + Sync + 'static,
        F: Future,
    {
        Call::new(self.key, Box::new(self.spec), body)
    }
}

impl<V: CacheValue> Handle<V> {
    /// Removes the value from every tier. After it has returned, no call that starts on this
    /// instance returns a value whose load began before. The same holds for other instances once
    /// the staleness bound of the shared tier has passed.
    ///
    /// [`Receipt::Queued`] means that a shared tier could not be reached: it receives the
    /// invalidation when it is back.
    ///
    /// # Errors
    /// [`Codec`](crate::ErrorKind::Codec) if the arguments make no key.
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if a tier was shut down, or does not queue
    /// and could not be reached. The value is removed from memory in any case.
    ///
    /// # Cancel safety
    /// Dropped before its first poll it does nothing. Dropped later, shared tiers that queue still
    /// receive the invalidation.
    pub async fn invalidate(&self) -> Result<Receipt, Error> {
        self.key.invalidate().await
    }

    /// Makes the value stale in every tier, so that calls return it as far as the function returns
    /// stale values (`stale_while_revalidate`, `stale_if_error`), and the next call begins to load
    /// it again. The windows end when they would have ended without this. In a function without
    /// such a window this is [`invalidate`](Self::invalidate).
    ///
    /// After it has returned, no call that starts on this instance returns a value as a fresh one
    /// whose load began before. The same holds for other instances once the staleness bound of the
    /// shared tier has passed. A shared tier that cannot expire a value invalidates it, in its
    /// store and in the memory of other instances: memcached and object storage, and Redis while it
    /// is not reachable.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate). Tiers that are not reached yet when it is dropped
    /// invalidate the value.
    pub async fn expire(&self) -> Result<Receipt, Error> {
        self.key.expire().await
    }

    /// Explains the key: what each tier has under it, whether a call can use that, and what a call
    /// of the key does now. For operators; `Display` writes a table.
    ///
    /// It changes nothing: it counts nothing, takes no lease, copies nothing, and leaves the order
    /// of eviction as it is. (A function that was not called yet is bound to its runtime, as by
    /// every operation of a handle.) It asks all tiers of the function, also below one that has the
    /// value, each within its time limit. With the engine moka it visits all entries of memory,
    /// because moka counts every other way to an entry as a use.
    ///
    /// The outcome is that of a call that comes alone and at this moment. One that comes later may
    /// find another state.
    ///
    /// # Errors
    /// None. A tier that cannot be reached, and arguments that make no key, are in the result.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn explain(&self) -> Explanation {
        self.key.explain(&self.spec.value_type).await
    }

    /// Returns the value if a tier has it. Never loads, and stores nothing in memory. A hit in a
    /// tier below memory is counted, and copied to the tiers between it and memory, as for a call.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self) -> Option<V> {
        self.key.peek(&self.spec).await
    }

    /// Replaces the value in every tier. Loads in progress do not overwrite it, and other instances
    /// remove theirs from memory. A value that `cache_if` does not keep removes the present one.
    ///
    /// An invalidation of the key on this instance removes this value too if it comes after the
    /// first poll; one on another instance does if it comes after the shared tier granted the
    /// lease. A change between the making of the value and that moment is not noticed. If there may
    /// be one, take a [`write_guard`](Self::write_guard), or invalidate instead.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate), and the reason why the function is not cached at all,
    /// if there is one. A tier that could not store the new value has a miss, which is counted. If
    /// no shared tier could store it, memory may lose it too, once the channel reports the removal
    /// of the old value.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped, it may have removed the old value without storing the new one.
    pub async fn put(&self, value: V) -> Result<Receipt, Error> {
        self.key.put(value, None, &self.spec).await
    }

    /// Replaces the value by one with a ttl of its own, such as an HTTP response with `max-age`:
    /// `ttl` takes the place of the function's ttl for this value, in every tier (by the tier's
    /// scale).
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`Configuration`](crate::ErrorKind::Configuration) if `ttl` is
    /// zero or more than a year.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn put_for(&self, value: V, ttl: Duration) -> Result<Receipt, Error> {
        self.key.put(value, Some(ttl), &self.spec).await
    }

    /// Prevents values of this key from being stored until a transaction that changes it is
    /// committed; see [`WriteGuard`].
    ///
    /// # Errors
    /// [`Codec`](crate::ErrorKind::Codec) if the arguments make no key. A tier that cannot be
    /// reached is not an error: see [`WriteGuard::is_held`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn write_guard(&self) -> Result<WriteGuard, Error> {
        self.key.write_guard().await
    }

    /// Returns the value as of now, whatever the function's consistency: memory answers only if the
    /// shared tier confirms that it has the same record. Loads if there is no value.
    ///
    /// # Cancel safety
    /// As a call of the function.
    pub async fn strong<R, F>(&self, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
    {
        self.key.strong(&self.spec, load).await
    }

    /// Loads now and replaces the value. Loads in progress do not overwrite it. Until it has
    /// loaded, calls return the present value or wait for this load. A load that finds nothing to
    /// keep removes the value; one that fails leaves it.
    ///
    /// # Cancel safety
    /// Cancel safe. If it is dropped, the first waiter that polls becomes the leader.
    pub async fn refresh<R, F>(&self, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
    {
        self.key.refresh(&self.spec, load).await
    }
}
