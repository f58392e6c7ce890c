//! The command line of `multi-tier-cached`: reads, explains and invalidates keys in Redis, shows
//! what instances do, and checks the servers.

mod args;
mod audit;
mod bench;
mod doctor;
mod explain;
mod failure;
mod get;
mod interrupt;
mod invalidate;
mod keys;
mod latencies;
mod marks;
mod output;
mod place;
mod published;
mod record;
mod replay;
mod scan;
mod scratch;
mod search;
mod tail;
mod target;
mod top;
mod verdict;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use tokio::runtime::Builder;

use crate::args::{Arguments, Command};
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;

fn main() -> ExitCode {
    let matches = match Arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return refused(&error),
    };
    let mut arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    place::prefer_options(&mut arguments.place, |name| {
        // A global option is known where it was written: before or after the command.
        let below = matches.subcommand().map(|(_, below)| below);
        [Some(&matches), below].into_iter().flatten().any(|of| {
            let source = of
                .try_contains_id(name)
                .ok()
                .and_then(|_| of.value_source(name));
            source == Some(ValueSource::CommandLine)
        })
    });
    let is_json = arguments.json;
    match run(arguments) {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(failure::FOUND_WRONG),
        Err(failure) if failure.is_end_of_output => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(is_json);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Prints why the arguments cannot be used, or the help that they ask for.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|argument| argument == "--json") {
        error.exit();
    }
    let text = error.render().to_string();
    let problem = text.trim_end().trim_start_matches("error: ");
    let failure = Failure::usage(problem, "`--help` lists the options");
    failure.print(true);
    ExitCode::from(failure.exit_code)
}

fn run(arguments: Arguments) -> Result<Verdict, Failure> {
    let output = Output {
        is_json: arguments.json,
    };
    let mut runtime = match arguments.command {
        // A program that uses the cache has several threads.
        Command::Bench(_) | Command::Replay(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let (place, output) = (&arguments.place, &output);
    let connect = || place::connect(place);
    runtime.enable_all().build()?.block_on(async {
        match arguments.command {
            Command::Doctor => doctor::run(&connect().await?, output).await,
            Command::Keys(of) => keys::run(&connect().await?, output, &of).await,
            Command::Get(of) => get::run(&connect().await?, output, &of).await,
            Command::Explain(of) => explain::run(&connect().await?, output, &of).await,
            Command::Invalidate(of) => invalidate::run(&connect().await?, output, &of).await,
            Command::Tail(of) => tail::run(&connect().await?, output, &of).await,
            Command::Top(of) => top::run(&connect().await?, output, &of).await,
            Command::Bench(of) => bench::run(place, output, &of).await,
            Command::Replay(of) => replay::run(place, output, &of).await,
        }
    })
}
