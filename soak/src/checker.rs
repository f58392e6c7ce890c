//! Judges a history.
//!
//! Versions of a key are unique and in order, and the database is the one truth, so each read can be judged by itself: it must
//! not be older than what was invalidated before it, by as much as the guarantee allows, and not newer than what was
//! committed. Complete for bounded staleness, and in `n log n`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::history::{Event, Item, Life, Micros, Reached, Scope, Window};

/// The item whose propagation is measured.
pub const PROBE: Item = 0;

/// What a version is before the first commit.
pub const FIRST: u64 = 1;

/// No load takes longer while all is calm.
const LONGEST_CALM_LOAD: Micros = 1_000_000;

/// What a read may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Older than what any instance had invalidated, by more than the bound.
    Stale,
    /// Older than what the same instance had invalidated.
    OwnStale,
    /// Older than what had settled.
    Unsettled,
    /// Older than what the same instance had answered before, without a fault.
    Backwards,
    /// Newer than what was committed.
    Invented,
    /// Not the newest, when all was said to have come to rest.
    Unconverged,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// By a read.
    Read {
        /// Which.
        fault: Fault,
        /// By whom it was read.
        life: Life,
        /// Which key.
        item: Item,
        /// What was read.
        version: u64,
        /// What it must at least, or at most, have been.
        expected: u64,
        /// When the read began.
        start: Micros,
    },
    /// Loaded twice without an invalidation between, and without a fault.
    TwoLoads {
        /// Which key.
        item: Item,
        /// The first load.
        first: Micros,
        /// The second.
        second: Micros,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a history shows.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Reads that were judged.
    pub reads: usize,
    /// Invalidations that returned.
    pub invalidations: usize,
    /// Of those, of a whole function.
    pub of_functions: usize,
    /// Of those, queued.
    pub queued: usize,
    /// Of those, settled.
    pub settled: usize,
    /// Loads.
    pub loads: usize,
    /// How long after an acknowledgement its old value was still read, at worst, by another instance.
    pub worst_staleness: Micros,
    /// Reads that were older than one before, on the same instance, while there were faults. Each is within the bound.
    pub backwards_in_faults: usize,
    /// How long other instances took to see an invalidation, without faults; sorted.
    pub propagation: Vec<Micros>,
    /// What was not kept.
    pub violations: Vec<Violation>,
}

/// What must be seen from when on: the newest version that is known by then.
#[derive(Debug, Default)]
struct Floors(Vec<(Micros, u64)>);

impl Floors {
    fn new(mut known: Vec<(Micros, u64)>) -> Self {
        known.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        Self(known)
    }

    /// The newest version known at `at`.
    fn at(&self, at: Micros) -> u64 {
        match self.0.partition_point(|(known, _)| *known <= at) {
            0 => 0,
            after => self.0[after - 1].1,
        }
    }

    /// When a version newer than this one was known first.
    fn newer_than(&self, version: u64) -> Option<Micros> {
        let first = self.0.partition_point(|(_, known)| *known <= version);
        self.0.get(first).map(|(at, _)| *at)
    }
}

#[derive(Clone, Copy, Debug)]
struct Read {
    life: Life,
    version: u64,
    strong: bool,
    start: Micros,
    end: Micros,
}

impl Read {
    fn violates(&self, fault: Fault, item: Item, expected: u64) -> Violation {
        Violation::Read {
            fault,
            life: self.life,
            item,
            version: self.version,
            expected,
            start: self.start,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Invalidation {
    life: Life,
    scope: Scope,
    start: Micros,
    end: Micros,
    reached: Reached,
}

/// Judges it, for a bound on how old a read may be on another instance.
#[must_use]
pub fn judge(events: &[Event], bound: Micros) -> Verdict {
    let mut reads: BTreeMap<Item, Vec<Read>> = BTreeMap::new();
    let mut commits: HashMap<Item, Vec<(Micros, u64)>> = HashMap::new();
    let mut loads: BTreeMap<Item, Vec<Micros>> = BTreeMap::new();
    let mut invalidations = Vec::new();
    let mut windows = Vec::new();
    for event in events {
        match *event {
            Event::Read {
                life,
                item,
                version,
                strong,
                start,
                end,
            } => reads.entry(item).or_default().push(Read {
                life,
                version,
                strong,
                start,
                end,
            }),
            Event::Invalidation {
                life,
                scope,
                start,
                end,
                reached,
            } => invalidations.push(Invalidation {
                life,
                scope,
                start,
                end,
                reached,
            }),
            Event::Commit { item, version, at } => {
                commits.entry(item).or_default().push((at, version));
            }
            Event::Load { item, at, .. } => loads.entry(item).or_default().push(at),
            Event::Window { kind, start, end } => windows.push((kind, start, end)),
        }
    }
    let of_reached = |reached| {
        invalidations
            .iter()
            .filter(|invalidation| invalidation.reached == reached)
            .count()
    };
    let mut verdict = Verdict {
        reads: reads.values().map(Vec::len).sum(),
        invalidations: invalidations.len(),
        of_functions: invalidations
            .iter()
            .filter(|invalidation| matches!(invalidation.scope, Scope::FunctionOf(_)))
            .count(),
        queued: of_reached(Reached::Queued),
        settled: of_reached(Reached::Settled),
        loads: loads.values().map(Vec::len).sum(),
        ..Verdict::default()
    };
    let items: BTreeSet<Item> = reads.keys().chain(loads.keys()).copied().collect();
    for item in items {
        let of_item = Key {
            item,
            bound,
            commits: Floors::new(commits.remove(&item).unwrap_or_default()),
            invalidations: invalidations
                .iter()
                .filter(|invalidation| invalidation.scope.covers(item))
                .copied()
                .collect(),
            windows: &windows,
        };
        let reads = reads.remove(&item).unwrap_or_default();
        of_item.judge_reads(&reads, &mut verdict);
        of_item.judge_order(&reads, &mut verdict);
        of_item.judge_loads(loads.remove(&item).unwrap_or_default(), &mut verdict);
        if item == PROBE {
            of_item.measure(&reads, &mut verdict);
        }
    }
    verdict.propagation.sort_unstable();
    verdict
}

/// Reads that began when all had come to rest must have the newest version, whoever invalidated it.
#[must_use]
pub fn unconverged(events: &[Event], rest: Micros) -> Vec<Violation> {
    let mut newest: HashMap<Item, u64> = HashMap::new();
    for event in events {
        if let Event::Commit { item, version, .. } = *event {
            let known = newest.entry(item).or_insert(version);
            *known = version.max(*known);
        }
    }
    let late = events.iter().filter_map(|event| match *event {
        Event::Read {
            life,
            item,
            version,
            strong,
            start,
            end,
        } if start >= rest => Some((
            item,
            Read {
                life,
                version,
                strong,
                start,
                end,
            },
        )),
        _ => None,
    });
    late.filter_map(|(item, read)| {
        let expected = newest.get(&item).copied().unwrap_or(FIRST);
        (read.version != expected).then(|| read.violates(Fault::Unconverged, item, expected))
    })
    .collect()
}

/// All there is to know of one key.
struct Key<'a> {
    item: Item,
    bound: Micros,
    commits: Floors,
    invalidations: Vec<Invalidation>,
    windows: &'a [(Window, Micros, Micros)],
}

impl Key<'_> {
    fn committed(&self, at: Micros) -> u64 {
        self.commits.at(at).max(FIRST)
    }

    fn window(&self, wanted: Window, at: Micros) -> Option<(Micros, Micros)> {
        self.windows
            .iter()
            .find(|(kind, start, end)| *kind == wanted && (*start..=*end).contains(&at))
            .map(|(_, start, end)| (*start, *end))
    }

    /// What invalidations of this kind make known, and when.
    fn floors(&self, counts: impl Fn(&Invalidation) -> bool) -> Floors {
        let counted = self.invalidations.iter().filter(|one| counts(one));
        Floors::new(
            counted
                .map(|one| (one.end, self.committed(one.start)))
                .collect(),
        )
    }

    fn judge_reads(&self, reads: &[Read], verdict: &mut Verdict) {
        let item = self.item;
        let acked = self.floors(|one| one.reached != Reached::Queued);
        let settled = self.floors(|one| {
            let split = self.windows.iter().any(|(kind, start, end)| {
                *kind == Window::Split && *start <= one.end && one.start <= *end
            });
            one.reached == Reached::Settled && !split
        });
        let lives: BTreeSet<Life> = reads.iter().map(|read| read.life).collect();
        let own: HashMap<Life, Floors> = lives
            .into_iter()
            .map(|life| (life, self.floors(|one| one.life == life)))
            .collect();
        for read in reads {
            let Read {
                life,
                version,
                strong,
                start,
                end,
            } = *read;
            let bound = if strong { 0 } else { self.bound };
            let mut violate = |fault, expected| {
                verdict
                    .violations
                    .push(read.violates(fault, item, expected));
            };
            let committed = self.committed(end);
            if version > committed {
                violate(Fault::Invented, committed);
            }
            let split = self.window(Window::Split, start);
            let from = split.map_or(start, |(from, _)| from);
            let floors = [
                (Fault::Stale, acked.at(from.saturating_sub(bound))),
                (
                    Fault::OwnStale,
                    own.get(&life).map_or(0, |own| own.at(start)),
                ),
                (Fault::Unsettled, settled.at(from)),
            ];
            for (fault, expected) in floors {
                if version < expected {
                    violate(fault, expected);
                }
            }
            if split.is_none()
                && !strong
                && let Some(known) = acked.newer_than(version)
            {
                verdict.worst_staleness = verdict.worst_staleness.max(start.saturating_sub(known));
            }
        }
    }

    /// What one instance answers must not go back.
    fn judge_order(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut of_life: BTreeMap<Life, Vec<Read>> = BTreeMap::new();
        for read in reads {
            of_life.entry(read.life).or_default().push(*read);
        }
        for (_, mut by_start) in of_life {
            let mut by_end = by_start.clone();
            by_start.sort_unstable_by_key(|read| read.start);
            by_end.sort_unstable_by_key(|read| read.end);
            let mut ended = by_end.iter().peekable();
            let mut newest: Option<Read> = None;
            for read in by_start {
                while let Some(before) = ended.next_if(|before| before.end < read.start) {
                    if newest.is_none_or(|newest| newest.version < before.version) {
                        newest = Some(*before);
                    }
                }
                let Some(before) = newest.filter(|newest| newest.version > read.version) else {
                    continue;
                };
                let calm = self
                    .window(Window::Calm, read.start)
                    .is_some_and(|(from, _)| from <= before.start);
                if calm {
                    verdict.violations.push(read.violates(
                        Fault::Backwards,
                        self.item,
                        before.version,
                    ));
                } else {
                    verdict.backwards_in_faults += 1;
                }
            }
        }
    }

    /// One load for each time there is nothing to read.
    fn judge_loads(&self, mut loads: Vec<Micros>, verdict: &mut Verdict) {
        loads.sort_unstable();
        for pair in loads.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            let calm = self
                .window(Window::Calm, second)
                .is_some_and(|(from, _)| from <= first);
            // The lease of the first may have been taken long before it read, and been voided before that.
            let since = first.saturating_sub(LONGEST_CALM_LOAD);
            let invalidated = self
                .invalidations
                .iter()
                .any(|one| one.start <= second && since <= one.end);
            // Nobody notes an invalidation that is dropped, but it has a commit before it; nor a guard, which has one after.
            let until = second + LONGEST_CALM_LOAD;
            let changed = self.commits.at(since) != self.commits.at(until);
            if calm && !invalidated && !changed {
                verdict.violations.push(Violation::TwoLoads {
                    item: self.item,
                    first,
                    second,
                });
            }
        }
    }

    /// From when on a call on another instance is answered with the new version, as seen from the return of the invalidation.
    fn measure(&self, reads: &[Read], verdict: &mut Verdict) {
        let mut of_life: BTreeMap<Life, Vec<Read>> = BTreeMap::new();
        for read in reads {
            of_life.entry(read.life).or_default().push(*read);
        }
        for reads in of_life.values_mut() {
            reads.sort_unstable_by_key(|read| read.start);
        }
        for one in &self.invalidations {
            let Some((_, until)) = self.window(Window::Calm, one.end) else {
                continue;
            };
            if one.reached != Reached::Acked {
                continue;
            }
            let expected = self.committed(one.start);
            for (life, reads) in &of_life {
                let from = reads.partition_point(|read| read.start < one.start);
                let mut calm = reads[from..].iter().take_while(|read| read.start < until);
                let seen = calm.find(|read| read.version >= expected);
                if let Some(seen) = seen.filter(|_| *life != one.life) {
                    verdict.propagation.push(seen.start.saturating_sub(one.end));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::STRONG;

    const BOUND: Micros = 500_000;
    const HERE: Life = Life {
        instance: 0,
        number: 0,
    };
    const THERE: Life = Life {
        instance: 1,
        number: 0,
    };

    fn read(life: Life, item: Item, version: u64, start: Micros, end: Micros) -> Event {
        Event::Read {
            life,
            item,
            version,
            strong: item == STRONG,
            start,
            end,
        }
    }

    fn commit(item: Item, version: u64, at: Micros) -> Event {
        Event::Commit { item, version, at }
    }

    fn invalidation(
        life: Life,
        scope: Scope,
        start: Micros,
        end: Micros,
        reached: Reached,
    ) -> Event {
        Event::Invalidation {
            life,
            scope,
            start,
            end,
            reached,
        }
    }

    /// Version 2 of item 7 is committed at 100, and its invalidation by `HERE` returns at 1,000.
    fn changed(reached: Reached) -> Vec<Event> {
        vec![
            commit(7, 2, 100),
            invalidation(HERE, Scope::One(7), 200, 1_000, reached),
        ]
    }

    fn violations(mut events: Vec<Event>, more: &[Event]) -> Vec<Violation> {
        events.extend_from_slice(more);
        judge(&events, BOUND).violations
    }

    #[test]
    fn a_good_history_is_good() {
        let good = [
            read(THERE, 7, 1, 0, 50),
            read(THERE, 7, 1, 1_000 + BOUND - 1, 1_000 + BOUND),
            read(HERE, 7, 2, 1_001, 1_002),
            read(THERE, 7, 2, 1_000 + BOUND, 2_000 + BOUND),
        ];
        assert_eq!(violations(changed(Reached::Acked), &good), []);
        let mut events = changed(Reached::Acked);
        events.extend(good);
        let verdict = judge(&events, BOUND);
        assert_eq!((verdict.reads, verdict.invalidations), (4, 1));
        assert_eq!(verdict.worst_staleness, BOUND - 1);
    }

    #[test]
    fn a_read_that_is_too_old_is_seen() {
        let late = read(THERE, 7, 1, 1_000 + BOUND, 1_001 + BOUND);
        assert!(matches!(
            violations(changed(Reached::Acked), &[late])[..],
            [Violation::Read {
                fault: Fault::Stale,
                expected: 2,
                ..
            }]
        ));
        assert_eq!(violations(changed(Reached::Queued), &[late]), []);
        // By an invalidation of the function.
        let events = vec![
            commit(7, 2, 100),
            invalidation(HERE, Scope::FunctionOf(3), 200, 1_000, Reached::Acked),
        ];
        assert!(matches!(
            violations(events.clone(), &[late])[..],
            [Violation::Read {
                fault: Fault::Stale,
                ..
            }]
        ));
        let other_function = read(THERE, STRONG, 1, 2_000 + BOUND, 2_001 + BOUND);
        assert_eq!(violations(events, &[other_function]), []);
    }

    #[test]
    fn a_change_during_an_invalidation_is_not_of_it() {
        let events = vec![
            commit(7, 2, 300),
            invalidation(HERE, Scope::One(7), 200, 1_000, Reached::Acked),
        ];
        assert_eq!(
            violations(events, &[read(THERE, 7, 1, 5 * BOUND, 6 * BOUND)]),
            []
        );
    }

    #[test]
    fn an_own_invalidation_counts_at_once_even_if_it_is_queued() {
        for reached in [Reached::Acked, Reached::Queued] {
            assert!(matches!(
                violations(changed(reached), &[read(HERE, 7, 1, 1_000, 1_001)])[..],
                [Violation::Read {
                    fault: Fault::OwnStale,
                    ..
                }]
            ));
        }
        let other_life = Life { number: 1, ..HERE };
        let next = read(other_life, 7, 1, 1_000, 1_001);
        assert_eq!(violations(changed(Reached::Acked), &[next]), []);
    }

    #[test]
    fn what_has_settled_counts_at_once_everywhere() {
        assert!(matches!(
            violations(
                changed(Reached::Settled),
                &[read(THERE, 7, 1, 1_000, 1_001)]
            )[..],
            [Violation::Read {
                fault: Fault::Unsettled,
                ..
            }]
        ));
    }

    #[test]
    fn a_strong_read_has_no_bound() {
        let events = vec![
            commit(STRONG, 2, 100),
            invalidation(HERE, Scope::One(STRONG), 200, 1_000, Reached::Acked),
        ];
        assert!(matches!(
            violations(events, &[read(THERE, STRONG, 1, 1_000, 1_001)])[..],
            [Violation::Read {
                fault: Fault::Stale,
                ..
            }]
        ));
    }

    #[test]
    fn a_version_out_of_nowhere_is_seen() {
        assert!(matches!(
            violations(changed(Reached::Acked), &[read(THERE, 7, 2, 50, 99)])[..],
            [Violation::Read {
                fault: Fault::Invented,
                ..
            }]
        ));
    }

    #[test]
    fn while_calm_an_instance_does_not_go_back() {
        let events = vec![commit(7, 2, 100)];
        let back = [read(THERE, 7, 2, 110, 120), read(THERE, 7, 1, 130, 140)];
        let calm = Event::Window {
            kind: Window::Calm,
            start: 0,
            end: 1_000,
        };
        assert!(matches!(
            violations(events.clone(), &[back[0], back[1], calm])[..],
            [Violation::Read {
                fault: Fault::Backwards,
                expected: 2,
                ..
            }]
        ));
        assert_eq!(violations(events.clone(), &back), []);
        // At the same time nothing is earlier.
        let beside = [
            read(THERE, 7, 2, 110, 140),
            read(THERE, 7, 1, 120, 130),
            calm,
        ];
        assert_eq!(violations(events.clone(), &beside), []);
        let mut all = events;
        all.extend(back);
        assert_eq!(judge(&all, BOUND).backwards_in_faults, 1);
    }

    #[test]
    fn while_calm_a_key_is_loaded_once() {
        let load = |at| Event::Load {
            instance: 0,
            item: 7,
            at,
        };
        let calm = Event::Window {
            kind: Window::Calm,
            start: 0,
            end: 10_000_000,
        };
        let twice = [load(5_000_000), load(5_000_100)];
        assert!(matches!(
            violations(vec![calm], &twice)[..],
            [Violation::TwoLoads { .. }]
        ));
        assert_eq!(violations(Vec::new(), &twice), []);
        let between = invalidation(HERE, Scope::One(7), 5_000_010, 5_000_020, Reached::Acked);
        assert_eq!(violations(vec![calm, between], &twice), []);
    }

    #[test]
    fn while_an_old_primary_lives_on_what_is_acknowledged_there_does_not_count_elsewhere() {
        let split = |end| Event::Window {
            kind: Window::Split,
            start: 500,
            end,
        };
        let late = read(THERE, 7, 1, 2 * BOUND, 2 * BOUND + 1);
        assert_eq!(
            violations(changed(Reached::Acked), &[late, split(3 * BOUND)]),
            []
        );
        assert!(
            !violations(changed(Reached::Acked), &[late, split(BOUND)]).is_empty(),
            "it is over"
        );
        let before = [
            commit(7, 2, 10),
            invalidation(HERE, Scope::One(7), 20, 30, Reached::Acked),
            Event::Window {
                kind: Window::Split,
                start: 40 + BOUND,
                end: 9 * BOUND,
            },
            read(THERE, 7, 1, 2 * BOUND, 2 * BOUND + 1),
        ];
        assert!(
            matches!(
                violations(before.to_vec(), &[])[..],
                [Violation::Read {
                    fault: Fault::Stale,
                    ..
                }]
            ),
            "it was acknowledged long before"
        );
        assert!(matches!(
            violations(
                changed(Reached::Acked),
                &[read(HERE, 7, 1, BOUND, BOUND + 1), split(3 * BOUND)]
            )[..],
            [Violation::Read {
                fault: Fault::OwnStale,
                ..
            }]
        ));
    }

    #[test]
    fn at_rest_all_is_the_newest() {
        let events = [
            commit(7, 2, 100),
            read(THERE, 7, 1, 900, 901),
            read(THERE, 7, 2, 1_000, 1_001),
            read(THERE, 8, FIRST, 1_000, 1_001),
        ];
        assert_eq!(unconverged(&events, 1_000), []);
        assert!(matches!(
            unconverged(&events, 900)[..],
            [Violation::Read {
                fault: Fault::Unconverged,
                version: 1,
                expected: 2,
                ..
            }]
        ));
    }

    #[test]
    fn propagation_is_from_the_return_to_the_first_call_with_a_new_answer() {
        let calm = Event::Window {
            kind: Window::Calm,
            start: 0,
            end: 10_000,
        };
        let events = [
            calm,
            commit(PROBE, 2, 100),
            invalidation(HERE, Scope::One(PROBE), 200, 1_000, Reached::Acked),
            read(HERE, PROBE, 2, 1_000, 1_001),
            read(THERE, PROBE, 1, 1_000, 1_300),
            read(THERE, PROBE, 2, 1_400, 1_500),
            read(THERE, PROBE, 2, 1_600, 1_700),
        ];
        assert_eq!(judge(&events, BOUND).propagation, [400]);
    }
}
