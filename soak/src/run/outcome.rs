//! Outcome of a run, as text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::options::{INSTANCES, Options};
use crate::checker::Verdict;
use crate::checker::Violation;
use crate::counts::Counts;
use crate::history::{Event, Micros};
use crate::instance::BOUND;

/// Violations of one kind that are shown one by one.
const SHOWN: usize = 5;

/// Outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    pub(super) options: Options,
    /// Name and version of the server software.
    pub(super) version: String,
    /// Number of faults of each kind.
    pub(super) faults: Counts,
    /// Number of connections that were closed while an instance used them.
    pub(super) killed: usize,
    /// Result of judging the history.
    pub verdict: Verdict,
    /// Sums of the isolations, gaps, history changes and replays that the instances reported.
    pub(super) reported: [u64; 4],
    /// Sums of the stale hits, refreshes, stale values in place of errors, back-offs and timeouts
    /// that the instances reported.
    pub(super) stale: [u64; 5],
    /// The events of the key of the first wrong read, shortly before it.
    pub(super) before: Vec<Event>,
    /// File of the history, if it was kept.
    pub(super) history: Option<PathBuf>,
}

/// Time before a wrong read whose events are shown.
const BEFORE: Micros = 1_000_000;

/// Largest number of these events.
const MOST_EVENTS: usize = 60;

/// Returns the events of the key of the first wrong read, shortly before it: the cause is there.
pub(super) fn before_violation(events: &[Event], violations: &[Violation]) -> Vec<Event> {
    let wrong = violations.iter().find_map(|violation| match *violation {
        Violation::Read { item, start, .. } => Some((item, start)),
        _ => None,
    });
    let Some((item, start)) = wrong else {
        return Vec::new();
    };
    let near = start.saturating_sub(BEFORE)..=start;
    let events = events.iter();
    let mut before: Vec<_> = events
        .filter_map(|event| Some((event.of_item(item)?, *event)))
        .filter(|(at, _)| near.contains(at))
        .collect();
    before.sort_by_key(|(at, _)| *at);
    let skipped = before.len().saturating_sub(MOST_EVENTS);
    let shown = before.into_iter().skip(skipped);
    shown.map(|(_, event)| event).collect()
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

impl Outcome {
    /// Returns `true` if stale values were returned for every reason, and tags were invalidated:
    /// otherwise the run does not show that these are right.
    #[must_use]
    pub fn shows_every_feature(&self) -> bool {
        let [hits, refreshes, on_error, backed_off, _] = self.stale;
        let of_tags = u64::try_from(self.verdict.of_tags).unwrap_or(u64::MAX);
        [hits, refreshes, on_error, backed_off, of_tags]
            .iter()
            .all(|count| *count > 0)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        writeln!(f, "reads checked      {}", verdict.reads)?;
        writeln!(
            f,
            "invalidations      {} (queued {}, settled {}, of functions {}, of tags {})",
            verdict.invalidations,
            verdict.queued,
            verdict.settled,
            verdict.of_functions,
            verdict.of_tags
        )?;
        writeln!(f, "loads              {}", verdict.loads)?;
        writeln!(f, "connections killed {}", self.killed)?;
        writeln!(f, "faults             {}", self.faults)?;
        let [isolations, gaps, changes, replays] = self.reported;
        writeln!(
            f,
            "instances reported isolations {isolations}, gaps {gaps}, history changes {changes}, \
             replays {replays}"
        )?;
        let [hits, refreshes, on_error, backed_off, timeouts] = self.stale;
        writeln!(
            f,
            "stale values       hits {hits}, refreshes {refreshes}, on error {on_error}, backed off \
             {backed_off}, timeouts {timeouts}"
        )?;
        if !self.shows_every_feature() {
            writeln!(
                f,
                "the run had no stale values of one kind, or no tags, so it shows nothing of them"
            )?;
        }
        Ok(())
    }

    fn write_measures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        let at = |share: f64| {
            let last = verdict.propagation.len().saturating_sub(1);
            let index = (last as f64 * share) as usize;
            millis(verdict.propagation.get(index).copied().unwrap_or(0))
        };
        writeln!(
            f,
            "propagation        median {:.2} ms, 99 % {:.2} ms (of {}, without faults)",
            at(0.5),
            at(0.99),
            verdict.propagation.len()
        )?;
        writeln!(
            f,
            "worst staleness    {:.1} ms of {} ms",
            millis(verdict.worst_staleness),
            BOUND.as_millis()
        )?;
        writeln!(
            f,
            "older than before  {} reads during faults, within the bound; {} beside two loads",
            verdict.backwards_in_faults, verdict.backwards_beside_loads
        )?;
        writeln!(
            f,
            "liveness           {} quiet times, {} calls, {} reports of health; recovered within \
             {:.0} ms, slowest call {:.0} ms",
            verdict.quiet,
            verdict.calls,
            verdict.reports,
            millis(verdict.longest_recovery),
            millis(verdict.slowest_call)
        )
    }

    fn write_violations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in &self.verdict.violations {
            let before = kinds.entry(violation.kind()).or_default();
            if *before < SHOWN {
                writeln!(f, "{violation}")?;
            }
            *before += 1;
        }
        self.before
            .iter()
            .try_for_each(|event| writeln!(f, "    {event}"))?;
        if let Some(history) = &self.history {
            let seed = self.options.seed;
            writeln!(f, "seed {seed}, history {}", history.display())?;
        }
        write!(f, "violations: {}", self.verdict.violations.len())?;
        kinds
            .iter()
            .try_for_each(|(kind, number)| write!(f, ", {kind} {number}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "{}, {:?}, {} s, seed {}, {INSTANCES} instances, bound {} ms",
            self.version,
            options.topology,
            options.seconds,
            options.seed,
            BOUND.as_millis()
        )?;
        self.write_counts(f)?;
        self.write_measures(f)?;
        self.write_violations(f)
    }
}
