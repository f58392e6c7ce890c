//! The results that a function of several ids may return.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};

use crate::outcome::Outcome;

/// The result of a function of several ids: `HashMap<K, V>`, `BTreeMap<K, V>`, `Vec<(K, V)>` or
/// `Vec<Option<V>>` in the order of the ids, or a `Result` of one of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which value belongs to which id",
    label = "return a map by id, or `Vec<Option<V>>` in the order of the ids",
    note = "a batch may return `HashMap<K, V>`, `BTreeMap<K, V>`, `Vec<(K, V)>`, `Vec<Option<V>>`, \
            or a `Result` of one of them"
)]
pub trait BatchResult: Sized {
    /// The value of one id, which is kept.
    type Value;

    /// The error of a failed load.
    type Error;

    /// The result for one id.
    type Item: Outcome<Self::Value, Error = Self::Error>;

    /// The collection of values.
    type Values: BatchResult<Value = Self::Value>;

    /// Makes the result of values that were found.
    fn found(values: Self::Values) -> Self;

    /// Makes a failed result, if the type has one.
    fn failed(error: Self::Error) -> Option<Self>;
}

/// A [`BatchResult`] for ids of type `K`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which value belongs to which id of type `{K}`",
    label = "return a map by id, or `Vec<Option<V>>` in the order of the ids",
    note = "an id must be `Clone`, and be or convert into the key of the returned map"
)]
pub trait BatchOf<K>: BatchResult {
    /// Makes the result of the values of `ids`, in their order. An id may be there several times.
    fn from_values(ids: &[K], values: impl Iterator<Item = Option<Self::Value>>) -> Self;

    /// Takes the values of these ids out, in their order. Each id is there once. Values of other
    /// ids are ignored.
    ///
    /// # Errors
    /// The error of a failed result.
    ///
    /// # Panics
    /// If the result is in the order of the ids and has another length.
    fn into_items<'k>(
        self,
        ids: impl ExactSizeIterator<Item = &'k K>,
    ) -> Result<Vec<Option<Self::Value>>, Self::Error>
    where
        K: 'k;
}

/// A result of the function that `same_as` names: it has the same values and errors as the batch.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the result for one id of this batch",
    label = "the function that `same_as` names must return the value `{V}` of one id, as `T`, \
             `Option<T>`, `Result<T, E>` or `Result<Option<T>, E>`, with the error of the batch"
)]
pub trait SameValue<V, E>: Outcome<V, Error = E> {}

#[diagnostic::do_not_recommend]
impl<R: Outcome<V, Error = E>, V, E> SameValue<V, E> for R {}

macro_rules! collections {
    ($($collection:ty, [$($parameter:ident),*];)*) => {
        $(impl<$($parameter),*> BatchResult for $collection {
            type Value = V;
            type Error = Infallible;
            type Item = Option<V>;
            type Values = Self;

            fn found(values: Self) -> Self {
                values
            }

            fn failed(_: Infallible) -> Option<Self> {
                None
            }
        })*
    };
}

collections! {
    HashMap<Q, V, S>, [Q, V, S];
    BTreeMap<Q, V>, [Q, V];
    Vec<(Q, V)>, [Q, V];
    Vec<Option<V>>, [V];
}

impl<B: BatchResult<Error = Infallible, Values = B>, E> BatchResult for Result<B, E> {
    type Value = B::Value;
    type Error = E;
    type Item = Result<Option<B::Value>, E>;
    type Values = B;

    fn found(values: B) -> Self {
        Ok(values)
    }

    fn failed(error: E) -> Option<Self> {
        Some(Err(error))
    }
}

/// Pairs each id that has a value with it.
fn pairs<K, Q, V>(
    ids: &[K],
    values: impl Iterator<Item = Option<V>>,
) -> impl Iterator<Item = (Q, V)>
where
    K: Clone + Into<Q>,
{
    let pairs = ids.iter().zip(values);
    pairs.filter_map(|(id, value)| Some((id.clone().into(), value?)))
}

impl<K, Q, V, S> BatchOf<K> for HashMap<Q, V, S>
where
    K: Clone + Into<Q>,
    Q: Eq + Hash,
    S: BuildHasher + Default,
{
    fn from_values(ids: &[K], values: impl Iterator<Item = Option<V>>) -> Self {
        let mut map = Self::with_capacity_and_hasher(ids.len(), S::default());
        map.extend(pairs(ids, values));
        map
    }

    fn into_items<'k>(
        mut self,
        ids: impl ExactSizeIterator<Item = &'k K>,
    ) -> Result<Vec<Option<V>>, Infallible>
    where
        K: 'k,
    {
        Ok(ids.map(|id| self.remove(&id.clone().into())).collect())
    }
}

impl<K, Q, V> BatchOf<K> for BTreeMap<Q, V>
where
    K: Clone + Into<Q>,
    Q: Ord,
{
    fn from_values(ids: &[K], values: impl Iterator<Item = Option<V>>) -> Self {
        pairs(ids, values).collect()
    }

    fn into_items<'k>(
        mut self,
        ids: impl ExactSizeIterator<Item = &'k K>,
    ) -> Result<Vec<Option<V>>, Infallible>
    where
        K: 'k,
    {
        Ok(ids.map(|id| self.remove(&id.clone().into())).collect())
    }
}

/// One pair for each id that has a value, in the order of the ids.
impl<K, Q, V> BatchOf<K> for Vec<(Q, V)>
where
    K: Clone + Into<Q>,
    Q: Clone + Eq + Hash,
{
    fn from_values(ids: &[K], values: impl Iterator<Item = Option<V>>) -> Self {
        let mut seen = HashSet::with_capacity(ids.len());
        let mut all = Self::with_capacity(ids.len());
        all.extend(pairs(ids, values).filter(|(id, _)| seen.insert(Q::clone(id))));
        all
    }

    fn into_items<'k>(
        self,
        ids: impl ExactSizeIterator<Item = &'k K>,
    ) -> Result<Vec<Option<V>>, Infallible>
    where
        K: 'k,
    {
        self.into_iter().collect::<HashMap<Q, V>>().into_items(ids)
    }
}

impl<K, V> BatchOf<K> for Vec<Option<V>> {
    fn from_values(_: &[K], values: impl Iterator<Item = Option<V>>) -> Self {
        values.collect()
    }

    fn into_items<'k>(self, ids: impl ExactSizeIterator<Item = &'k K>) -> Result<Self, Infallible>
    where
        K: 'k,
    {
        assert!(
            self.len() == ids.len(),
            "a batch returned {} values for {} ids; help: return one `Option` for each id, in the \
             order of the ids",
            self.len(),
            ids.len(),
        );
        Ok(self)
    }
}

impl<K, B, E> BatchOf<K> for Result<B, E>
where
    B: BatchOf<K> + BatchResult<Error = Infallible, Values = B>,
{
    fn from_values(ids: &[K], values: impl Iterator<Item = Option<B::Value>>) -> Self {
        Ok(B::from_values(ids, values))
    }

    fn into_items<'k>(
        self,
        ids: impl ExactSizeIterator<Item = &'k K>,
    ) -> Result<Vec<Option<B::Value>>, E>
    where
        K: 'k,
    {
        let Ok(values) = self?.into_items(ids);
        Ok(values)
    }
}
