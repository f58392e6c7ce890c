//! Runs the program.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The longest run of a command that ends by itself.
const LONGEST: Duration = Duration::from_secs(20);

/// The output of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// The program with these arguments, without variables of the environment that it reads.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = without_variables(env!("CARGO_BIN_EXE_multi-tier-cached"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A program without the variables of the environment that the command line reads.
pub(crate) fn without_variables(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if name.starts_with("MULTI_TIER_CACHED_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub(crate) async fn run(arguments: &[&str]) -> Run {
    finish(command(arguments)).await
}

/// Runs a prepared program to its end.
pub(crate) async fn finish(mut command: Command) -> Run {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    end(command.spawn().expect("the program runs")).await
}

/// Waits for the end of a program whose output is piped.
pub(crate) async fn end(program: Child) -> Run {
    let output = timeout(LONGEST, program.wait_with_output()).await;
    let output = output.expect("the program ends").expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Run {
        code: output.status.code(),
        output: text(output.stdout),
        errors: text(output.stderr),
    }
}

/// A program that runs until it gets a signal.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the program runs"))
    }

    /// Sends it a signal, by its option of `kill`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.0.id().expect("the program has not ended").to_string();
        let status = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(status.expect("kill").success());
    }

    /// Waits for its end.
    pub(crate) async fn finish(self) -> Run {
        end(self.0).await
    }
}

impl Run {
    /// The documents that were printed, one on each line.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let lines = self.output.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {self:?}")))
            .collect()
    }
}
