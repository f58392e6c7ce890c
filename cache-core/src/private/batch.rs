//! Functions of several ids: what their expansions call.

use std::future::Future;

use super::mode::{CallMode, FunctionRef};
use crate::call::CachedResult;
use crate::call::batch::{BatchCall, BatchOf, LookUps, SameValue, load_missing, load_missing_late};
use crate::call::late::LateResult;
use crate::handle::{BatchEntry, BatchKeys};
use crate::invalidation::Invalidation;
use crate::key::{ArgumentList, Arguments};

/// One id of a batch: its key is looked up in memory, or noted.
#[derive(Debug)]
pub struct BatchItem<'a>(Use<'a>);

#[derive(Debug)]
enum Use<'a> {
    LookUp(&'a mut LookUps),
    Key(&'a mut BatchKeys),
}

impl<T: CachedResult> CallMode<T> for BatchItem<'_> {
    type Output = ();

    #[inline]
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) {
        match self.0 {
            Use::LookUp(look_ups) => {
                look_ups.add(|| at.bound(), arguments, &returned.spec().value_type);
            }
            Use::Key(keys) => keys.add(at.origin(), Arguments::unbound(arguments)),
        }
    }
}

/// Calls a function of several ids. `most` is the largest number of ids for which `body` runs at
/// once. `key` passes the key of an id to `__with_key`, with the mode that it is given.
pub fn batch<K, R, C, N, B, F>(
    returned: C,
    ids: &[K],
    most: usize,
    key: N,
    body: B,
) -> BatchCall<R, impl Future<Output = R>>
where
    K: Clone,
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
    N: Fn(BatchItem<'_>, &K),
    B: FnMut(Vec<K>) -> F,
    F: Future<Output = R>,
{
    let mut look_ups = LookUps::new(ids.len(), false);
    for id in ids {
        key(BatchItem(Use::LookUp(&mut look_ups)), id);
    }
    load_missing(returned, ids, most, look_ups, body)
}

/// Calls a late function of several ids. `own` makes an id that a load can own, and `make` the body
/// of a load, when a load begins.
pub fn batch_late<K, O, R, C, N, M, B, F>(
    returned: C,
    ids: &[K],
    most: usize,
    key: N,
    own: impl Fn(&K) -> O,
    make: M,
) -> BatchCall<R, impl Future<Output = R>>
where
    O: Clone + Send + Sync + 'static,
    R: BatchOf<K> + BatchOf<O> + LateResult,
    C: CachedResult + 'static,
    C::Result: SameValue<R::Value, R::Error>,
    N: Fn(BatchItem<'_>, &K),
    M: Fn() -> B,
    B: FnMut(Vec<O>) -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let mut look_ups = LookUps::new(ids.len(), true);
    for id in ids {
        key(BatchItem(Use::LookUp(&mut look_ups)), id);
    }
    load_missing_late(returned, (ids, most), look_ups, own, make)
}

/// Makes the handle of a call of several ids. The arguments are those of [`batch`].
pub fn batch_entry<K, R, C, N, B, F>(
    returned: C,
    ids: &[K],
    most: usize,
    key: N,
    body: B,
) -> BatchEntry<R, K, F>
where
    K: Clone,
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
    N: Fn(BatchItem<'_>, &K),
    B: FnMut(Vec<K>) -> F,
    F: Future<Output = R>,
{
    let spec = Box::new(returned.spec().unshared());
    BatchEntry::new(ids, keys_of(ids, key), spec, most, body)
}

/// Invalidates the keys of several ids of the function whose keys `all` invalidates.
pub fn batch_invalidation<K, N>(all: Invalidation, ids: &[K], key: N) -> Invalidation
where
    N: Fn(BatchItem<'_>, &K),
{
    all.only_keys(keys_of(ids, key).into_arguments())
}

fn keys_of<K>(ids: &[K], key: impl Fn(BatchItem<'_>, &K)) -> BatchKeys {
    let mut keys = BatchKeys::default();
    for id in ids {
        key(BatchItem(Use::Key(&mut keys)), id);
    }
    keys
}
