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
        output.either(&self.text(), || self.document())?;
        let has_failed = self.operations.iter().any(|of| of.failed > 0);
        Ok(match has_failed {
            true => Verdict::Wrong,
            false => Verdict::Fine,
        })
    }

    /// Returns `true` if anything was measured.
    pub(super) fn has_figures(&self) -> bool {
        self.operations.iter().any(|of| of.latencies.count() > 0)
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

    /// `None` if the operation was not measured.
    fn median(&self, operation: Operation) -> Option<Duration> {
        self.of(operation).latencies.summary().map(|[p50, ..]| p50)
    }

    fn is_far(&self) -> Option<bool> {
        self.median(Operation::Ping).map(|trip| trip >= FAR)
    }

    /// Returns the bare command beside an operation, and the ratio of the medians.
    fn ratio(&self, operation: Operation) -> Option<(Operation, f64)> {
        let peer = operation.peer()?;
        let bare = self.median(peer)?;
        let ratio = self.median(operation)?.as_secs_f64() / bare.as_secs_f64();
        (!bare.is_zero()).then_some((peer, ratio))
    }

    /// Returns the part of the time limit that one of a hundred operations exceeds.
    fn of_time_limit(&self, measured: &Measured) -> Option<f64> {
        let [_, p99, _] = measured.latencies.summary()?;
        Some(p99.as_secs_f64() / self.time_limit.as_secs_f64())
    }

    /// The time that a call that loads waits for the server.
    fn miss(&self) -> Option<Duration> {
        let steps = [Operation::Hit, Operation::Lease, Operation::Fill];
        steps.map(|step| self.median(step)).into_iter().sum()
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
            if self.of_time_limit(measured).is_some_and(|part| part > SLOW) {
                lines.push(format!(
                    "slow        1 of 100 of {} takes more than a quarter of the time limit; raise \
                     `Redis::time_limit`, or move the program nearer to the server",
                    operation.name()
                ));
            }
        }
        for (operation, measured) in self.shown().filter(|(_, measured)| measured.failed > 0) {
            let (failed, attempts) = (measured.failed, measured.attempts);
            let why = measured.why.as_deref().unwrap_or_default();
            let name = operation.name();
            lines.push(format!(
                "failed      {failed} of {attempts} of {name}: {why}"
            ));
        }
        lines.join("\n")
    }

    fn round_trip(&self) -> String {
        let Some(trip) = self.median(Operation::Ping) else {
            return "not measured".to_owned();
        };
        let (trip, is_far) = (millis(trip), trip >= FAR);
        match is_far {
            true => format!(
                "{trip:.3} ms: the server is far away, and each operation waits for it; move the \
                 program nearer to it"
            ),
            false => format!("{trip:.3} ms: the server is near"),
        }
    }

    fn miss_text(&self) -> String {
        let Some(miss) = self.miss() else {
            return "not measured".to_owned();
        };
        format!(
            "{:.3} ms for a read, a lease and a fill, besides the body; time limit {:?}",
            millis(miss),
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
            self.of_time_limit(measured).unwrap_or_default() * 100.0,
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
                "count": measured.attempts,
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
            "round_trip_ms": self.median(Operation::Ping).map(millis),
            "is_far": self.is_far(),
            "miss_ms": self.miss().map(millis),
            "is_interrupted": self.is_interrupted,
            "operations": self.shown().map(operation).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            operations: Default::default(),
            addresses: Vec::new(),
            namespace: "shop:bench".to_owned(),
            callers: 1,
            seconds: 1,
            value_bytes: 200,
            time_limit: Duration::from_millis(250),
            is_interrupted: true,
        }
    }

    #[test]
    fn figure_that_was_not_measured_is_not_shown_as_zero() {
        let report = report();
        assert!(!report.has_figures());
        let text = report.text();
        assert!(text.contains("round trip  not measured"), "{text}");
        assert!(text.contains("miss        not measured"), "{text}");
        assert!(!text.contains("near"), "{text}");
        let document = report.document();
        for field in ["round_trip_ms", "is_far", "miss_ms"] {
            assert_eq!(document[field], Value::Null, "{field}");
        }
        assert_eq!(document["operations"][0]["p99_of_time_limit"], Value::Null);
    }

    #[test]
    fn miss_has_all_steps_of_a_load_and_failures_are_a_part_of_the_attempts() {
        let mut report = report();
        for (operation, millis) in [
            (Operation::Hit, 1),
            (Operation::Lease, 2),
            (Operation::Fill, 4),
        ] {
            let measured = &mut report.operations[operation as usize];
            measured.latencies.record(Duration::from_millis(millis));
            (measured.attempts, measured.failed) = (2, 1);
        }
        let miss = report.document()["miss_ms"].as_f64().unwrap();
        assert!((7.0..7.2).contains(&miss), "{miss}");
        let text = report.text();
        assert!(text.contains("failed      1 of 2 of hit"), "{text}");
    }
}
