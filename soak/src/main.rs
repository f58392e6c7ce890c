//! The soak, and its instances.
//!
//! `soak [--seconds 90] [--topology standalone|failover|evicting|cluster|sentinel] [--seed N]
//! [--server redis-server] [--history FILE]` runs it. `soak check FILE` judges a history that was
//! kept. `soak windows [--short] [--server redis-server]` calls hot keys whose values become stale,
//! and prints a table. `soak shards [--seconds 10] [--server redis-server]` calls all shards of a
//! cluster while something happens to a primary, for about this time each, and prints a table.
//! `soak growth [redis-server]` prints what instances cost a server.

use std::process::ExitCode;
use std::time::Duration;

use soak::checker::{Verdict, judge};
use soak::instance::{BOUND, Settings, run_instance};
use soak::run::{Options, run};
use soak::servers::Topology;
use soak::windows::{self, Length};
use soak::{growth, shards};

const USAGE: &str = "\
soak [--seconds N] [--topology standalone|failover|evicting|cluster|sentinel]
     [--seed N] [--server PATH] [--history FILE]
soak check FILE
soak windows [--short] [--server PATH]
soak shards [--seconds N] [--server PATH]
soak growth [PATH]";

fn options(arguments: &[String]) -> Result<Options, Box<dyn std::error::Error>> {
    let mut options = Options {
        program: std::env::current_exe()?,
        seconds: 90,
        topology: Topology::Standalone,
        seed: fastrand::u64(..1_000_000),
        server: "redis-server".into(),
        history: None,
    };
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => options.seconds = value.parse()?,
            [name, value] if name == "--seed" => options.seed = value.parse()?,
            [name, value] if name == "--server" => options.server.clone_from(value),
            [name, value] if name == "--history" => options.history = Some(value.into()),
            [name, value] if name == "--topology" => {
                options.topology = Topology::named(value)
                    .ok_or_else(|| format!("unknown topology `{value}`\n{USAGE}"))?;
            }
            other => return Err(format!("unknown option `{}`\n{USAGE}", other.join(" ")).into()),
        }
    }
    Ok(options)
}

fn windows_options(arguments: &[String]) -> Result<windows::Options, Box<dyn std::error::Error>> {
    let mut options = windows::Options {
        program: std::env::current_exe()?,
        server: "redis-server".into(),
        length: Length::Long,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.as_slice()) {
            ("--short", _) => options.length = Length::Short,
            ("--server", [path, ..]) => {
                options.server.clone_from(path);
                arguments.next();
            }
            (other, _) => return Err(format!("unknown option `{other}`\n{USAGE}").into()),
        }
    }
    Ok(options)
}

fn shards_options(arguments: &[String]) -> Result<shards::Options, Box<dyn std::error::Error>> {
    let mut options = shards::Options {
        server: "redis-server".into(),
        row: Duration::from_secs(10),
    };
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => {
                options.row = Duration::from_secs(value.parse()?);
            }
            [name, value] if name == "--server" => options.server.clone_from(value),
            other => return Err(format!("unknown option `{}`\n{USAGE}", other.join(" ")).into()),
        }
    }
    Ok(options)
}

/// Returns success if there is no violation. A history without reads shows nothing, so it fails.
fn exit_code(verdict: &Verdict) -> ExitCode {
    if verdict.violations.is_empty() && verdict.reads > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn success_if(holds: bool) -> ExitCode {
    match holds {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [command, settings @ ..] if command == "instance" => {
            let settings = Settings::from_arguments(settings)
                .ok_or("the arguments are not those of an instance")?;
            if std::env::var_os("SOAK_LOG").is_some() {
                let name = format!("instance {}", settings.life.instance);
                testbed::log::to_stderr(name, soak::clock::now);
            }
            run_instance(settings).await?;
            Ok(ExitCode::SUCCESS)
        }
        [command, file] if command == "check" => {
            let events = soak::history::parse(&std::fs::read_to_string(file)?);
            let bound = u64::try_from(BOUND.as_micros())?;
            let verdict = judge(&events, bound);
            for violation in &verdict.violations {
                println!("{violation}");
            }
            println!("reads checked: {}", verdict.reads);
            println!("violations: {}", verdict.violations.len());
            Ok(exit_code(&verdict))
        }
        [command, url] if command == "windows-instance" => {
            windows::run_instance(url).await?;
            Ok(ExitCode::SUCCESS)
        }
        [command, arguments @ ..] if command == "windows" => {
            let table = windows::run(&windows_options(arguments)?).await?;
            println!("{table}");
            Ok(success_if(table.holds()))
        }
        [command, arguments @ ..] if command == "shards" => {
            let table = shards::run(&shards_options(arguments)?).await?;
            println!("{table}");
            Ok(success_if(table.holds()))
        }
        [command, arguments @ ..] if command == "growth" => {
            let server = arguments.first().map_or("redis-server", String::as_str);
            println!("{}", growth::run(server).await?);
            Ok(ExitCode::SUCCESS)
        }
        options_given => {
            let outcome = run(options(options_given)?).await?;
            println!("{outcome}");
            if !outcome.shows_every_feature() {
                return Ok(ExitCode::FAILURE);
            }
            Ok(exit_code(&outcome.verdict))
        }
    }
}
