//! A load that does not look whether there is a value.

use super::run_body;
use super::terms::Terms;
use crate::bound::Bound;
use crate::key::Key;
use crate::outcome::{Outcome, ShareError, View};
use crate::tier::Claim;

/// Runs the body, whatever the tiers have, and replaces the value.
pub(crate) async fn refresh<R, V, S, F>(
    bound: &Bound,
    key: Key,
    terms: Terms<V, S>,
    load: impl FnOnce() -> F,
) -> R
where
    R: Outcome<V>,
    S: ShareError<R::Error>,
    F: Future<Output = R>,
{
    let stack = &bound.stack;
    bound.drop_aside(&key).await;
    let leader = stack.flights.lead(&key, &stack.fences, stack.clock.now());
    let mut lower = bound.lower_tiers(&key);
    // A claim that takes over does not wait.
    let _ = bound
        .lease(&mut lower, Claim::TakeOver, &terms.value_type)
        .await;
    let result = run_body(bound, key.clone(), terms, leader, lower, load).await;
    let drops = match result.view() {
        View::Value(value) => terms.keep_if.is_some_and(|keep_if| !keep_if(value)),
        View::Absent => true,
        View::Failed(_) => false,
    };
    if !drops {
        return result;
    }
    // Only the value lives across the await, as in `run_body`. A tier that failed has counted it.
    let value = result.into_value().ok();
    let _ = bound.invalidate(&key).await;
    match value {
        Some(value) => R::value(value),
        None => R::absent().expect("a result that said it is absent can say so again"),
    }
}
