//! Events of a history, sorted by kind and by key.

use std::collections::{BTreeMap, HashMap};

use super::verdict::{Fault, Verdict, Violation};
use crate::history::{Event, Life, Micros, Reached, Split, Window};
use crate::items::{Item, Scope};

/// Smallest version that is known from a time on.
#[derive(Debug, Default)]
pub(super) struct Floors(Vec<(Micros, u64)>);

impl Floors {
    /// Takes the times from which versions are known, in any order.
    pub(super) fn new(mut known: Vec<(Micros, u64)>) -> Self {
        known.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        Self(known)
    }

    /// Returns the newest version that is known at `at`, or 0.
    pub(super) fn at(&self, at: Micros) -> u64 {
        match self.0.partition_point(|(known, _)| *known <= at) {
            0 => 0,
            after => self.0[after - 1].1,
        }
    }

    /// Returns the time from which a version newer than this one is known.
    pub(super) fn newer_than(&self, version: u64) -> Option<Micros> {
        let first = self.0.partition_point(|(_, known)| *known <= version);
        self.0.get(first).map(|(at, _)| *at)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) life: Life,
    pub(super) version: u64,
    pub(super) strong: bool,
    pub(super) start: Micros,
    pub(super) end: Micros,
}

impl Read {
    pub(super) fn of_event(event: &Event) -> Option<(Item, Self)> {
        let Event::Read {
            life,
            item,
            version,
            by,
            start,
            end,
        } = *event
        else {
            return None;
        };
        let read = Self {
            life,
            version,
            strong: by.is_strong(),
            start,
            end,
        };
        Some((item, read))
    }

    pub(super) fn violates(&self, fault: Fault, item: Item, expected: u64) -> Violation {
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
pub(super) struct Invalidation {
    pub(super) life: Life,
    pub(super) scope: Scope,
    pub(super) start: Micros,
    pub(super) end: Micros,
    pub(super) reached: Reached,
}

impl Invalidation {
    /// Returns `true` if the server had applied the invalidation when it returned.
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self.reached, Reached::Acked | Reached::Settled)
    }
}

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

/// A time of a special kind, with its begin and end.
pub(super) type Span = (Window, Micros, Micros);

/// Everything that a history contains.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) reads: BTreeMap<Item, Vec<Read>>,
    pub(super) commits: HashMap<Item, Vec<(Micros, u64)>>,
    pub(super) loads: BTreeMap<Item, Vec<(Life, Micros)>>,
    pub(super) invalidations: Vec<Invalidation>,
    pub(super) calls: Vec<Call>,
    pub(super) reports: Vec<Health>,
    pub(super) windows: Vec<Span>,
    pub(super) splits: Vec<Split>,
    panics: Vec<Violation>,
}

impl Observed {
    pub(super) fn new(events: &[Event]) -> Self {
        let mut observed = Self::default();
        for event in events {
            observed.add(event);
        }
        observed
    }

    fn add(&mut self, event: &Event) {
        if let Some((item, read)) = Read::of_event(event) {
            return self.reads.entry(item).or_default().push(read);
        }
        match *event {
            Event::Read { .. } => {}
            Event::Invalidation {
                life,
                scope,
                start,
                end,
                reached,
            } => {
                let invalidation = Invalidation {
                    life,
                    scope,
                    start,
                    end,
                    reached,
                };
                self.invalidations.push(invalidation);
            }
            Event::Commit { item, version, at } => {
                self.commits.entry(item).or_default().push((at, version));
            }
            Event::Load { life, item, at } => self.loads.entry(item).or_default().push((life, at)),
            Event::Call {
                life,
                item,
                start,
                end,
            } => {
                self.calls.push(Call {
                    life,
                    item,
                    start,
                    end,
                });
            }
            Event::Health {
                life,
                well,
                isolations,
                start,
                end,
            } => {
                let report = Health {
                    life,
                    well,
                    isolations,
                    start,
                    end,
                };
                self.reports.push(report);
            }
            Event::Panic { life, at } => self.panics.push(Violation::Panicked { life, at }),
            Event::Split(split) => self.splits.push(split),
            Event::Window { kind, start, end } => self.windows.push((kind, start, end)),
        }
    }

    /// Returns the verdict before anything is judged: the numbers of events, and the panics.
    pub(super) fn counts(&mut self) -> Verdict {
        let count = |counts: &dyn Fn(&Invalidation) -> bool| {
            self.invalidations.iter().filter(|one| counts(one)).count()
        };
        Verdict {
            reads: self.reads.values().map(Vec::len).sum(),
            invalidations: count(&|one| one.reached != Reached::Dropped),
            of_functions: count(&|one| matches!(one.scope, Scope::FunctionOf(_))),
            of_tags: count(&|one| matches!(one.scope, Scope::Group(_))),
            queued: count(&|one| one.reached == Reached::Queued),
            settled: count(&|one| one.reached == Reached::Settled),
            loads: self.loads.values().map(Vec::len).sum(),
            violations: std::mem::take(&mut self.panics),
            ..Verdict::default()
        }
    }

    /// Returns the number of the last life of each instance.
    pub(super) fn last_lives(&self) -> BTreeMap<u16, u16> {
        let invalidating = self.invalidations.iter().map(|one| one.life);
        let reading = self.reads.values().flatten().map(|read| read.life);
        let mut last = BTreeMap::new();
        for life in invalidating.chain(reading) {
            let number = last.entry(life.instance).or_insert(life.number);
            *number = life.number.max(*number);
        }
        last
    }
}
