//! A batch of a late function: its load owns what it uses, and may continue in the background.

use std::future::Future;
use std::sync::Arc;

use super::convert::Converter;
use super::forms::{BatchOf, SameValue};
use super::run::load_all;
use crate::cached_function::CachedFunction;
use crate::call::CachedResult;
use crate::call::late::LateResult;
use crate::flight::Detached;
use crate::key::Key;
use crate::late_load::{LateLoad, ResultSlot};
use crate::load::{
    Gather, Held, Items, LateBatch, LateItems, Revalidated, Share, WaitedBatch, read_first,
};
use crate::outcome::{LoadOutcome, ShareError};

/// The keys of a late batch, with the ids that its load owns.
pub(super) struct Owned<O> {
    pub(super) function: Arc<CachedFunction>,
    pub(super) keys: Vec<Option<Arc<Key>>>,
    pub(super) ids: Vec<O>,
    /// The largest number of ids for which the body runs at once.
    pub(super) most: usize,
}

/// Begins to load values in the background that replace those which are stale or due, in one batch.
/// A key whose load runs is left to that load. If the owner of background loads is full, nothing
/// begins.
pub(super) fn revalidate<O, R, C, B, F>(
    function: &Arc<CachedFunction>,
    converter: Converter<C>,
    stale: Vec<(Arc<Key>, O, Revalidated)>,
    most: usize,
    mut body: B,
) where
    O: Clone + Send + Sync + 'static,
    R: BatchOf<O> + LateResult,
    C: CachedResult + 'static,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<O>) -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let stale = stale
        .into_iter()
        .filter(|(key, ..)| !function.has_flight(key));
    let (keys, ids): (Vec<_>, Vec<O>) = stale
        .map(|(key, id, revalidated)| ((key, revalidated), id))
        .unzip();
    if keys.is_empty() {
        return;
    }
    let owned = Arc::clone(function);
    function.begin_in_background(Box::pin(async move {
        let gather = Gather::new(keys.len());
        let place = (&*owned, &gather);
        let mut items = Items::revalidating(place, keys, &converter.spec.value_type);
        let _: Result<(), Option<R>> =
            load_all(&mut items, &converter, (&ids, most), &mut body).await;
    }));
}

/// Loads the values that memory does not have. Returns the value of each key, or the result of a
/// call that failed.
pub(super) async fn drive_late<O, R, C, B, F>(
    owned: Owned<O>,
    converter: Converter<C>,
    body: B,
) -> Result<Vec<Option<Held>>, R>
where
    O: Clone + Send + Sync + 'static,
    R: BatchOf<O> + LateResult,
    C: CachedResult + 'static,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<O>) -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let (function, keys) = (Arc::clone(&owned.function), owned.keys.clone());
    let deadline = function.deadline(converter.spec.share.can_time_out());
    let items = LateItems::new(keys.len(), function.times.soft_timeout);
    let detached = Detached::default();
    let slot = ResultSlot::new();
    let shared = (Arc::clone(&items), detached.clone());
    let job = load_late(owned, converter, body, shared, slot.clone());
    let awaited = Arc::clone(&items);
    let owner = Arc::clone(&function);
    let late = LateLoad::of_batch(Box::pin(job), awaited, detached, owner);
    let call = LateBatch {
        function: &function,
        keys: &keys,
        value_type: &converter.spec.value_type,
        deadline,
    };
    match call.wait(&items, late).await {
        WaitedBatch::Done => slot.take().expect("the caller of a load gets a result"),
        WaitedBatch::Values(values) => Ok(values),
        WaitedBatch::TimedOut(timeout) => {
            let error = converter.error::<R::Value, R::Error>(&LoadOutcome::TimedOut(timeout));
            let result = error.and_then(R::failed);
            Err(result.expect("a deadline is set only if the error can say that it passed"))
        }
    }
}

/// The load of a late batch. Its result is left in `slot`.
async fn load_late<O, R, C, B, F>(
    owned: Owned<O>,
    converter: Converter<C>,
    mut body: B,
    late: (Arc<LateItems>, Detached),
    slot: ResultSlot<Result<Vec<Option<Held>>, R>>,
) where
    O: Clone + Send + Sync + 'static,
    R: BatchOf<O> + LateResult,
    C: CachedResult + 'static,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<O>) -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let Owned {
        function,
        keys,
        ids,
        most,
    } = owned;
    let receives = |outcome: &LoadOutcome| converter.error::<R::Value, R::Error>(outcome).is_some();
    let share = Share {
        can_share: converter.spec.share.can_share(),
        receives: &receives,
    };
    let value_type = &converter.spec.value_type;
    let known: Vec<_> = keys.iter().map(Option::as_deref).collect();
    let read = read_first(&function, &known, value_type, Some(&late.0)).await;
    let gather = Gather::new(keys.len());
    let place = (&*function, &gather);
    let read_keys = keys.iter().cloned().zip(read);
    let mut items = Items::late(place, read_keys, value_type, share, late);
    let loaded: Result<(), Option<R>> =
        load_all(&mut items, &converter, (&ids, most), &mut body).await;
    let stale = items
        .take_revalidated()
        .into_iter()
        .filter_map(|(number, revalidated)| {
            Some((keys[number].clone()?, ids[number].clone(), revalidated))
        });
    let stale: Vec<_> = stale.collect();
    match loaded {
        Ok(()) => slot.put(Ok(items.into_values())),
        Err(Some(failed)) => slot.put(Err(failed)),
        Err(None) => {}
    }
    if !stale.is_empty() {
        revalidate::<O, R, C, B, F>(&function, converter, stale, most, body);
    }
}
