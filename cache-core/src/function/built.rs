//! Functions without the attribute, which are built at run time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::call::batch::{BatchOf, LookUps, MOST_IDS, SameValue, load_missing, load_missing_late};
use crate::call::late::LateCall;
use crate::call::timed::{TimedLookup, look_up_timed};
use crate::call::{CacheValue, ResultOf, ResultSpec};
use crate::codec::ValueType;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::function::slot::{FunctionSlot, Origin};
use crate::handle::Handle;
use crate::key::Tuple;
use crate::outcome::error_rules::WithShare;
use crate::outcome::{NotShared, Outcome, ShareError};
use crate::tag::Tag;
use crate::tier::Receipt;

/// A function that is cached without the attribute: a name, options, and a value type `V`.
///
/// It belongs to no runtime. As for annotated functions, each call uses the runtime of its caller.
///
/// ```
/// use std::time::Duration;
///
/// use cache_core::Function;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cache_core::Error> {
/// let greetings = Function::<String>::builder("greetings").ttl(Duration::from_secs(60)).build()?;
/// let greeting = greetings.get_or_load(("Ada",), || async { "Hello, Ada".to_owned() }).await;
/// assert_eq!(greeting, "Hello, Ada");
///
/// greetings.entry(("Ada",)).invalidate().await?;
/// assert_eq!(greetings.entry(("Ada",)).peek().await, None);
/// # Ok(())
/// # }
/// ```
///
/// `S` is how the error of a failed load reaches the calls that waited for the load; see
/// [`share_error`](crate::FunctionBuilder::share_error).
pub struct Function<V, S = NotShared> {
    pub(super) slot: Arc<FunctionSlot>,
    pub(super) value_type: ValueType<V>,
    pub(super) cache_if: Option<fn(&V) -> bool>,
    pub(super) ttl_from: Option<fn(&V) -> Duration>,
    pub(super) tags_of: Option<fn(&V) -> Vec<Tag>>,
    pub(super) share: S,
}

impl<V, S: Copy> Clone for Function<V, S> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
            value_type: self.value_type,
            cache_if: self.cache_if,
            ttl_from: self.ttl_from,
            tags_of: self.tags_of,
            share: self.share,
        }
    }
}

impl<V, S> fmt::Debug for Function<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.slot.definition())
    }
}

impl<V: CacheValue, S: Copy> Function<V, S> {
    /// Returns the value of `arguments`: from a tier, from a load in progress, or by running
    /// `load`, which may return `V`, `Option<V>`, `Result<V, E>` or `Result<Option<V>, E>`.
    ///
    /// `arguments` is a tuple. If a load fails, the calls that waited for it get its error if the
    /// function was built with [`share_error`](crate::FunctionBuilder::share_error); otherwise each
    /// of them runs its own load. [`get_or_load_sharing`](Self::get_or_load_sharing) chooses this
    /// at the call.
    ///
    /// A load ends with its caller. So a stale value is returned only if a load has failed
    /// (`stale_if_error`), and no value is loaded again in the background; see
    /// [`get_or_load_late`](Self::get_or_load_late).
    ///
    /// # Errors
    /// Those of `load`. The cache adds none: if it fails, `load` runs.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub async fn get_or_load<R, F>(&self, arguments: impl Serialize, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
        S: ShareError<R::Error>,
    {
        self.load_with(arguments, self.share, load).await
    }

    /// Returns the value as [`get_or_load`](Self::get_or_load) does. `share` is how an error
    /// reaches the calls that waited: [`ShareByClone`](crate::ShareByClone),
    /// [`ShareByText`](crate::ShareByText) or [`ShareWith`](crate::ShareWith).
    ///
    /// # Errors
    /// Those of `load`.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub async fn get_or_load_sharing<R, F, T>(
        &self,
        arguments: impl Serialize,
        share: T,
        load: impl FnOnce() -> F,
    ) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
        S: WithShare<T>,
        S::Output: ShareError<R::Error>,
    {
        let share = self.share.with_share(share);
        self.load_with(arguments, share, load).await
    }

    /// Returns the value as [`get_or_load`](Self::get_or_load) does. The load may continue in the
    /// background after the caller was answered, as `stale_while_revalidate`, `refresh_ahead`,
    /// `soft_timeout` and `hard_timeout` require. So it owns everything that it uses.
    ///
    /// `make` is called if a load begins.
    ///
    /// # Errors
    /// Those of `make`, and the error of a [`LoadTimeout`](crate::LoadTimeout).
    ///
    /// # Cancel safety
    /// Cancel safe. If the caller is dropped while others wait for its load, the load continues in
    /// the background.
    pub async fn get_or_load_late<R, F>(
        &self,
        arguments: impl Serialize,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> R
    where
        R: Outcome<V> + Send + 'static,
        F: Future<Output = R> + Send + 'static,
        S: ShareError<R::Error>,
    {
        let returned = ResultOf::new(self.spec(self.share));
        let looked_up = look_up_timed(&self.slot.for_call(None), returned, Tuple(&arguments), true);
        let loading = match looked_up.load_late(make) {
            LateCall::Answered(result) => return result,
            LateCall::Loading(loading) => loading,
        };
        loading.await
    }

    /// Returns the values of several ids: from a tier, from loads in progress, or by running `load`
    /// once for all ids that are missing. `arguments` returns the arguments of one id, a tuple, as
    /// [`get_or_load`](Self::get_or_load) takes them. So the values are those of single calls with
    /// the same arguments, and a load of either answers both.
    ///
    /// `load` gets the ids that no tier has and no other call loads, each once and in the order of
    /// `ids`, at most 1,000 at a time; if there are more, it runs again for the rest. It may also
    /// run again for ids whose load by another call has failed. It returns, as the call does, a
    /// `HashMap<K, V>`, `BTreeMap<K, V>` or `Vec<(K, V)>` by id, a `Vec<Option<V>>` in the order of
    /// its ids, or a `Result` of one of them. An id that is not in the result has no value, as if
    /// a single load had returned `None`. Ids that were not asked for are ignored.
    ///
    /// An id that is in `ids` several times is loaded once. If `ids` is empty, nothing is called.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::time::Duration;
    ///
    /// use cache_core::Function;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), cache_core::Error> {
    /// let squares = Function::<u64>::builder("squares").ttl(Duration::from_secs(60)).build()?;
    /// let load = |ids: Vec<u64>| async move { ids.into_iter().map(|id| (id, id * id)).collect() };
    /// let call = squares.get_or_load_many(&[2, 3, 2], |id| (*id,), load);
    /// let values: HashMap<u64, u64> = call.await;
    /// assert_eq!(values, HashMap::from([(2, 4), (3, 9)]));
    /// assert_eq!(squares.entry((3_u64,)).peek().await, Some(9));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `load`, for all ids together, unless each id that is missing has a stale value in
    /// its window. The cache adds none.
    ///
    /// # Panics
    /// If `load` returns a `Vec<Option<V>>` of another length than its ids.
    ///
    /// # Cancel safety
    /// Cancel safe. If it is dropped, the first waiter of each key that polls becomes its leader.
    pub async fn get_or_load_many<K, A, R, F>(
        &self,
        ids: &[K],
        arguments: impl Fn(&K) -> A,
        load: impl FnMut(Vec<K>) -> F,
    ) -> R
    where
        K: Clone,
        A: Serialize,
        R: BatchOf<K, Value = V>,
        F: Future<Output = R>,
        S: ShareError<R::Error>,
        R::Item: SameValue<V, R::Error>,
    {
        let returned = ResultOf::<R::Item, V, S>::new(self.spec(self.share));
        let look_ups = self.look_up_many(ids, arguments, false);
        load_missing(returned, ids, MOST_IDS, look_ups, load).await
    }

    /// Returns the values of several ids as [`get_or_load_many`](Self::get_or_load_many) does. The
    /// load may continue in the background, as that of
    /// [`get_or_load_late`](Self::get_or_load_late) does, so it owns everything that it uses.
    /// Values that are stale or due are loaded again in one batch.
    ///
    /// `make` is called if a load begins, and returns its body.
    ///
    /// # Errors
    /// Those of `make`, and the error of a [`LoadTimeout`](crate::LoadTimeout).
    ///
    /// # Cancel safety
    /// Cancel safe. If the caller is dropped while others wait for its load, the load continues in
    /// the background.
    pub async fn get_or_load_many_late<K, A, R, B, F>(
        &self,
        ids: &[K],
        arguments: impl Fn(&K) -> A,
        make: impl Fn() -> B,
    ) -> R
    where
        K: Clone + Send + Sync + 'static,
        A: Serialize,
        R: BatchOf<K, Value = V> + Send + 'static,
        B: FnMut(Vec<K>) -> F + Send + 'static,
        F: Future<Output = R> + Send + 'static,
        S: ShareError<R::Error>,
        R::Item: SameValue<V, R::Error> + 'static,
    {
        let returned = ResultOf::<R::Item, V, S>::new(self.spec(self.share));
        let look_ups = self.look_up_many(ids, arguments, true);
        load_missing_late(returned, (ids, MOST_IDS), look_ups, K::clone, make).await
    }

    fn look_up_many<K, A: Serialize>(
        &self,
        ids: &[K],
        arguments: impl Fn(&K) -> A,
        is_late: bool,
    ) -> LookUps {
        let mut look_ups = LookUps::new(ids.len(), is_late);
        for id in ids {
            let bind = || self.slot.bound(None).into_owned();
            look_ups.add(bind, Tuple(&arguments(id)), &self.value_type);
        }
        look_ups
    }

    async fn load_with<R, F, T>(
        &self,
        arguments: impl Serialize,
        share: T,
        load: impl FnOnce() -> F,
    ) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
        T: ShareError<R::Error>,
    {
        let returned = ResultOf::new(self.spec(share));
        let called = self.slot.for_call(None);
        let looked_up = look_up_timed(&called, returned, Tuple(&arguments), false);
        match looked_up {
            TimedLookup::Hit(result) | TimedLookup::Stale(result, _) => result,
            TimedLookup::Miss(miss) => miss.load(load).await,
        }
    }

    /// Returns the handle of one key. Its methods use the runtime in which they are polled.
    #[must_use]
    pub fn entry(&self, arguments: impl Serialize) -> Handle<V> {
        let origin = Origin::built(&self.slot);
        Handle::new(origin, self.spec(NotShared), Tuple(&arguments))
    }

    /// Invalidates every key of the function in every tier. The cost does not depend on the number
    /// of keys.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if a tier is unreachable and does not queue the
    /// invalidation, or was shut down. Memory is invalidated in any case.
    ///
    /// # Cancel safety
    /// If the future is dropped before its first poll, nothing happens. If it is dropped later, a
    /// shared tier that queues still receives the invalidation.
    pub async fn invalidate_all(&self) -> Result<Receipt, Error> {
        let bound = self.slot.bound(None).into_owned();
        bound.invalidate_all().await
    }

    /// Makes every value of the function stale in every tier, so that calls return it as far as the
    /// function returns stale values, and the next call loads it again; see [`Handle::expire`]. The
    /// cost does not depend on the number of keys.
    ///
    /// # Errors
    /// As [`invalidate_all`](Self::invalidate_all).
    ///
    /// # Cancel safety
    /// As [`Handle::expire`].
    pub async fn expire_all(&self) -> Result<Receipt, Error> {
        let bound = self.slot.bound(None).into_owned();
        bound.expire_all().await
    }

    /// Returns the name of the function.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.slot.definition().name
    }

    fn spec<T>(&self, share: T) -> ResultSpec<V, T> {
        ResultSpec {
            value_type: self.value_type,
            keep_if: self.cache_if,
            ttl_from: self.ttl_from,
            tags_of: self.tags_of,
            share,
        }
    }
}
