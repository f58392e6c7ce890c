//! Why the program could not do what it was asked.

use std::{fmt, io};

use cache_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::output::{self, Unwritten};

/// The exit code of a program that has found something wrong.
pub(crate) const FOUND_WRONG: u8 = 1;

/// The exit code if a server does not answer.
const UNREACHABLE: u8 = 3;

/// A failure of the program, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: String,
    help: Option<String>,
    pub(crate) exit_code: u8,
    /// The reader of the output has ended, which is no failure.
    pub(crate) is_end_of_output: bool,
}

impl Failure {
    /// A wrong argument.
    pub(crate) fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(2, problem, Some(help.into()))
    }

    /// Something that was asked for is not there.
    pub(crate) fn not_found(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(FOUND_WRONG, problem, Some(help.into()))
    }

    /// A connection has ended.
    pub(crate) fn lost(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(UNREACHABLE, problem, Some(help.into()))
    }

    /// Adds this help if no server answers.
    pub(crate) fn help_to_connect(self, help: impl FnOnce() -> String) -> Self {
        // The help of an error of the library is in its text.
        match self.exit_code == UNREACHABLE && !self.problem.contains("; help: ") {
            true => Self {
                help: Some(help()),
                ..self
            },
            false => self,
        }
    }

    /// Calls `from` by the name `to`.
    pub(crate) fn naming(mut self, from: &str, to: &str) -> Self {
        self.problem = self.problem.replace(from, to);
        self
    }

    /// Something was done in part.
    pub(crate) fn partial(
        exit_code: u8,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::new(exit_code, problem, Some(help.into()))
    }

    /// The failure as JSON.
    fn document(&self) -> Value {
        json!({"error": self.problem, "help": self.help, "exit_code": self.exit_code})
    }

    /// Prints it to the standard error, in the form of the output.
    pub(crate) fn print(&self, is_json: bool) {
        match is_json {
            true => output::complain(&self.document().to_string()),
            false => output::complain(&format!("error: {self}")),
        }
    }

    fn new(exit_code: u8, problem: impl Into<String>, help: Option<String>) -> Self {
        Self {
            problem: problem.into(),
            help,
            exit_code,
            is_end_of_output: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.help {
            Some(help) => write!(f, "; help: {help}"),
            None => Ok(()),
        }
    }
}

/// Returns an error with its sources. A source that says what its error says is left out.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit_code = match error.kind() {
            ErrorKind::Configuration => 2,
            ErrorKind::Unavailable | ErrorKind::TimedOut => UNREACHABLE,
            _ => FOUND_WRONG,
        };
        Self::new(exit_code, in_full(&error), None)
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        let is_lost = error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
        let exit_code = if is_lost { UNREACHABLE } else { FOUND_WRONG };
        let problem = format!("the server does not answer, or refuses: {error}");
        Self::new(exit_code, problem, None)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_of_output = error.get_ref().is_some_and(|of| of.is::<Unwritten>());
        let problem = match is_of_output {
            true => error.to_string(),
            false => format!("an operation of the system failed: {error}"),
        };
        Self {
            is_end_of_output: is_of_output && error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(FOUND_WRONG, problem, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_the_system_does_not_end_the_output() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(!failure.is_end_of_output);
        let text = failure.to_string();
        assert!(
            text.starts_with("an operation of the system failed"),
            "{text}"
        );
    }
}
