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
    let (report, ended) = signals
        .run(&stop, measure(&scratch, (arguments, output), &stop))
        .await?;
    let printed = report.print(output);
    // Also if the output could not be written.
    ended?;
    printed
}

/// Measures, and removes everything that it stored.
async fn measure(
    scratch: &Scratch,
    (arguments, output): (&Bench, &Output),
    stop: &Stop,
) -> Result<(Report, Result<(), Failure>), Failure> {
    let lasts = Duration::from_secs(arguments.seconds.into());
    let setup = Setup::open(scratch, arguments.value_bytes, lasts).await;
    let setup = match setup {
        Ok(setup) => Arc::new(setup),
        Err(failure) => {
            report_left(scratch.remove_controls().await, output);
            return Err(failure);
        }
    };
    let measured = rounds::measure(&setup, arguments.callers.into(), lasts, stop).await;
    let closed = setup.close().await;
    let removed = scratch.remove(|shard| setup.names(shard)).await;
    let operations = match measured {
        Ok(operations) => operations,
        Err(failure) => {
            report_left(removed, output);
            return Err(failure);
        }
    };
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
    Ok((report, removed.and(closed)))
}

/// Reports that keys are left, beside the failure that ends the program.
fn report_left(removed: Result<(), Failure>, output: &Output) {
    if let Err(failure) = removed {
        failure.print(output.is_json);
    }
}
