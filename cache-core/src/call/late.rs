//! A load that may continue in the background after its callers were answered.
//!
//! Everything that such a load needs is in one boxed `'static` future: the function, the key, the
//! lead of the flight, and the closure that makes the body. The caller that leads polls the future
//! itself. At a timeout, or if that caller is dropped while others wait, the future moves to the
//! [owner of background loads](crate::state::RuntimeState::loads), which polls it from then on.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::limited::run_limited;
use super::{BoundKey, ResultSpec, receive};
use crate::cached_function::CachedFunction;
use crate::flight::{Detached, Leader};
use crate::key::Key;
use crate::late_load::{LateLoad, ResultSlot};
use crate::load::{Continued, Load, Mode, Revalidated, Step, Waited};
use crate::outcome::{Outcome, ShareError};

/// A call of a late function after its look-up.
#[expect(
    clippy::exhaustive_enums,
    reason = "an expansion matches it; core and macros have one version"
)]
pub enum LateCall<R> {
    /// The result of the call.
    Answered(R),
    /// The call waits for a load.
    Loading(LateLoading<R>),
}

/// A call that waits for a load which may continue in the background.
///
/// It is a trait object. The type of an `impl Future` would name the method that returns it with
/// the bounds of that method, and so repeat the compile error of an unsuitable result.
pub type LateLoading<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// A result that a load in the background can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot come from a load in the background",
    label = "a load in the background runs on any thread, so its result must be `Send + 'static`",
    note = "use types that other threads can use, such as `Arc` instead of `Rc`, or `Box<dyn Error \
            + Send + Sync>`"
)]
pub trait LateResult: Send + 'static {}

#[diagnostic::do_not_recommend]
impl<R: Send + 'static> LateResult for R {}

impl<R> fmt::Debug for LateCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered(_) => "Answered",
            Self::Loading(_) => "Loading",
        })
    }
}

/// Begins to load a value in the background that replaces one which is stale or due, unless a load
/// of the key runs. If the owner of background loads is full, nothing begins.
pub(super) fn begin_revalidation<R, V, S, M, F>(
    function: &Arc<CachedFunction>,
    key: Arc<Key>,
    revalidated: Revalidated,
    spec: ResultSpec<V, S>,
    make: M,
) where
    R: Outcome<V> + Send + 'static,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    if function.has_flight(&key) {
        return;
    }
    let detached = Detached::default();
    detached.set();
    let owned = Arc::clone(function);
    let job = async move {
        let function = owned;
        let load = Load::new(&function, Some(key), &spec.value_type, Mode::JoinLate);
        let mut load = load.replacing(revalidated).detached_by(detached);
        if let Some(Step::Run) = load.revalidate().await {
            let limit = load.body_limit(spec.share.can_time_out());
            let _result: Option<R> = run_limited(&mut load, &spec, make(), limit).await;
        }
    };
    function.begin_in_background(Box::pin(job));
}

/// Loads a value as [`drive`](super::drive) does, by a load that may continue in
/// the background.
pub(super) async fn drive_late<R, V, S, M, F>(place: BoundKey, spec: ResultSpec<V, S>, make: M) -> R
where
    R: Outcome<V> + Send + 'static,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let BoundKey { function, key } = place;
    let key = key.map(Arc::new);
    let deadline = function.deadline(spec.share.can_time_out());
    let load = Load::new(&function, key.clone(), &spec.value_type, Mode::JoinLate);
    let mut load = load.until(deadline);
    loop {
        let result = match load.next(spec.share.can_share()).await {
            Step::Completed(outcome) | Step::Revalidate(outcome, _) => receive(&outcome, &spec),
            Step::TimedOut(timeout) => spec.share.timed_out(timeout).and_then(R::failed),
            // The value of the body is not kept, so it ends with this caller.
            Step::Run => {
                let limit = load.body_limit(spec.share.can_time_out());
                let result = run_limited(&mut load, &spec, make(), limit).await;
                return result.expect("a limit is set only if the error can say it was reached");
            }
            Step::Lead(leader) => {
                let key = key.expect("a call without a key leads no flight");
                let detached = Detached::default();
                let view = leader.as_ref().map(Leader::view);
                let lead = Lead {
                    function: Arc::clone(&function),
                    key,
                    leader,
                    wait: load.take_wait(),
                };
                let slot = ResultSlot::new();
                let job = lead_late(lead, detached.clone(), spec, make, slot.clone());
                let owner = Arc::clone(&function);
                let late = LateLoad::new(Box::pin(job), view, detached, owner);
                let result = match load.wait_for_own(late).await {
                    Waited::Done => slot.take(),
                    Waited::Stale(held) => (spec.value_type.give)(held).map(R::value),
                    Waited::TimedOut(timeout) => spec.share.timed_out(timeout).and_then(R::failed),
                };
                return result.expect("the caller of a load gets a result");
            }
        };
        if let Some(result) = result {
            return result;
        }
        load.received_nothing();
    }
}

/// The lead of a flight, and what the load needs that does not depend on its function's types.
struct Lead {
    function: Arc<CachedFunction>,
    key: Arc<Key>,
    /// `None` for a strong call, which begins its flight after it has read the lower tiers.
    leader: Option<Leader>,
    wait: Continued,
}

/// The load of the caller that leads. Its result is left in `slot`.
async fn lead_late<R, V, S, M, F>(
    lead: Lead,
    detached: Detached,
    spec: ResultSpec<V, S>,
    make: M,
    slot: ResultSlot<R>,
) where
    R: Outcome<V> + Send + 'static,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let Lead {
        function,
        key,
        leader,
        wait,
    } = lead;
    let known = Some(Arc::clone(&key));
    let load = Load::new(&function, known, &spec.value_type, Mode::JoinLate);
    let mut load = load.after(wait).detached_by(detached);
    let mut step = load.lead_late(leader).await;
    let result = loop {
        step = match step {
            Step::Run => {
                let limit = load.body_limit(spec.share.can_time_out());
                break run_limited(&mut load, &spec, make(), limit).await;
            }
            Step::Revalidate(outcome, revalidated) => {
                let result = receive(&outcome, &spec);
                begin_revalidation(&function, key, revalidated, spec, make);
                break result;
            }
            Step::Completed(outcome) => match receive(&outcome, &spec) {
                // A kept result that this call cannot return, such as the absence of a value. The
                // call loads a value instead.
                None => {
                    load.received_nothing();
                    load.next(spec.share.can_share()).await
                }
                result => break result,
            },
            Step::Lead(leader) => load.lead_late(leader).await,
            Step::TimedOut(_) => break None,
        };
    };
    if let Some(result) = result {
        slot.put(result);
    }
}
