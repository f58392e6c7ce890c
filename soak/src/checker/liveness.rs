//! Judges whether the cache works while no fault prevents it.
//!
//! A cache that runs every body never returns a stale value. These judgements find such a cache:
//! keys that were loaded more than once, calls that took too long, and wrong reports of health.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{Call, Health, Invalidation, Span};
use super::single_load::LONGEST_CALM_LOAD;
use super::verdict::{Verdict, Violation};
use crate::history::{Life, Micros, Window};
use crate::instance::{FAILING_LOAD, NESTED_LOAD};
use crate::items::{Function, Item, function_of};

/// Longest time from the end of the faults until an instance is well: longer than any pause between
/// two attempts to connect.
pub const LONGEST_RECOVERY: Micros = 10_000_000;

/// Longest call of a key that loads immediately: far longer than a call takes, and shorter than a
/// lease.
const LONGEST_CALL: Micros = 1_000_000;

/// Time that a busy machine may add to two failing loads. It is shorter than a third load, which
/// would show that failing calls wait for each other.
const FAILING_SLACK: Micros = 300_000;

/// Time that a busy machine may add to a nested load.
const NESTED_SLACK: Micros = 2_000_000;

/// Returns `true` if no fault disturbs the instances in such a time.
fn is_undisturbed(window: Window) -> bool {
    matches!(window, Window::Calm | Window::Quiet)
}

/// Returns the longest time that a call of this item may take without a fault.
fn longest_call(item: Item) -> Micros {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    match function_of(item) {
        // A call waits for one load of another caller, and then runs its own body.
        Function::Failing => 2 * micros(FAILING_LOAD) + FAILING_SLACK,
        Function::Nested => micros(NESTED_LOAD) + NESTED_SLACK,
        _ => LONGEST_CALL,
    }
}

pub(super) fn judge_calls(calls: &[Call], verdict: &mut Verdict) {
    verdict.calls = calls.len();
    for call in calls {
        let took = call.end.saturating_sub(call.start);
        let limit = longest_call(call.item);
        if took > limit {
            verdict.violations.push(Violation::Slow {
                life: call.life,
                item: call.item,
                start: call.start,
                took,
                limit,
            });
        }
        if function_of(call.item) == Function::Unchanged {
            verdict.slowest_call = verdict.slowest_call.max(took);
        }
    }
}

/// Judges the loads of a key that no instance invalidates: all instances together load it once in
/// each undisturbed time.
pub(super) fn judge_unchanged(
    item: Item,
    loads: &[(Life, Micros)],
    windows: &[Span],
    verdict: &mut Verdict,
) {
    for (_, start, end) in windows.iter().filter(|(kind, ..)| is_undisturbed(*kind)) {
        let mut within: Vec<Micros> = loads
            .iter()
            .map(|(_, at)| *at)
            .filter(|at| (start..=end).contains(&at))
            .collect();
        within.sort_unstable();
        for pair in within.windows(2) {
            verdict.violations.push(Violation::TwoLoads {
                item,
                first: pair[0],
                second: pair[1],
            });
        }
    }
}

/// Judges the loads of a key that uses memory alone.
///
/// Whatever happens to the server, an instance loads again only after its own invalidation.
pub(super) fn judge_memory(
    item: Item,
    loads: &[(Life, Micros)],
    invalidations: &[Invalidation],
    verdict: &mut Verdict,
) {
    let mut of_life: BTreeMap<Life, Vec<Micros>> = BTreeMap::new();
    for (life, at) in loads {
        of_life.entry(*life).or_default().push(*at);
    }
    for (life, mut loads) in of_life {
        loads.sort_unstable();
        for pair in loads.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            // The value of the first load was discarded if the load began before the invalidation,
            // even if it read the database later.
            let since = first.saturating_sub(LONGEST_CALM_LOAD);
            let is_invalidated = invalidations
                .iter()
                .any(|one| one.life == life && one.start <= second && since <= one.end);
            if !is_invalidated {
                verdict.violations.push(Violation::TwoLoads {
                    item,
                    first,
                    second,
                });
            }
        }
    }
}

pub(super) fn judge_health(
    reports: &[Health],
    windows: &[Span],
    bound: Micros,
    verdict: &mut Verdict,
) {
    verdict.reports = reports.len();
    verdict.quiet = windows
        .iter()
        .filter(|(kind, ..)| *kind == Window::Quiet)
        .count();
    let instances: BTreeSet<u16> = reports.iter().map(|one| one.life.instance).collect();
    for span in windows {
        for &instance in &instances {
            // An instance notices within one bound that its channel is silent, and a request times
            // out within another.
            let from = match span.0 {
                Window::Unreachable => span.1 + 2 * bound,
                _ => span.1,
            };
            let mut of_instance: Vec<Health> = reports
                .iter()
                .filter(|one| one.life.instance == instance)
                .filter(|one| from <= one.start && one.end <= span.2)
                .copied()
                .collect();
            of_instance.sort_unstable_by_key(|one| one.start);
            match span.0 {
                Window::Calm => judge_undisturbed(instance, *span, 0, &of_instance, verdict),
                Window::Quiet => {
                    judge_undisturbed(instance, *span, LONGEST_RECOVERY, &of_instance, verdict);
                }
                Window::Unreachable => judge_unreachable(instance, *span, &of_instance, verdict),
                Window::Rest | Window::Evicting => {}
            }
        }
    }
}

/// Judges that an instance is well before `recovery` ends, and is not isolated after that.
fn judge_undisturbed(
    instance: u16,
    (_, start, _): Span,
    recovery: Micros,
    reports: &[Health],
    verdict: &mut Verdict,
) {
    let Some(recovered) = reports.iter().position(|one| one.well) else {
        let violation = match reports.last() {
            Some(last) => Violation::Unwell {
                life: last.life,
                start: last.start,
            },
            None => Violation::NoHealth { instance, start },
        };
        verdict.violations.push(violation);
        return;
    };
    let first = reports[recovered];
    if recovered > 0 {
        let took = first.end.saturating_sub(start);
        verdict.longest_recovery = verdict.longest_recovery.max(took);
        if took > recovery {
            let Health { life, start, .. } = reports[recovered - 1];
            verdict.violations.push(Violation::Unwell { life, start });
        }
    }
    for pair in reports[recovered..].windows(2) {
        let Health { life, start, .. } = pair[1];
        if !pair[1].well {
            verdict.violations.push(Violation::Unwell { life, start });
        }
        if pair[0].isolations < pair[1].isolations {
            verdict.violations.push(Violation::Isolated { life, start });
        }
    }
}

/// Judges that an instance does not report that it is well while it cannot reach the server.
fn judge_unreachable(
    instance: u16,
    (_, start, _): Span,
    reports: &[Health],
    verdict: &mut Verdict,
) {
    if reports.is_empty() {
        verdict
            .violations
            .push(Violation::NoHealth { instance, start });
    }
    for Health { life, start, .. } in reports.iter().filter(|one| one.well) {
        verdict.violations.push(Violation::WronglyWell {
            life: *life,
            start: *start,
        });
    }
}
