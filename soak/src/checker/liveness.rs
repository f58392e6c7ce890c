//! Judges whether the cache works where nothing keeps it from working.
//!
//! A cache that runs every body answers nothing stale. These judgements find it: keys that were loaded more often than once,
//! calls that took too long, and reports of health that were wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::calm::LONGEST_CALM_LOAD;
use super::{Invalidation, Verdict, Violation};
use crate::history::{Function, Item, Life, Micros, Window, function_of};
use crate::instance::{FAILING_LOAD, NESTED_LOAD};

/// Longest time from the end of the faults until an instance is well: longer than any pause between two attempts to connect.
pub const LONGEST_RECOVERY: Micros = 10_000_000;

/// Longest call of a key that loads at once: far longer than a call takes, and shorter than a lease.
const LONGEST_CALL: Micros = 1_000_000;

/// What a machine that runs all instances and servers may add to the time of two failing loads: several calls that fail one
/// after another take longer.
const FAILING_SLACK: Micros = 300_000;

/// What such a machine may add to the time of a nested load.
const NESTED_SLACK: Micros = 2_000_000;

/// A time to judge.
pub(super) type Span = (Window, Micros, Micros);

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) life: Life,
    pub(super) item: Item,
    pub(super) start: Micros,
    pub(super) end: Micros,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    pub(super) life: Life,
    pub(super) well: bool,
    pub(super) isolations: u64,
    pub(super) start: Micros,
    pub(super) end: Micros,
}

/// Whether nothing disturbs the instances in such a time.
fn is_undisturbed(window: Window) -> bool {
    matches!(window, Window::Calm | Window::Quiet)
}

/// Longest that a call of this item may take where there is no fault.
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
        if function_of(call.item) == Function::Asked {
            verdict.slowest_call = verdict.slowest_call.max(took);
        }
    }
}

/// Judges the loads of a key that no instance invalidates, by all instances: one in each undisturbed time.
pub(super) fn judge_single_load(
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

/// Judges the loads of a key that uses memory alone: whatever happens to the server, an instance loads again only after an
/// invalidation of its own.
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
            // The first load was voided if it had begun before the invalidation, even if it read the database later.
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
            // An instance notices within a bound that its channel is silent, and gives up a request within another.
            let from = match span.0 {
                Window::Away => span.1 + 2 * bound,
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
                Window::Away => judge_away(instance, *span, &of_instance, verdict),
                Window::Rest | Window::Evicting => {}
            }
        }
    }
}

/// The instance must be well before `recovery` is over, and must not be isolated after that.
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

/// The instance must not be well while it cannot reach the server.
fn judge_away(instance: u16, (_, start, _): Span, reports: &[Health], verdict: &mut Verdict) {
    if reports.is_empty() {
        verdict
            .violations
            .push(Violation::NoHealth { instance, start });
    }
    for Health { life, start, .. } in reports.iter().filter(|one| one.well) {
        verdict.violations.push(Violation::SaidWell {
            life: *life,
            start: *start,
        });
    }
}
