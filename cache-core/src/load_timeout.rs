//! The error of a call whose load took too long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The error of a call whose load took longer than the function's `hard_timeout` or `load_limit`.
///
/// The error type of a function with either option is made from it, by `From<LoadTimeout>`. The
/// time of `hard_timeout` includes the reads of the tiers, which have time limits of their own, so
/// it should be longer than those limits together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadTimeout {
    function: Arc<str>,
    after: Duration,
}

impl LoadTimeout {
    pub(crate) fn new(function: &str, after: Duration) -> Self {
        Self {
            function: function.into(),
            after,
        }
    }

    /// Returns the name of the function.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Returns the time that the caller waited, or that the body ran.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for LoadTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = humantime::format_duration(self.after);
        write!(
            f,
            "the load of `{}` took longer than {after}",
            self.function
        )
    }
}

impl std::error::Error for LoadTimeout {}
