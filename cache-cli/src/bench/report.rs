//! The table of what was measured.

use std::time::Duration;

use serde_json::{Value, json};

use super::operation::Operation;
use super::rounds::Measured;
use crate::failure::Failure;
use crate::latencies::millis;
use crate::output::Output;
use crate::verdict::Verdict;

/// The median of a round trip from which on a server is far away: not in the same building.
const FAR: Duration = Duration::from_millis(2);

/// The part of the time limit that an operation may take. A call has several of them.
const SLOW: f64 = 0.25;

/// Everything that is printed.
#[derive(Debug)]
pub(super) struct Report {
    /// In the order of [`Operation::ALL`].
    pub(super) operations: [Measured; 7],
    pub(super) addresses: Vec<String>,
    pub(super) namespace: String,
    pub(super) callers: u16,
    pub(super) seconds: u16,
    pub(super) value_bytes: usize,
    pub(super) time_limit: Duration,
    pub(super) is_interrupted: bool,
}

impl Report {
    /// Prints it. An operation that failed is something wrong.
    pub(super) fn print(&self, output: &Output) -> Result<Verdict, Failure> {
        match output.is_json {
            true => output.document(&self.document())?,
            false => self.text().lines().try_for_each(|line| output.line(line))?,
        }
        let has_failed = self.operations.iter().any(|of| of.failed > 0);
        Ok(match has_failed {
            true => Verdict::Wrong,
            false => Verdict::Fine,
        })
    }

    fn of(&self, operation: Operation) -> &Measured {
        &self.operations[operation as usize]
    }

    /// The operations in the order in which they are shown.
    fn shown(&self) -> impl Iterator<Item = (Operation, &Measured)> {
        let order = [
            Operation::Ping,
            Operation::Get,
            Operation::Hit,
            Operation::Lease,
            Operation::Fill,
            Operation::Invalidate,
            Operation::Barrier,
        ];
        order.map(|of| (of, self.of(of))).into_iter()
    }

    fn median(&self, operation: Operation) -> Duration {
        self.of(operation).latencies.percentile(50)
    }

    fn is_far(&self) -> bool {
        self.median(Operation::Ping) >= FAR
    }

    /// Returns the bare command beside an operation, and the ratio of the medians.
    fn ratio(&self, operation: Operation) -> Option<(Operation, f64)> {
        let peer = operation.peer()?;
        let bare = self.median(peer);
        let ratio = self.median(operation).as_secs_f64() / bare.as_secs_f64();
        (!bare.is_zero()).then_some((peer, ratio))
    }

    /// Returns the part of the time limit that one of a hundred operations exceeds.
    fn of_time_limit(&self, measured: &Measured) -> f64 {
        measured.latencies.percentile(99).as_secs_f64() / self.time_limit.as_secs_f64()
    }

    /// The time that a call without a value in any tier waits for the server.
    fn miss(&self) -> Duration {
        let steps = [Operation::Hit, Operation::Lease, Operation::Fill];
        steps.map(|step| self.median(step)).iter().sum()
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!("server      {}", self.addresses.join(", ")),
            format!(
                "run         {}, {} s, values of {} bytes{}",
                match self.callers {
                    1 => "1 caller".to_owned(),
                    callers => format!("{callers} callers"),
                },
                self.seconds,
                self.value_bytes,
                match self.is_interrupted {
                    true => ", interrupted",
                    false => "",
                }
            ),
            format!("round trip  {}", self.round_trip()),
            format!("miss        {}", self.miss_text()),
            String::new(),
            format!(
                "{:<12}{:>10}{:>10}{:>10}{:>10}  {:<12}{}",
                "operation",
                "p50 ms",
                "p99 ms",
                "max ms",
                "ops/s",
                "ratio",
                "p99 of the time limit"
            ),
        ];
        lines.extend(self.shown().map(|(of, measured)| self.row(of, measured)));
        lines.push(String::new());
        lines.extend(
            self.shown()
                .map(|(of, _)| format!("{:<12}{}", of.name(), of.meaning())),
        );
        for (operation, measured) in self.shown() {
            if self.of_time_limit(measured) > SLOW {
                lines.push(format!(
                    "slow        1 of 100 of {} takes more than a quarter of the time limit; raise \
                     `Redis::time_limit`, or move the program nearer to the server",
                    operation.name()
                ));
            }
        }
        for (operation, measured) in self.shown().filter(|(_, measured)| measured.failed > 0) {
            let (failed, name) = (measured.failed, operation.name());
            let why = measured.why.as_deref().unwrap_or_default();
            lines.push(format!("failed      {failed} of {name}: {why}"));
        }
        lines.join("\n")
    }

    fn round_trip(&self) -> String {
        let trip = millis(self.median(Operation::Ping));
        match self.is_far() {
            true => format!(
                "{trip:.3} ms: the server is far away, and each operation waits for it; move the \
                 program nearer to it"
            ),
            false => format!("{trip:.3} ms: the server is near"),
        }
    }

    fn miss_text(&self) -> String {
        format!(
            "{:.3} ms for a read, a lease and a fill, besides the body; time limit {:?}",
            millis(self.miss()),
            self.time_limit
        )
    }

    fn row(&self, operation: Operation, measured: &Measured) -> String {
        let latencies = &measured.latencies;
        let Some(summary) = latencies.summary() else {
            return format!("{:<12}{:>10}", operation.name(), "-");
        };
        let [p50, p99, max] = summary.map(millis);
        let ratio = self.ratio(operation);
        let ratio = ratio.map_or_else(
            || "1.00".to_owned(),
            |(peer, ratio)| format!("{ratio:.2} x {}", peer.name()),
        );
        format!(
            "{:<12}{p50:>10.3}{p99:>10.3}{max:>10.3}{:>10.0}  {ratio:<12}{:.2} %",
            operation.name(),
            measured.per_second(),
            self.of_time_limit(measured) * 100.0,
        )
    }

    fn document(&self) -> Value {
        let operation = |(operation, measured): (Operation, &Measured)| {
            let latencies = &measured.latencies;
            let (peer, ratio) = self.ratio(operation).unzip();
            let summary = latencies.summary().map(|summary| summary.map(millis));
            json!({
                "operation": operation.name(),
                "meaning": operation.meaning(),
                "count": latencies.count(),
                "failed": measured.failed,
                "failure": measured.why,
                "p50_ms": summary.map(|[p50, _, _]| p50),
                "p99_ms": summary.map(|[_, p99, _]| p99),
                "max_ms": summary.map(|[_, _, max]| max),
                "per_second": measured.per_second(),
                "peer": peer.map(Operation::name),
                "ratio": ratio,
                "p99_of_time_limit": self.of_time_limit(measured),
            })
        };
        json!({
            "servers": self.addresses,
            "namespace": self.namespace,
            "callers": self.callers,
            "seconds": self.seconds,
            "value_bytes": self.value_bytes,
            "time_limit_ms": millis(self.time_limit),
            "round_trip_ms": millis(self.median(Operation::Ping)),
            "is_far": self.is_far(),
            "miss_ms": millis(self.miss()),
            "is_interrupted": self.is_interrupted,
            "operations": self.shown().map(operation).collect::<Vec<_>>(),
        })
    }
}
