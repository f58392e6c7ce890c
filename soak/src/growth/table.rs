//! The figures, and what follows from them.

use std::fmt;
use std::time::Duration;

use super::operations::Cost;
use super::usage::Usage;

/// The cost of a number of instances.
#[derive(Clone, Debug)]
pub struct Row {
    /// Number of instances.
    pub instances: usize,
    /// Number of shards that each of them uses.
    pub shards: u8,
    /// Each second, while no instance is called.
    pub idle: Usage,
    /// For each invalidation, besides.
    pub invalidation: Usage,
    /// Times until another instance returns the new value, sorted.
    pub propagation: Vec<Duration>,
}

impl Row {
    /// Time within which this share of the invalidations had propagated, in milliseconds.
    fn propagated(&self, share: f64) -> f64 {
        let last = self.propagation.len().saturating_sub(1);
        let time = self.propagation.get((last as f64 * share) as usize);
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
    }
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// A row for each number of instances.
    pub rows: Vec<Row>,
    /// A row for each kind of operation.
    pub costs: Vec<Cost>,
}

/// Number of instances that the estimate is for.
const MANY: f64 = 1_000.0;

impl Table {
    /// Estimates the load of one server per second for a thousand instances with a thousand
    /// invalidations each second in total: idle load grows with the instances, and an invalidation
    /// with the instances that get its message.
    fn estimate(&self) -> Option<(Usage, Usage)> {
        let mut of_one_shard = self.rows.iter().filter(|row| row.shards == 1);
        let (first, last) = (of_one_shard.next()?, of_one_shard.next_back()?);
        let more = last.instances as f64 - first.instances as f64;
        let idle = last.idle.per(last.instances as f64).times(MANY);
        let message = (last.invalidation - first.invalidation).per(more);
        let fixed = first.invalidation - message;
        let one = Usage {
            commands: fixed.commands + message.commands * MANY,
            received: fixed.received + message.received * MANY,
            sent: fixed.sent + message.sent * MANY,
            cpu: fixed.cpu + message.cpu * MANY,
        };
        Some((idle, one.times(MANY)))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "instances x shards | idle: commands/s  received B/s  sent B/s  core % | an invalidation: \
             commands  received B  sent B  core us | propagation ms: median  99 %"
        )?;
        for row in &self.rows {
            let Row {
                instances,
                shards,
                idle,
                invalidation,
                ..
            } = row;
            writeln!(
                f,
                "{instances:9} x {shards:6} | {:16.1} {:13.0} {:9.0} {:7.2} | {:25.1} {:11.0} {:7.0} {:8.1} | \
                 {:22.2} {:5.2}",
                idle.commands,
                idle.received,
                idle.sent,
                idle.cpu * 100.0,
                invalidation.commands,
                invalidation.received,
                invalidation.sent,
                invalidation.cpu * 1e6,
                row.propagated(0.5),
                row.propagated(0.99),
            )?;
        }
        writeln!(
            f,
            "{:30} | received B  sent B  core us | commands, those of scripts included",
            "an operation, value of 200 B"
        )?;
        for cost in &self.costs {
            writeln!(f, "{cost}")?;
        }
        let Some((idle, invalidations)) = self.estimate() else {
            return Ok(());
        };
        for (what, usage) in [
            ("1,000 idle instances", idle),
            ("1,000 invalidations/s to 1,000 instances", invalidations),
        ] {
            writeln!(
                f,
                "estimate: {what}: {:.0} commands/s, {:.1} MB/s received, {:.1} MB/s sent, {:.0} % \
                 of a core",
                usage.commands,
                usage.received / 1e6,
                usage.sent / 1e6,
                usage.cpu * 100.0
            )?;
        }
        Ok(())
    }
}
