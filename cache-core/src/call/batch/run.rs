//! The bodies of a batch.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;

use super::convert::Converter;
use super::forms::{BatchOf, SameValue};
use crate::call::CachedResult;
use crate::call::limited::Ended;
use crate::load::{BatchStep, Failure, Items};
use crate::outcome::{LoadOutcome, Outcome, ShareError};

/// Runs the body until each key has its result. `Err` is the result of a call that failed. It is
/// `None` if the type of the result cannot say so: after the load limit of a load in the
/// background, for which no caller waits.
pub(super) async fn load_all<K, R, C, B, F>(
    items: &mut Items<'_>,
    converter: &Converter<C>,
    (ids, most): (&[K], usize),
    body: &mut B,
) -> Result<(), Option<R>>
where
    K: Clone,
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
    B: FnMut(Vec<K>) -> F,
    F: Future<Output = R>,
{
    loop {
        let error = match items.next(most).await {
            BatchStep::Ended => return Ok(()),
            BatchStep::Failed => {
                let failed = items.failed();
                failed.and_then(|outcome| converter.error::<R::Value, R::Error>(outcome))
            }
            BatchStep::Run(numbers) => {
                let asked = numbers.iter().map(|number| ids[*number].clone()).collect();
                let can_time_out = converter.spec.share.can_time_out();
                let ended = run_beside(items, &numbers, can_time_out, body(asked)).await;
                match end(items, converter, (&numbers, ids), ended) {
                    BodyResult::Served => continue,
                    BodyResult::Failed(error) => error,
                }
            }
        };
        // Made before the await, so that the error type need not be `Send`.
        let result = error.and_then(R::failed);
        items.give_up().await;
        return Err(result);
    }
}

/// The result of a body.
enum BodyResult<E> {
    /// Each of its keys has a result.
    Served,
    /// The call fails with this error. `None` if its type cannot say so, which no caller needs.
    Failed(Option<E>),
}

/// Ends the loads for which a body has run.
fn end<K, R, C>(
    items: &mut Items<'_>,
    converter: &Converter<C>,
    (numbers, ids): (&[usize], &[K]),
    ended: Ended<R>,
) -> BodyResult<R::Error>
where
    R: BatchOf<K>,
    C: CachedResult,
    C::Result: SameValue<R::Value, R::Error>,
{
    match ended {
        Ended::Returned(result) => {
            let ids = numbers.iter().map(|number| &ids[*number]);
            match settle(items, converter, numbers, result.into_items(ids)) {
                None => BodyResult::Served,
                Some(error) => BodyResult::Failed(Some(error)),
            }
        }
        Ended::Panicked(panic) => match items.fail(numbers, Failure::of_panic) {
            true => BodyResult::Served,
            false => resume_unwind(panic),
        },
        Ended::TimedOut(timeout) => {
            match items.fail(numbers, || Failure::of_timeout(timeout.clone())) {
                true => BodyResult::Served,
                false => {
                    let outcome = LoadOutcome::TimedOut(timeout);
                    BodyResult::Failed(converter.error::<R::Value, R::Error>(&outcome))
                }
            }
        }
    }
}

/// Runs the body, while loads that lead their flights go on beside it, and the values of earlier
/// bodies are stored.
async fn run_beside<F: Future>(
    items: &mut Items<'_>,
    numbers: &[usize],
    can_time_out: bool,
    body: F,
) -> Ended<F::Output> {
    let (mut scope, mut limit) = items.scope(numbers, can_time_out);
    let mut body = pin!(body);
    poll_fn(|cx| {
        items.poll_beside_body(cx);
        // Nothing of the body is used after a panic. It is dropped.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = scope.enter();
            body.as_mut().poll(cx)
        }));
        match polled {
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ended::Returned(outcome)),
            Ok(Poll::Pending) => limit.poll(cx).map(Ended::TimedOut),
            Err(panic) => Poll::Ready(Ended::Panicked(panic)),
        }
    })
    .await
}

/// Ends the loads for which a body has run. Returns the error of the call if the body failed, and
/// not all of its keys have a stale value.
fn settle<V, E, C>(
    items: &mut Items<'_>,
    converter: &Converter<C>,
    numbers: &[usize],
    returned: Result<Vec<Option<V>>, E>,
) -> Option<E>
where
    C: CachedResult,
    C::Result: SameValue<V, E>,
{
    match returned {
        Ok(values) => {
            for (number, value) in numbers.iter().zip(values) {
                items.finish(*number, value.and_then(|value| converter.load(value)));
            }
            None
        }
        Err(error) => {
            let failed = <C::Result as Outcome<V>>::failed(error)
                .expect("a type that has an error has a failed result");
            if items.fail(numbers, || converter.failure(&failed)) {
                return None;
            }
            <C::Result as Outcome<V>>::into_error(failed)
        }
    }
}
