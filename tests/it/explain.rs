//! `explain` says what each tier has under a key, whether a call can use it, and what a call does
//! now.

mod agrees;
mod breaker;
mod calls;
mod events;
mod memory;
mod private;
mod records;
mod replaced;
mod unusable;

use std::time::Duration;

use multi_tier_cached::{
    ExplainedTier, Explanation, Function, FunctionBuilder, Level, NextCall, StaleReason, Verdict,
};

use testbed::Instance;

const HOUR: Duration = Duration::from_secs(3_600);

fn builder(name: &'static str) -> FunctionBuilder<u64> {
    Function::<u64>::builder(name).ttl(HOUR)
}

/// Loads key 1 with this value.
async fn load(instance: &Instance, function: &Function<u64>, value: u64) -> u64 {
    let call = function.get_or_load((1,), || async move { value });
    instance.call(call).await
}

/// Explains key 1.
async fn explain<S: Copy>(instance: &Instance, function: &Function<u64, S>) -> Explanation {
    instance.call(function.entry((1,)).explain()).await
}

#[track_caller]
fn tier(explanation: &Explanation, level: Level) -> &ExplainedTier {
    let tier = explanation.tiers.iter().find(|tier| tier.level == level);
    tier.unwrap_or_else(|| panic!("there is no {level}: {explanation}"))
}

#[track_caller]
fn verdict(explanation: &Explanation, level: Level) -> &Verdict {
    &tier(explanation, level).verdict
}

fn answered(by: Level, copied_to: &[Level]) -> impl Fn(&NextCall) -> bool {
    move |next| {
        matches!(next, NextCall::Answered { by: level, copied_to: copies, stale: None, .. }
            if *level == by && copies == copied_to)
    }
}

fn stale(by: Level, reason: StaleReason) -> impl Fn(&NextCall) -> bool {
    move |next| {
        matches!(next, NextCall::Answered { by: level, stale: Some(why), .. }
            if *level == by && *why == reason)
    }
}

fn loads(next: &NextCall) -> bool {
    matches!(
        next,
        NextCall::Loads {
            is_kept: true,
            has_stale: false
        }
    )
}

#[track_caller]
fn assert_next(explanation: &Explanation, is_as_expected: impl Fn(&NextCall) -> bool) {
    assert!(is_as_expected(&explanation.next_call), "{explanation}");
}

/// Asserts that a call of key 1 runs its body, as the explanation says.
async fn assert_loads(instance: &Instance, function: &Function<u64>, explanation: &Explanation) {
    const NEW: u64 = 99;
    assert_next(explanation, loads);
    assert_eq!(load(instance, function, NEW).await, NEW, "{explanation}");
}

/// Asserts that a call of key 1 gets the value that the tier at `by` has, as the explanation says.
async fn assert_answered(
    instance: &Instance,
    function: &Function<u64>,
    explanation: &Explanation,
    (by, copied_to): (Level, &[Level]),
    value: u64,
) {
    assert_next(explanation, answered(by, copied_to));
    assert_eq!(
        load(instance, function, value + 1).await,
        value,
        "{explanation}"
    );
}
