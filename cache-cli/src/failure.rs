//! Why the program could not do what it was asked.

use std::{fmt, io};

use cache_core::{Error, ErrorKind};

/// The exit code of a program that has found something wrong.
pub(crate) const FOUND_WRONG: u8 = 1;

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
            ErrorKind::Unavailable | ErrorKind::TimedOut => 3,
            _ => FOUND_WRONG,
        };
        let help = (exit_code == 3 && error.help().is_none()).then(|| {
            "check the address (`--redis`, or MULTI_TIER_CACHED_REDIS_URL), and that the server runs"
                .to_owned()
        });
        Self::new(exit_code, in_full(&error), help)
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        let is_lost = error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
        let exit_code = if is_lost { 3 } else { FOUND_WRONG };
        let problem = format!("the server does not answer, or refuses: {error}");
        Self::new(exit_code, problem, None)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            is_end_of_output: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(
                FOUND_WRONG,
                format!("the output cannot be written: {error}"),
                None,
            )
        }
    }
}
