//! The body of a function with times besides its ttl: it has a limit, and the callers may get a
//! stale value if it fails.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;

use super::{ResultSpec, give, settle};
use crate::load::{BodyLimit, Failure, Load, Loaded};
use crate::load_timeout::LoadTimeout;
use crate::outcome::{Outcome, ShareError};

/// Runs a body up to its limit, and ends the load. `None` if the limit was reached and the error
/// type cannot say so, which a caller in the background does not need.
pub(super) async fn run_limited<R, V, S, F>(
    load: &mut Load<'_>,
    spec: &ResultSpec<V, S>,
    body: F,
    mut limit: BodyLimit,
) -> Option<R>
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    // The body is dropped here, before its flight ends.
    let ended = {
        let mut scope = load.scope();
        let mut body = pin!(body);
        poll_fn(|cx| {
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
    };
    let outcome = match ended {
        Ended::Returned(outcome) => outcome,
        Ended::Panicked(panic) => return Some(after_panic(load, spec, panic)),
        Ended::TimedOut(timeout) => {
            let failure = Failure::of_timeout(timeout.clone());
            return match load.fail(failure).and_then(spec.value_type.give) {
                Some(value) => Some(R::value(value)),
                None => spec.share.timed_out(timeout).and_then(R::failed),
            };
        }
    };
    // Only the value lives across the await, so that the error type need not be `Send`.
    let loaded = match settle_limited(load, spec, outcome) {
        Ok(loaded) => loaded,
        Err(outcome) => return Some(outcome),
    };
    Some(give(load.finish(loaded).await, spec))
}

/// Takes the value out of an outcome, as [`settle`] does. The functions of the options, such as
/// `stale_if`, may panic as the body may.
fn settle_limited<R, V, S>(
    load: &mut Load<'_>,
    spec: &ResultSpec<V, S>,
    outcome: R,
) -> Result<Option<Loaded>, R>
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
{
    let failure = |share: &S, error: &R::Error| Failure {
        may_serve_stale: share.may_serve_stale(error),
        shared: share.share(error),
        kept: share.keep(error),
        ..Failure::default()
    };
    let settled = catch_unwind(AssertUnwindSafe(|| settle(load, spec, outcome, failure)));
    settled.unwrap_or_else(|panic| Err(after_panic(load, spec, panic)))
}

/// Ends a load that panicked. The callers get the stale value, or this one panics.
fn after_panic<R, V, S>(
    load: &mut Load<'_>,
    spec: &ResultSpec<V, S>,
    panic: Box<dyn Any + Send>,
) -> R
where
    R: Outcome<V>,
{
    match load
        .fail(Failure::of_panic())
        .and_then(spec.value_type.give)
    {
        Some(value) => R::value(value),
        None => resume_unwind(panic),
    }
}

/// How a body ended.
pub(super) enum Ended<R> {
    Returned(R),
    Panicked(Box<dyn Any + Send>),
    /// It was at its limit and is dropped.
    TimedOut(LoadTimeout),
}
