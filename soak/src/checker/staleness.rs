//! Judges the version of each read of a key.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::key::{Key, by_life};
use super::observed::{Floors, Invalidation, Read};
use super::verdict::{Fault, Verdict};
use crate::history::{Life, Micros, Reached, Split, Window};
use crate::items::{Function, LONGEST_AGE, function_of};
use crate::servers::SPLIT_NOTICED;

/// Longest time from when a body reads the database until its value is stored, where its life
/// begins: the load, and the times for which its process and the server are stopped.
const LONGEST_STORE: Duration = Duration::from_secs(5);

/// Longest time between the reads of the database of two loads that overlap, and from when one of
/// them reads it until a call begins that gets its value: no load of a key whose order is judged
/// takes 200 ms.
const LONGEST_OVERLAP: Micros = 300_000;

/// Versions that are known on each side of a split.
#[derive(Debug)]
struct Sides {
    split: Split,
    old: Floors,
    new: Floors,
}

impl Sides {
    /// Returns the version that a read must have at least.
    ///
    /// Each side knows its own invalidations within the bound. The old side knows those of the new
    /// one once it has noticed that its primary is no longer the primary.
    fn expected(&self, read: &Read, bound: Micros) -> u64 {
        let split = &self.split;
        let known = read.start.saturating_sub(bound);
        if read.life.instance >= split.stay {
            return self.new.at(known);
        }
        let noticed = split.start + u64::try_from(SPLIT_NOTICED.as_micros()).unwrap_or(u64::MAX);
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

/// Versions of a key that an instance must know.
struct Known {
    /// Acknowledged: known everywhere within the bound.
    acknowledged: Floors,
    /// Settled: known everywhere at once.
    settled: Floors,
    /// Invalidated by an instance: known there at once.
    own: HashMap<Life, Floors>,
    sides: Vec<Sides>,
}

impl Known {
    fn new(key: &Key<'_>, reads: &[Read]) -> Self {
        let is_split = |one: &Invalidation| {
            let mut splits = key.splits.iter();
            splits.any(|split| split.start <= one.end && one.start <= split.end)
        };
        let lives: BTreeSet<Life> = reads.iter().map(|read| read.life).collect();
        let own = lives
            .into_iter()
            .map(|life| (life, key.floors(|one| one.life == life)));
        Self {
            acknowledged: key.floors(Invalidation::is_acknowledged),
            settled: key.floors(|one| one.reached == Reached::Settled && !is_split(one)),
            own: own.collect(),
            sides: key.splits.iter().map(|split| key.sides(*split)).collect(),
        }
    }
}

impl Key<'_> {
    pub(super) fn judge_reads(&self, reads: &[Read], verdict: &mut Verdict) {
        let known = Known::new(self, reads);
        for read in reads {
            self.judge_read(read, &known, verdict);
        }
    }

    fn judge_read(&self, read: &Read, known: &Known, verdict: &mut Verdict) {
        let bound = if read.strong { 0 } else { self.bound };
        let committed = self.committed(read.end);
        if read.version > committed {
            verdict
                .violations
                .push(read.violates(Fault::Invented, self.item, committed));
        }
        let mut sides = known.sides.iter();
        let split = sides.find(|sides| sides.split.covers(read.start));
        let from = split.map_or(read.start, |sides| sides.split.start);
        let may_be_stale = self.may_be_stale(read);
        let stale = known.acknowledged.at(from.saturating_sub(bound));
        let stale = stale.max(split.map_or(0, |sides| sides.expected(read, bound)));
        let own = known
            .own
            .get(&read.life)
            .map_or(0, |own| own.at(read.start));
        let unsettled = known.settled.at(from);
        let floors = [
            (Fault::Stale, if may_be_stale { 0 } else { stale }),
            (Fault::OwnStale, own),
            (Fault::Unsettled, if may_be_stale { 0 } else { unsettled }),
        ];
        for (fault, expected) in floors {
            if read.version < expected {
                verdict
                    .violations
                    .push(read.violates(fault, self.item, expected));
            }
        }
        if split.is_none()
            && !may_be_stale
            && !read.strong
            && let Some(known) = known.acknowledged.newer_than(read.version)
        {
            let staleness = read.start.saturating_sub(known);
            verdict.worst_staleness = verdict.worst_staleness.max(staleness);
        }
    }

    /// Returns `true` if no invalidation by another instance has to be seen by a read.
    fn may_be_stale(&self, read: &Read) -> bool {
        match function_of(self.item) {
            // An isolated instance may serve old values, and without a fault none is isolated.
            Function::Serving | Function::StaleIfError => {
                self.window(Window::Calm, read.start).is_none()
            }
            // No other instance can invalidate a function that uses memory alone.
            Function::Memory => true,
            _ => false,
        }
    }

    /// Returns what the instances of each side of a split invalidated while they were there.
    fn sides(&self, split: Split) -> Sides {
        Sides {
            split,
            old: self.floors(|one| {
                one.is_acknowledged()
                    && one.life.instance < split.stay
                    && (split.start..split.united).contains(&one.start)
                    && one.end < split.united
            }),
            new: self.floors(|one| {
                one.is_acknowledged()
                    && one.life.instance >= split.stay
                    && (split.moved..split.end).contains(&one.start)
            }),
        }
    }

    /// Judges that no value is returned for longer than its ttl and its windows allow. They are
    /// slack only for a change that was not invalidated: an invalidated value has none.
    pub(super) fn judge_age(&self, reads: &[Read], verdict: &mut Verdict) {
        let longest = LONGEST_AGE + LONGEST_STORE;
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        for read in reads {
            let changed = self.commits.newer_than(read.version);
            if changed.is_some_and(|at| at.saturating_add(longest) < read.start) {
                let expected = self.committed(read.start.saturating_sub(longest));
                let violation = read.violates(Fault::TooOld, self.item, expected);
                verdict.violations.push(violation);
            }
        }
    }

    /// Judges the reads after all faults have ended.
    ///
    /// Then queued and dropped invalidations were delivered as well, unless their instance was
    /// killed.
    pub(super) fn judge_rest(&self, reads: &[Read], verdict: &mut Verdict) {
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

    /// Judges that no instance returns an older version than it returned before.
    pub(super) fn judge_order(
        &self,
        reads: &[Read],
        loads: &[(Life, Micros)],
        verdict: &mut Verdict,
    ) {
        for (_, mut by_start) in by_life(reads) {
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
                if let Some(before) = newest.filter(|newest| newest.version > read.version) {
                    self.judge_backwards((&before, &read), loads, verdict);
                }
            }
        }
    }

    /// Judges a read that is older than one before, which is allowed while there are faults, and if
    /// two loads overlapped, one of them on this instance: the newer value was that of the one that
    /// was not kept.
    fn judge_backwards(
        &self,
        (before, read): (&Read, &Read),
        loads: &[(Life, Micros)],
        verdict: &mut Verdict,
    ) {
        let calm = self.window(Window::Calm, read.start);
        if calm.is_none_or(|(from, _)| from > before.start) {
            verdict.backwards_in_faults += 1;
            return;
        }
        let since = before.start.saturating_sub(LONGEST_OVERLAP);
        let near = loads
            .iter()
            .filter(|(_, at)| (since..=read.end).contains(at));
        let overlaps = |own: Micros| {
            let others = near
                .clone()
                .filter(|(_, at)| own.abs_diff(*at) < LONGEST_OVERLAP);
            others.count() > 1
        };
        let mut own = near.clone().filter(|(life, _)| *life == read.life);
        if own.any(|(_, at)| overlaps(*at)) {
            verdict.backwards_beside_loads += 1;
        } else {
            let violation = read.violates(Fault::Backwards, self.item, before.version);
            verdict.violations.push(violation);
        }
    }
}
