//! Assertions on counters, which print a snapshot of the runtimes when they fail.
//!
//! A function is named as in the statistics, or by the end of that name: `read`, or
//! `coherence::read` if several functions are called `read`.

use std::fmt::{Debug, Write};

use multi_tier_cached::{CacheRuntime, FunctionStats, Level, TierStats};

use crate::truth::Truth;

/// Asserts how many loads of `function` this runtime has made.
pub async fn assert_loads(runtime: &CacheRuntime, function: &str, expected: u64) {
    let found = function_stats(runtime, function).map_or(0, |stats| stats.loads);
    let what = format!("loads of `{function}`");
    assert_count(&what, found, expected, &[runtime]).await;
}

/// Asserts what `read` takes out of the statistics of `function` in the tier at `level`.
///
/// # Panics
/// If the counters are not as expected, or if `function` was never called.
pub async fn assert_tier<T: PartialEq + Debug>(
    runtime: &CacheRuntime,
    function: &str,
    level: Level,
    read: impl Fn(&TierStats) -> T,
    expected: T,
) {
    let found = tier_stats(runtime, function, level).map(|stats| read(&stats));
    let what = format!("counters of `{function}` in {level}");
    assert_count(&what, found, Some(expected), &[runtime]).await;
}

/// Asserts how often the bodies of a test have read `truth`, in all of its `runtimes`.
pub async fn assert_reads(truth: &Truth, expected: u64, runtimes: &[&CacheRuntime]) {
    assert_count("reads of the truth", truth.reads(), expected, runtimes).await;
}

/// Asserts any count, and prints a snapshot of these runtimes if it is not as expected.
///
/// # Panics
/// If `found` is not `expected`.
pub async fn assert_count<T: PartialEq + Debug>(
    what: &str,
    found: T,
    expected: T,
    runtimes: &[&CacheRuntime],
) {
    if found == expected {
        return;
    }
    let mut snapshots = String::new();
    for runtime in runtimes {
        let _ = write!(snapshots, "\n\n{}", runtime.snapshot().await);
    }
    panic!("{what}: found {found:?}, expected {expected:?}{snapshots}");
}

/// Returns the statistics of `function`, or `None` if it was never called in this runtime.
pub fn function_stats(runtime: &CacheRuntime, function: &str) -> Option<FunctionStats> {
    let end = format!("::{function}");
    let is_named = |name: &str| name == function || name.ends_with(&end);
    let mut functions = runtime.stats().functions.into_iter();
    let found = functions.find(|stats| is_named(&stats.name));
    if let (Some(first), Some(second)) = (&found, functions.find(|stats| is_named(&stats.name))) {
        panic!(
            "`{function}` names both `{}` and `{}`",
            first.name, second.name
        );
    }
    found
}

/// Returns the statistics of `function` in the tier at `level`, or `None` if it has none.
pub fn tier_stats(runtime: &CacheRuntime, function: &str, level: Level) -> Option<TierStats> {
    let stats = function_stats(runtime, function)?;
    stats.tier(level).cloned()
}
