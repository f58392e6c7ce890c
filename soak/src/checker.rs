//! Judges a history.
//!
//! The versions of a key are unique and in order, and the database is the one source of truth.
//! So each read can be judged by itself: its version must not be older than what was invalidated
//! before it, by more than the guarantee allows, and not newer than what was committed. This is
//! complete for bounded staleness, and takes `n log n` steps.

mod key;
mod liveness;
mod observed;
mod single_load;
mod staleness;
mod verdict;

use std::collections::{BTreeSet, HashMap};

use self::key::Key;
pub use self::liveness::LONGEST_RECOVERY;
use self::liveness::{judge_calls, judge_health, judge_memory, judge_unchanged};
use self::observed::{Floors, Observed, Read};
pub use self::verdict::{Fault, Verdict, Violation};
use crate::history::{Event, Micros};
use crate::items::{FIRST_VERSION, Function, Item, PROBE, function_of};

/// Judges a history, for a bound on how old a read may be on another instance.
#[must_use]
pub fn judge(events: &[Event], bound: Micros) -> Verdict {
    let mut observed = Observed::new(events);
    let mut verdict = observed.counts();
    // The last life of each instance was not killed.
    let last = observed.last_lives();
    let items: BTreeSet<Item> = observed
        .reads
        .keys()
        .chain(observed.loads.keys())
        .copied()
        .collect();
    for item in items {
        let commits = observed.commits.remove(&item).unwrap_or_default();
        let reads = observed.reads.remove(&item).unwrap_or_default();
        let loads = observed.loads.remove(&item).unwrap_or_default();
        let invalidations = observed.invalidations.iter();
        let key = Key {
            item,
            bound,
            commits: Floors::new(commits),
            invalidations: invalidations
                .filter(|one| one.scope.covers(item))
                .copied()
                .collect(),
            windows: &observed.windows,
            splits: &observed.splits,
            last: &last,
        };
        key.judge_reads(&reads, &mut verdict);
        key.judge_rest(&reads, &mut verdict);
        key.judge_order(&reads, &loads, &mut verdict);
        match function_of(item) {
            Function::Memory => judge_memory(item, &loads, &key.invalidations, &mut verdict),
            Function::Nested | Function::Unchanged => {
                judge_unchanged(item, &loads, &observed.windows, &mut verdict);
            }
            Function::Bounded | Function::Strong | Function::Serving | Function::Failing => {
                let loads = loads.into_iter().map(|(_, at)| at).collect();
                key.judge_loads(loads, &mut verdict);
            }
            // Their values expire, and are loaded again.
            Function::Revalidated | Function::StaleIfError => {
                key.judge_age(&reads, &mut verdict);
            }
        }
        if item == PROBE {
            key.measure_propagation(&reads, &mut verdict);
        }
    }
    judge_calls(&observed.calls, &mut verdict);
    judge_health(&observed.reports, &observed.windows, bound, &mut verdict);
    verdict.propagation.sort_unstable();
    verdict
}

/// Returns reads from `rest` on that do not have the newest version.
///
/// From then on nothing is pending, so every read must have it, whichever instance invalidated.
#[must_use]
pub fn unconverged(events: &[Event], rest: Micros) -> Vec<Violation> {
    let mut newest: HashMap<Item, u64> = HashMap::new();
    for event in events {
        if let Event::Commit { item, version, .. } = *event {
            let known = newest.entry(item).or_insert(version);
            *known = version.max(*known);
        }
    }
    let reads = events.iter().filter_map(Read::of_event);
    let late = reads.filter(|(_, read)| read.start >= rest);
    late.filter_map(|(item, read)| {
        let expected = newest.get(&item).copied().unwrap_or(FIRST_VERSION);
        (read.version != expected).then(|| read.violates(Fault::Unconverged, item, expected))
    })
    .collect()
}

#[cfg(test)]
mod tests;
