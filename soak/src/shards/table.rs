//! The figures of a run.

use std::fmt;
use std::time::Duration;

use super::load::Sample;

/// Time that the slowest calls in a hundred of other shards may take more than in quiet times.
const ALLOWED: Duration = Duration::from_millis(10);

/// The promise for the shards that are disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// No value is older than the bound.
    KeepsTheBound,
    /// An old primary lived on, so what it acknowledged is known to others only later.
    MayLagBehind,
}

/// Durations of calls, and their number.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    number: usize,
    median: Duration,
    slowest_in_hundred: Duration,
    slowest: Duration,
    stale: usize,
}

impl Calls {
    fn new(samples: &[&Sample]) -> Self {
        let stale = samples.iter().filter(|sample| sample.is_stale).count();
        let mut took: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
        took.sort_unstable();
        let at = |hundredths: usize| took.get(took.len() * hundredths / 100).copied();
        Self {
            number: took.len(),
            median: at(50).unwrap_or_default(),
            slowest_in_hundred: at(99).unwrap_or_default(),
            slowest: took.last().copied().unwrap_or_default(),
            stale,
        }
    }
}

/// The calls while one thing happened.
#[derive(Clone, Debug)]
pub struct Row {
    what: &'static str,
    lasted: Duration,
    promise: Own,
    others: Calls,
    own: Calls,
}

impl Row {
    pub(super) fn new(
        what: &'static str,
        lasted: Duration,
        promise: Own,
        samples: &[Sample],
        is_own: impl Fn(usize) -> bool,
    ) -> Self {
        let (own, others): (Vec<_>, Vec<_>) = samples.iter().partition(|one| is_own(one.key));
        Self {
            what,
            lasted,
            promise,
            others: Calls::new(&others),
            own: Calls::new(&own),
        }
    }
}

/// The figures of a run. The first row is that of the quiet time.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) rows: Vec<Row>,
}

impl Table {
    /// Time by which the slowest calls in a hundred of a row are slower than in the quiet time.
    fn slower(&self, row: &Row) -> Duration {
        let quiet = self.rows.first().map(|row| row.others.slowest_in_hundred);
        let slowest = row.others.slowest_in_hundred;
        slowest.saturating_sub(quiet.unwrap_or_default())
    }

    fn row_holds(&self, row: &Row) -> bool {
        let is_fresh = row.own.stale == 0 || row.promise == Own::MayLagBehind;
        row.others.number > 0 && row.others.stale == 0 && is_fresh && self.slower(row) <= ALLOWED
    }

    /// Returns `true` if every row keeps its promises.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rows.len() > 1 && self.rows.iter().all(|row| self.row_holds(row))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "times in ms: 50 % / 99 % / slowest. `slower` is the 99 % of other shards, less that of \
             the quiet time: at most {} ms",
            ALLOWED.as_millis()
        )?;
        writeln!(
            f,
            "{:40} {:>6} {:>8} {:>26} {:>7} {:>6} {:>8} {:>26} {:>6}",
            "", "s", "others", "", "slower", "stale", "own", "", "stale"
        )?;
        for row in &self.rows {
            let times = |calls: &Calls| {
                format!(
                    "{:.2} / {:.2} / {:.1}",
                    millis(calls.median),
                    millis(calls.slowest_in_hundred),
                    millis(calls.slowest)
                )
            };
            let verdict = if self.row_holds(row) { "" } else { "  BROKEN" };
            writeln!(
                f,
                "{:40} {:>6.1} {:>8} {:>26} {:>7.2} {:>6} {:>8} {:>26} {:>6}{verdict}",
                row.what,
                row.lasted.as_secs_f64(),
                row.others.number,
                times(&row.others),
                millis(self.slower(row)),
                row.others.stale,
                row.own.number,
                times(&row.own),
                row.own.stale,
            )?;
        }
        Ok(())
    }
}
