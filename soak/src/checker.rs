//! Judges a history.
//!
//! Versions of a key are unique and in order, and the database is the one truth, so each read can be judged by itself: it must
//! not be older than what was invalidated before it, by as much as the guarantee allows, and not newer than what was
//! committed. Complete for bounded staleness, and in `n log n`.

mod calm;
mod liveness;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use self::liveness::LONGEST_RECOVERY;
use self::liveness::{Call, Health, judge_calls, judge_health, judge_memory, judge_single_load};
pub use self::verdict::{Fault, Verdict, Violation};
use crate::history::{
    Event, Function, Item, Life, Micros, Reached, Scope, Split, Window, function_of,
};
use crate::servers::NOTICED;

/// The item whose propagation is measured.
pub const PROBE: Item = 0;

/// What a version is before the first commit.
pub const FIRST: u64 = 1;

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

impl Invalidation {
    /// Whether the server had it when it returned.
    fn is_done(&self) -> bool {
        matches!(self.reached, Reached::Acked | Reached::Settled)
    }
}

/// What must be known while an old primary lives on.
#[derive(Debug)]
struct Sides {
    split: Split,
    old: Floors,
    new: Floors,
}

impl Sides {
    /// The version that a read must have at least: each side knows of itself within the bound, and the old one of the new one
    /// once it has noticed that its primary is one no longer.
    fn expected(&self, read: &Read, bound: Micros) -> u64 {
        let split = &self.split;
        let known = read.start.saturating_sub(bound);
        if read.life.instance >= split.stay {
            return self.new.at(known);
        }
        let noticed = split.start + u64::try_from(NOTICED.as_micros()).unwrap_or(u64::MAX);
        let old = if read.end < split.united {
            self.old.at(known)
        } else {
            0
        };
        let new = if known >= noticed {
            self.new.at(known)
        } else {
            0
        };
        old.max(new)
    }
}

/// Judges it, for a bound on how old a read may be on another instance.
#[must_use]
pub fn judge(events: &[Event], bound: Micros) -> Verdict {
    let mut reads: BTreeMap<Item, Vec<Read>> = BTreeMap::new();
    let mut commits: HashMap<Item, Vec<(Micros, u64)>> = HashMap::new();
    let mut loads: BTreeMap<Item, Vec<(Life, Micros)>> = BTreeMap::new();
    let mut invalidations = Vec::new();
    let (mut calls, mut reports) = (Vec::new(), Vec::new());
    let (mut windows, mut splits) = (Vec::new(), Vec::new());
    let mut panics = Vec::new();
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
            Event::Load { life, item, at } => loads.entry(item).or_default().push((life, at)),
            Event::Call {
                life,
                item,
                start,
                end,
            } => calls.push(Call {
                life,
                item,
                start,
                end,
            }),
            Event::Health {
                life,
                well,
                isolations,
                start,
                end,
            } => reports.push(Health {
                life,
                well,
                isolations,
                start,
                end,
            }),
            Event::Panic { life, at } => panics.push(Violation::Panicked { life, at }),
            Event::Split(split) => splits.push(split),
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
        invalidations: invalidations.len() - of_reached(Reached::Dropped),
        of_functions: invalidations
            .iter()
            .filter(|invalidation| matches!(invalidation.scope, Scope::FunctionOf(_)))
            .count(),
        queued: of_reached(Reached::Queued),
        settled: of_reached(Reached::Settled),
        loads: loads.values().map(Vec::len).sum(),
        violations: panics,
        ..Verdict::default()
    };
    // The last life of each instance was not killed.
    let last: BTreeMap<u16, u16> = invalidations
        .iter()
        .map(|one| one.life)
        .chain(reads.values().flatten().map(|read| read.life))
        .fold(BTreeMap::new(), |mut last, life| {
            let number = last.entry(life.instance).or_insert(life.number);
            *number = life.number.max(*number);
            last
        });
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
            splits: &splits,
            last: &last,
        };
        let reads = reads.remove(&item).unwrap_or_default();
        of_item.judge_reads(&reads, &mut verdict);
        of_item.judge_rest(&reads, &mut verdict);
        of_item.judge_order(&reads, &mut verdict);
        let loads = loads.remove(&item).unwrap_or_default();
        match function_of(item) {
            Function::Memory => judge_memory(item, &loads, &of_item.invalidations, &mut verdict),
            Function::Nested | Function::Asked => {
                judge_single_load(item, &loads, &windows, &mut verdict);
            }
            Function::Bounded | Function::Strong | Function::Serving | Function::Failing => {
                let loads = loads.into_iter().map(|(_, at)| at).collect();
                of_item.judge_loads(loads, &mut verdict);
            }
        }
        if item == PROBE {
            of_item.measure(&reads, &mut verdict);
        }
    }
    judge_calls(&calls, &mut verdict);
    judge_health(&reports, &windows, bound, &mut verdict);
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
    splits: &'a [Split],
    last: &'a BTreeMap<u16, u16>,
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
        let acked = self.floors(Invalidation::is_done);
        let settled = self.floors(|one| {
            let split = self
                .splits
                .iter()
                .any(|split| split.start <= one.end && one.start <= split.end);
            one.reached == Reached::Settled && !split
        });
        let sides: Vec<Sides> = self.splits.iter().map(|split| self.sides(*split)).collect();
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
            let split = sides.iter().find(|sides| sides.split.covers(start));
            let from = split.map_or(start, |sides| sides.split.start);
            let may_serve = match function_of(item) {
                // What a cut off instance may go on answering is known to be current only while none is.
                Function::Serving => self.window(Window::Calm, start).is_none(),
                // No other instance can invalidate what uses memory alone.
                Function::Memory => true,
                _ => false,
            };
            let stale = acked
                .at(from.saturating_sub(bound))
                .max(split.map_or(0, |sides| sides.expected(read, bound)));
            let floors = [
                (Fault::Stale, if may_serve { 0 } else { stale }),
                (
                    Fault::OwnStale,
                    own.get(&life).map_or(0, |own| own.at(start)),
                ),
                (
                    Fault::Unsettled,
                    if may_serve { 0 } else { settled.at(from) },
                ),
            ];
            for (fault, expected) in floors {
                if version < expected {
                    violate(fault, expected);
                }
            }
            if split.is_none()
                && !may_serve
                && !strong
                && let Some(known) = acked.newer_than(version)
            {
                verdict.worst_staleness = verdict.worst_staleness.max(start.saturating_sub(known));
            }
        }
    }

    /// What the instances of each side of a split invalidated, while they were there.
    fn sides(&self, split: Split) -> Sides {
        Sides {
            split,
            old: self.floors(|one| {
                one.is_done()
                    && one.life.instance < split.stay
                    && (split.start..split.united).contains(&one.start)
                    && one.end < split.united
            }),
            new: self.floors(|one| {
                one.is_done()
                    && one.life.instance >= split.stay
                    && (split.moved..split.end).contains(&one.start)
            }),
        }
    }

    /// When all faults are over, what was queued or dropped was delivered too, unless who had it was killed.
    fn judge_rest(&self, reads: &[Read], verdict: &mut Verdict) {
        if function_of(self.item) == Function::Memory {
            return;
        }
        let delivered = self.floors(|one| {
            one.reached != Reached::Dropped
                || self.last.get(&one.life.instance) == Some(&one.life.number)
        });
        for read in reads {
            let expected = delivered.at(read.start);
            if self.window(Window::Rest, read.start).is_some() && read.version < expected {
                let violation = read.violates(Fault::Undelivered, self.item, expected);
                verdict.violations.push(violation);
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
}

#[cfg(test)]
mod tests;
