//! One call of a function of several ids: it looks for each in memory, and loads those that are
//! missing together.
//!
//! For the runtime such a function is a function of one id, whose keys, records and flights are
//! those of a function that takes a single id. This file converts between the result for all ids
//! and the result for one, and runs the body. Everything else is in [`Items`], which is compiled
//! once.

mod convert;
mod forms;
mod late;
mod look_ups;
mod run;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use self::convert::Converter;
pub use self::forms::{BatchOf, BatchResult, SameValue};
use self::late::{Owned, drive_late, revalidate};
pub(crate) use self::look_ups::LookUps;
use self::look_ups::{Found, Results};
use self::run::load_all;
use super::late::LateResult;
use super::{CacheValue, CachedResult, ResultOf, ResultSpec};
use crate::cached_function::CachedFunction;
use crate::error::Error;
use crate::key::Key;
use crate::load::{FirstRead, Gather, Held, Items, Mode, Share, read_first};
use crate::outcome::{LoadOutcome, NotShared, ShareError};

/// The most ids for which a body runs at once, for a function that does not say so.
pub(crate) const MOST_IDS: usize = 1000;

/// Why a call that failed has a result: a load that a caller waits for is dropped at a limit only
/// if its error can say so.
const CAN_FAIL: &str = "a call that failed has an error that it can return";

/// A call of a function of several ids: its result, if memory has all values, or its load.
pub struct BatchCall<R, F>(State<R, F>);

enum State<R, F> {
    Answered(Option<R>),
    Loading(Pin<Box<F>>),
}

impl<R, F> fmt::Debug for BatchCall<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            State::Answered(_) => "Answered",
            State::Loading(_) => "Loading",
        })
    }
}

// The result is never pinned, and the load is behind a pointer.
impl<R, F> Unpin for BatchCall<R, F> {}

impl<R, F: Future<Output = R>> Future for BatchCall<R, F> {
    type Output = R;

    /// It is not inlined, as for [`Loading`](super::Loading).
    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        match &mut self.0 {
            State::Answered(result) => Poll::Ready(
                result
                    .take()
                    .expect("a future is not polled after it was ready"),
            ),
            State::Loading(loading) => loading.as_mut().poll(cx),
        }
    }
}

/// Continues a call after its look-ups. `most` is the largest number of ids for which the body runs
/// at once.
///
/// # Cancel safety
/// Cancel safe. If it is dropped, the first waiter of each key that polls becomes its leader.
pub(crate) fn load_missing<K, R, C, B, F>(
    returned: C,
    ids: &[K],
    most: usize,
    look_ups: LookUps,
    body: B,
) -> BatchCall<R, impl Future<Output = R>>
where
    K: Clone,
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<K>) -> F,
    F: Future<Output = R>,
{
    let converter = Converter::<C> {
        spec: returned.spec(),
    };
    let LookUps {
        function,
        results,
        began,
    } = look_ups;
    let answered = match &function {
        Some(_) => answer(&converter, ids, &results, Vec::new()),
        None => Some(R::from_values(ids, std::iter::empty())),
    };
    if let (Some(function), Some(_)) = (&function, &answered) {
        function.trace_batch(ids.len(), results.outcome(), began);
    }
    BatchCall(match (answered, function) {
        (Some(result), _) => State::Answered(Some(result)),
        (None, Some(function)) => State::Loading(Box::pin(drive(
            function,
            converter,
            (ids, most),
            results,
            body,
        ))),
        (None, None) => State::Answered(None),
    })
}

/// Continues a call of a late function after its look-ups. `own` makes an id that a load can own,
/// and `make` the body of a load.
///
/// # Cancel safety
/// Cancel safe. If it is dropped while other callers wait for its load, the load continues in the
/// background.
pub(crate) fn load_missing_late<K, O, R, C, M, B, F>(
    returned: C,
    (ids, most): (&[K], usize),
    look_ups: LookUps,
    own: impl Fn(&K) -> O,
    make: M,
) -> BatchCall<R, impl Future<Output = R>>
where
    O: Clone + Send + Sync + 'static,
    R: BatchOf<K> + BatchOf<O> + LateResult,
    C: CachedResult + 'static,
    C::Result: SameValue<R::Value, R::Error>,
    M: Fn() -> B,
    B: FnMut(Vec<O>) -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let converter = Converter::<C> {
        spec: returned.spec(),
    };
    let LookUps {
        function,
        mut results,
        began,
    } = look_ups;
    let Some(function) = function else {
        let result = <R as BatchOf<K>>::from_values(ids, std::iter::empty());
        return BatchCall(State::Answered(Some(result)));
    };
    let stale = std::mem::take(&mut results.revalidated).into_iter();
    let stale: Vec<_> = stale
        .map(|(key, place, revalidated)| (key, own(&ids[place]), revalidated))
        .collect();
    if !stale.is_empty() {
        revalidate::<O, R, C, B, F>(&function, converter, stale, most, make());
    }
    if let Some(result) = answer(&converter, ids, &results, Vec::new()) {
        function.trace_batch(ids.len(), results.outcome(), began);
        return BatchCall(State::Answered(Some(result)));
    }
    let missing = results.missing.iter();
    let (keys, owned) = missing
        .map(|(key, place)| (key.clone().map(Arc::new), own(&ids[*place])))
        .unzip();
    let owned = Owned {
        function,
        keys,
        ids: owned,
        most,
    };
    let body = make();
    BatchCall(State::Loading(Box::pin(async move {
        match drive_late::<O, R, C, B, F>(owned, converter, body).await {
            Ok(loaded) => {
                let result = answer(&converter, ids, &results, loaded);
                result.expect("every key of a batch that did not fail has a result")
            }
            Err(failed) => failed,
        }
    })))
}

/// Returns the result of a call whose missing keys have these values, if all of them are known.
fn answer<K, R, C>(
    converter: &Converter<C>,
    ids: &[K],
    results: &Results,
    mut loaded: Vec<Option<Held>>,
) -> Option<R>
where
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
{
    if loaded.len() != results.missing.len() {
        return None;
    }
    let mut failed = None;
    let is_distinct = results.are_missing_distinct();
    let values = results.found.iter().map(|found| match found {
        Found::Value(held) => converter.give(Arc::clone(held)),
        // Not cloned, if no other id has the same value.
        Found::Missing(place) if is_distinct => converter.give(loaded[*place].take()?),
        Found::Missing(place) => converter.give(Arc::clone(loaded[*place].as_ref()?)),
        Found::Absent => None,
        Found::Failed(error) => {
            failed = converter.error::<R::Value, R::Error>(&LoadOutcome::Failed(Arc::clone(error)));
            None
        }
    });
    let result = R::from_values(ids, values);
    match failed {
        Some(error) => R::failed(error),
        None => Some(result),
    }
}

/// Returns the results of a first read that has found all keys.
fn all_found(read: Vec<FirstRead>) -> Result<Vec<Option<Held>>, Vec<FirstRead>> {
    if !read.iter().all(|one| matches!(one, FirstRead::Found(_))) {
        return Err(read);
    }
    let found = read.into_iter().map(|one| match one {
        FirstRead::Found(value) => value,
        FirstRead::Load(_) => None,
    });
    Ok(found.collect())
}

/// Loads the values that memory does not have.
async fn drive<K, R, C, B, F>(
    function: Arc<CachedFunction>,
    converter: Converter<C>,
    (ids, most): (&[K], usize),
    results: Results,
    mut body: B,
) -> R
where
    K: Clone,
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<K>) -> F,
    F: Future<Output = R>,
{
    let missing: Vec<K> = results
        .missing
        .iter()
        .map(|(_, place)| ids[*place].clone())
        .collect();
    let receives = |outcome: &LoadOutcome| converter.error::<R::Value, R::Error>(outcome).is_some();
    let share = Share {
        can_share: converter.spec.share.can_share(),
        receives: &receives,
    };
    let keys = results.missing.iter().map(|(key, _)| key.as_ref());
    let keys: Vec<_> = keys.collect();
    let read = read_first(&function, &keys, &converter.spec.value_type, None).await;
    let read = match all_found(read) {
        Ok(loaded) => {
            let result = answer(&converter, ids, &results, loaded);
            return result.expect("every key of a batch has a result");
        }
        Err(read) => read,
    };
    let gather = Gather::new(missing.len());
    // A key whose value was found needs no load.
    let of_load = |(key, read)| match read {
        FirstRead::Found(_) => (None, read),
        FirstRead::Load(_) => (Option::map(key, |key| Arc::new(Key::clone(key))), read),
    };
    let keys = keys.into_iter().zip(read).map(of_load);
    let mode = Mode::of_call(&function);
    let place = (&*function, &gather);
    let mut items = Items::new(place, keys, &converter.spec.value_type, mode, share);
    if let Err(failed) = load_all(&mut items, &converter, (&missing, most), &mut body).await {
        return failed.expect(CAN_FAIL);
    }
    let loaded = items.into_values();
    let result = answer(&converter, ids, &results, loaded);
    result.expect("every key of a batch that did not fail has a result")
}

/// Runs the bodies of a handle, each for `most` of the `ids`, and replaces the values. `Err` is the
/// result of a body that failed.
///
/// `spec` is `None` if the function keeps values of another type: then nothing is kept.
pub(crate) async fn refresh_all<K, R, F>(
    bound: Vec<Result<(Arc<CachedFunction>, Key), Error>>,
    ids: &[K],
    most: usize,
    spec: Option<ResultSpec<R::Value, NotShared>>,
    bodies: Vec<F>,
) -> Result<Vec<Option<R::Value>>, R>
where
    K: Clone,
    R: BatchOf<K>,
    R::Value: CacheValue,
    R::Item: SameValue<R::Value, R::Error>,
    F: Future<Output = R>,
{
    let is_kept = spec.is_some();
    let converter = Converter::<ResultOf<R::Item, R::Value, NotShared>> {
        spec: spec.unwrap_or_else(ResultSpec::memory_only),
    };
    let share = Share {
        can_share: false,
        receives: &|_| false,
    };
    let mut values = Vec::with_capacity(ids.len());
    let chunks = bound.chunks(most).zip(ids.chunks(most));
    for ((keys, ids), body) in chunks.zip(bodies) {
        let Some(Ok((function, _))) = keys.iter().find(|key| key.is_ok()) else {
            // None of the arguments makes a key.
            let values_of_chunk = super::run_unkept(body).await.into_items(ids.iter());
            values.extend(values_of_chunk.map_err(|error| {
                R::failed(error).expect("a type that has an error has a failed result")
            })?);
            continue;
        };
        let gather = Gather::new(ids.len());
        let keys = keys.iter().map(|bound| {
            let (_, key) = bound.as_ref().ok().filter(|_| is_kept)?;
            Some(Arc::new(key.clone()))
        });
        let keys = keys.map(|key| (key, FirstRead::none()));
        let value_type = &converter.spec.value_type;
        let mut items = Items::new(
            (&**function, &gather),
            keys,
            value_type,
            Mode::Refresh,
            share,
        );
        items.run_all_at_once();
        let mut body = Some(body);
        let mut take = |_| {
            body.take()
                .expect("all keys of a refresh run their body at once")
        };
        let loaded = load_all(&mut items, &converter, (ids, most), &mut take).await;
        loaded.map_err(|failed: Option<R>| failed.expect(CAN_FAIL))?;
        let loaded = items.into_values().into_iter();
        values.extend(loaded.map(|held| converter.give(held?)));
    }
    Ok(values)
}
