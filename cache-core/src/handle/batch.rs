//! The handle of a call of several ids.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use super::unbound::UnboundKey;
use crate::call::batch::{BatchOf, SameValue, refresh_all};
use crate::call::{CacheValue, ResultSpec};
use crate::error::{Error, ErrorKind};
use crate::function::slot::Origin;
use crate::join::join_all;
use crate::key::UnboundArguments;
use crate::outcome::NotShared;
use crate::tier::Receipt;

/// The keys of several ids, each once.
#[derive(Debug, Default)]
pub(crate) struct BatchKeys {
    keys: Vec<UnboundKey>,
    /// The place in `keys` of each id, in order.
    places: Vec<usize>,
    /// The place of the first id of each key.
    firsts: Vec<usize>,
    known: HashMap<UnboundArguments, usize>,
}

impl BatchKeys {
    /// Adds the key of the next id.
    pub(crate) fn add(&mut self, origin: Origin, arguments: Result<UnboundArguments, Error>) {
        let next = self.keys.len();
        let place = match &arguments {
            Ok(arguments) => *self.known.entry(arguments.clone()).or_insert(next),
            Err(_) => next,
        };
        if place == next {
            self.firsts.push(self.places.len());
            self.keys.push(UnboundKey::of(origin, arguments));
        }
        self.places.push(place);
    }

    /// Returns the arguments of the keys.
    pub(crate) fn into_arguments(self) -> Vec<Result<UnboundArguments, Error>> {
        let keys = self.keys.into_iter();
        keys.map(|key| key.arguments).collect()
    }
}

/// A call of a function of several ids that has not begun: `get_users::entry(&ids)`.
///
/// Like a [`Handle`](crate::Handle) it belongs to no runtime. An id that is there several times has
/// one key.
pub struct BatchEntry<R, K, F> {
    ids: Vec<K>,
    keys: BatchKeys,
    /// The `ResultSpec<V, NotShared>` of the type `V` that is kept.
    spec: Box<dyn Any + Send + Sync>,
    most: usize,
    /// The bodies of the distinct ids, `most` of them in each, which have not begun. They are taken
    /// out once. The lock is never held across an await.
    bodies: Mutex<Option<Vec<F>>>,
    returns: PhantomData<fn() -> R>,
}

impl<R, K, F> fmt::Debug for BatchEntry<R, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchEntry")
            .field("keys", &self.keys.keys)
            .finish_non_exhaustive()
    }
}

impl<R, K: Clone, F> BatchEntry<R, K, F> {
    pub(crate) fn new(
        ids: &[K],
        keys: BatchKeys,
        spec: Box<dyn Any + Send + Sync>,
        most: usize,
        body: impl FnMut(Vec<K>) -> F,
    ) -> Self {
        let most = most.max(1);
        let distinct: Vec<K> = keys.firsts.iter().map(|at| ids[*at].clone()).collect();
        let bodies = distinct.chunks(most).map(<[K]>::to_vec).map(body);
        Self {
            ids: ids.to_vec(),
            bodies: Mutex::new(Some(bodies.collect())),
            keys,
            spec,
            most,
            returns: PhantomData,
        }
    }
}

impl<R, K, F> BatchEntry<R, K, F> {
    /// Removes the values of all ids from every tier, at the same time; see
    /// [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate), of one of the ids. The others are
    /// removed nevertheless.
    ///
    /// # Cancel safety
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    pub async fn invalidate(&self) -> Result<Receipt, Error> {
        let keys = self.keys.keys.iter();
        worst(join_all(keys.map(UnboundKey::invalidate)).await)
    }

    /// Makes the values of all ids stale; see [`Handle::expire`](crate::Handle::expire).
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`Handle::expire`](crate::Handle::expire).
    pub async fn expire(&self) -> Result<Receipt, Error> {
        let keys = self.keys.keys.iter();
        worst(join_all(keys.map(UnboundKey::expire)).await)
    }
}

impl<R, K, F> BatchEntry<R, K, F>
where
    K: Clone,
    R: BatchOf<K>,
    R::Value: CacheValue,
    R::Values: BatchOf<K>,
{
    /// Returns the values that a tier has, of each id as [`Handle::peek`](crate::Handle::peek)
    /// does. Never loads, and stores nothing in memory.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self) -> R::Values {
        let found: Vec<Option<R::Value>> = match self.spec() {
            Some(spec) => join_all(self.keys.keys.iter().map(|key| key.peek(spec))).await,
            None => vec![None; self.keys.keys.len()],
        };
        let values = self.keys.places.iter().map(|place| found[*place].clone());
        R::Values::from_values(&self.ids, values)
    }

    /// Replaces the values of the ids that `values` has in every tier, of each as
    /// [`Handle::put`](crate::Handle::put) does. The values of the other ids stay as they are.
    ///
    /// # Errors
    /// As [`Handle::put`](crate::Handle::put), of one of the ids. The others are put nevertheless.
    ///
    /// # Panics
    /// If `values` is in the order of the ids and has another length.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped, it may have removed old values without storing the new ones.
    pub async fn put(&self, values: R::Values) -> Result<Receipt, Error> {
        let Some(spec) = self.spec() else {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "values of `{}` cannot be put: the function keeps another type",
                    std::any::type_name::<R::Values>()
                ),
            ));
        };
        let values = values.into_items(self.ids.iter()).unwrap_or_default();
        let mut of_keys: Vec<Option<R::Value>> = vec![None; self.keys.keys.len()];
        for (place, value) in self.keys.places.iter().zip(values) {
            let of_key = &mut of_keys[*place];
            *of_key = of_key.take().or(value);
        }
        let puts = self.keys.keys.iter().zip(of_keys);
        let puts = puts.filter_map(|(key, value)| Some(key.put(value?, None, spec)));
        worst(join_all(puts).await)
    }

    /// Runs the body now for all ids and replaces their values, of each as
    /// [`Handle::refresh`](crate::Handle::refresh) does. An id that is not in the result loses its
    /// value.
    ///
    /// # Errors
    /// The body's own.
    ///
    /// # Panics
    /// If it was called before: the body consumes the arguments.
    ///
    /// # Cancel safety
    /// Cancel safe. If it is dropped, the first waiter of each key that polls becomes its leader.
    pub async fn refresh(&self) -> R
    where
        F: Future<Output = R>,
        R::Item: SameValue<R::Value, R::Error>,
    {
        let bodies = self
            .bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let bodies = bodies
            .expect("the bodies of this call have run: `refresh` can be called once per handle");
        let bound: Vec<_> = self.keys.keys.iter().map(UnboundKey::bind).collect();
        let distinct = self.keys.firsts.iter().map(|at| self.ids[*at].clone());
        let distinct: Vec<K> = distinct.collect();
        match refresh_all(bound, &distinct, self.most, self.spec().copied(), bodies).await {
            Ok(found) => {
                let values = self.keys.places.iter().map(|place| found[*place].clone());
                R::from_values(&self.ids, values)
            }
            Err(failed) => failed,
        }
    }

    /// Returns how the function treats its values if they are of the type of the result.
    fn spec(&self) -> Option<&ResultSpec<R::Value, NotShared>> {
        self.spec.downcast_ref()
    }
}

/// Returns the receipt of the key that is worst off, or the first error.
fn worst(results: Vec<Result<Receipt, Error>>) -> Result<Receipt, Error> {
    let mut results = results.into_iter();
    results.try_fold(Receipt::Acked, |worst, result| Ok(worst.max(result?)))
}
