//! The command line of `multi-tier-cached`: reads, explains and invalidates keys in Redis, shows
//! what instances do, and checks the servers.

mod args;
mod audit;
mod doctor;
mod explain;
mod failure;
mod get;
mod invalidate;
mod keys;
mod output;
mod place;
mod published;
mod record;
mod scan;
mod search;
mod tail;
mod target;
mod top;
mod verdict;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

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
            match is_json {
                true => output::complain(&failure.document().to_string()),
                false => output::complain(&format!("error: {failure}")),
            }
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
    output::complain(&failure.document().to_string());
    ExitCode::from(failure.exit_code)
}

fn run(arguments: Arguments) -> Result<Verdict, Failure> {
    let output = Output {
        is_json: arguments.json,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let inspection = place::connect(&arguments.place).await?;
        match arguments.command {
            Command::Doctor => doctor::run(&inspection, &output).await,
            Command::Keys(of) => keys::run(&inspection, &output, &of).await,
            Command::Get(of) => get::run(&inspection, &output, &of).await,
            Command::Explain(of) => explain::run(&inspection, &output, &of).await,
            Command::Invalidate(of) => invalidate::run(&inspection, &output, &of).await,
            Command::Tail(of) => tail::run(&inspection, &output, &of).await,
            Command::Top(of) => top::run(&inspection, &output, &of).await,
        }
    })
}
