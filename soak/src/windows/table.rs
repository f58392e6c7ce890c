//! The tables of a run: what callers got, and the promises.

use std::fmt;
use std::time::Duration;

use super::measured::{LONG_WAIT, Measured};

/// Answers to the callers of one phase.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) lasted: Duration,
    pub(super) measured: Measured,
    /// Bodies that ran in all instances.
    pub(super) bodies: u64,
}

/// A promise, and its verdict.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) promise: String,
    pub(super) found: String,
    pub(super) verdict: Verdict,
}

/// Verdict about a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Broken,
    /// It is about time on the wall, which a short run on a busy machine does not judge.
    NotJudged,
}

impl Verdict {
    pub(super) fn of(holds: bool) -> Self {
        match holds {
            true => Self::Holds,
            false => Self::Broken,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "yes",
            Self::Broken => "NO",
            Self::NotJudged => "not judged",
        })
    }
}

/// Answers to callers in each phase, and the promises that hold.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) phases: Vec<Phase>,
    pub(super) checks: Vec<Check>,
}

impl Table {
    /// Returns `true` if no promise is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        let is_broken = |check: &Check| check.verdict == Verdict::Broken;
        !self.checks.is_empty() && !self.checks.iter().any(is_broken)
    }
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1_000.0)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| phase | seconds | calls | not ready at once | waited over {} ms | longest wait | \
             failed | bodies | oldest value | latest timer |",
            LONG_WAIT.as_millis()
        )?;
        writeln!(f, "|{}", " --- |".repeat(10))?;
        for phase in &self.phases {
            let measured = &phase.measured;
            writeln!(
                f,
                "| {} | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} |",
                phase.name,
                phase.lasted.as_secs_f64(),
                measured.calls,
                measured.waits,
                measured.long_waits,
                millis(measured.longest),
                measured.failed,
                phase.bodies,
                millis(measured.oldest),
                millis(measured.latest_timer),
            )?;
        }
        writeln!(f, "\n| promise | found | holds |\n| --- | --- | --- |")?;
        for check in &self.checks {
            let Check {
                promise,
                found,
                verdict,
            } = check;
            writeln!(f, "| {promise} | {found} | {verdict} |")?;
        }
        Ok(())
    }
}
