//! Times of a function besides its ttl: how long a stale value may be returned, how long callers
//! wait for a load, and for how long results that are no values are kept.

pub(crate) mod option;
mod rules;

use std::time::Duration;

/// Times of a function besides its ttl. Each is `None` for a function without the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an expansion writes its fields; core and macros have one version"
)]
pub struct Times {
    /// Time after the end of the ttl in which a call returns the stale value at once, while one
    /// load in the background replaces it.
    pub stale_while_revalidate: Option<Duration>,
    /// Time after the end of the ttl in which a call returns the stale value if its load fails.
    pub stale_if_error: Option<Duration>,
    /// Time from the beginning of a load after which callers get the stale value, while the load
    /// continues in the background.
    pub soft_timeout: Option<Duration>,
    /// Longest time that a caller waits for a load, its own or another caller's.
    pub hard_timeout: Option<Duration>,
    /// Time from the beginning of a load after which its body is dropped.
    pub load_limit: Option<Duration>,
    /// How long before it expires a value that is requested is loaded again in the background.
    pub refresh_ahead: Option<RefreshAhead>,
    /// Largest part of a life, in percent, by which it is shortened.
    pub jitter: Option<u8>,
    /// Time for which the result that there is no value is kept.
    pub none_ttl: Option<Duration>,
    /// Time for which an error is kept in memory.
    pub error_ttl: Option<Duration>,
}

/// How long before its end a value is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum RefreshAhead {
    /// Two to several times as long as its last load took.
    Measured,
    /// The larger of this time and the [`Measured`](Self::Measured) one.
    AtLeast(Duration),
}

impl From<Duration> for RefreshAhead {
    fn from(ahead: Duration) -> Self {
        Self::AtLeast(ahead)
    }
}

impl Times {
    /// The times of a function without any of these options.
    pub const NONE: Self = Self {
        stale_while_revalidate: None,
        stale_if_error: None,
        soft_timeout: None,
        hard_timeout: None,
        load_limit: None,
        refresh_ahead: None,
        jitter: None,
        none_ttl: None,
        error_ttl: None,
    };

    /// Returns `true` if loads of the function may continue after their callers were answered.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.stale_while_revalidate.is_some()
            || self.refresh_ahead.is_some()
            || self.soft_timeout.is_some()
            || self.hard_timeout.is_some()
    }

    /// Returns the longest time after its end in which a value may be returned. Zero without a
    /// window.
    pub(crate) fn longest_window(&self) -> Duration {
        let revalidate = self.stale_while_revalidate.unwrap_or_default();
        revalidate.max(self.stale_if_error.unwrap_or_default())
    }
}
