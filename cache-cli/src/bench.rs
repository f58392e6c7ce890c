//! `bench`: measures the operations of the tier on this server, beside bare commands.
//!
//! The operations are those of the tier, without the program that would call it. They run in a
//! namespace of their own, which is removed at the end.

mod operation;
mod report;
mod rounds;
mod setup;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use self::report::Report;
use self::setup::Setup;
use crate::args::{Bench, Place};
use crate::failure::Failure;
use crate::interrupt::{Signals, Stop};
use crate::output::Output;
use crate::scratch::Scratch;
use crate::verdict::Verdict;

pub(crate) async fn run(
    place: &Place,
    output: &Output,
    arguments: &Bench,
) -> Result<Verdict, Failure> {
    let scratch = Scratch::new(place, "bench").await?;
    let (mut signals, stop) = (Signals::new()?, Stop::default());
    if io::stderr().is_terminal() {
        let (seconds, namespace) = (arguments.seconds, scratch.namespace());
        let text = format!("measuring for {seconds} s in the namespace `{namespace}`");
        output.note(&text, None);
    }
    let measured = measure(&scratch, arguments, &stop);
    let (report, failures) = signals.run(&stop, measured).await;
    let printed = report.map(|report| report.print(output));
    // Also if the output could not be written.
    let mut failures = failures.into_iter();
    if let Some(first) = failures.next() {
        failures.for_each(|failure| failure.print(output.is_json));
        return Err(first);
    }
    printed.unwrap_or(Ok(Verdict::Fine))
}

/// Measures, and removes everything that it stored. Returns what was measured, if anything was, and
/// the failures, of which the first ended the run.
async fn measure(
    scratch: &Scratch,
    arguments: &Bench,
    stop: &Stop,
) -> (Option<Report>, Vec<Failure>) {
    let lasts = Duration::from_secs(arguments.seconds.into());
    let setup = match Setup::open(scratch, arguments.value_bytes, lasts).await {
        Ok(setup) => Arc::new(setup),
        Err(failure) => {
            let removed = scratch.remove_controls().await;
            let failures = [Some(failure), removed.err()];
            return (None, failures.into_iter().flatten().collect());
        }
    };
    let callers = arguments.callers.into();
    let (operations, ended) = rounds::measure(&setup, callers, lasts, stop).await;
    let closed = setup.close().await;
    let removed = scratch.remove(|shard| setup.names(shard)).await;
    // An error of the shutdown follows from that which ended the run.
    let closed = closed.err().filter(|_| ended.is_none());
    let failures = [ended, removed.err(), closed];
    let report = Report {
        operations,
        addresses: setup.addresses(),
        namespace: scratch.namespace().to_owned(),
        callers: arguments.callers,
        seconds: arguments.seconds,
        value_bytes: arguments.value_bytes,
        time_limit: setup.time_limit(),
        is_interrupted: stop.is_set(),
    };
    let failures: Vec<Failure> = failures.into_iter().flatten().collect();
    let is_worth_showing = failures.is_empty() || report.has_figures();
    (is_worth_showing.then_some(report), failures)
}
