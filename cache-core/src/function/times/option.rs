//! The options that have the times of a function, by name.

use std::time::Duration;

use super::{RefreshAhead, Times};

/// An option of a function that is one of its [`Times`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOption {
    StaleWhileRevalidate,
    StaleIfError,
    SoftTimeout,
    HardTimeout,
    LoadLimit,
    RefreshAhead,
    Jitter,
    NoneTtl,
    ErrorTtl,
}

impl TimeOption {
    pub(crate) const COUNT: usize = 9;

    /// All options, in the order of the fields of [`Times`].
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::StaleWhileRevalidate,
        Self::StaleIfError,
        Self::SoftTimeout,
        Self::HardTimeout,
        Self::LoadLimit,
        Self::RefreshAhead,
        Self::Jitter,
        Self::NoneTtl,
        Self::ErrorTtl,
    ];

    /// Returns the name of the option in attributes, overrides and errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StaleWhileRevalidate => "stale_while_revalidate",
            Self::StaleIfError => "stale_if_error",
            Self::SoftTimeout => "soft_timeout",
            Self::HardTimeout => "hard_timeout",
            Self::LoadLimit => "load_limit",
            Self::RefreshAhead => "refresh_ahead",
            Self::Jitter => "jitter",
            Self::NoneTtl => "none_ttl",
            Self::ErrorTtl => "error_ttl",
        }
    }

    /// Returns the option of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|option| option.name() == name)
    }

    /// Returns the duration that a function has for the option. `None` without the option, and for
    /// one that has no duration.
    pub(crate) fn duration(self, times: &Times) -> Option<Duration> {
        match self {
            Self::StaleWhileRevalidate => times.stale_while_revalidate,
            Self::StaleIfError => times.stale_if_error,
            Self::SoftTimeout => times.soft_timeout,
            Self::HardTimeout => times.hard_timeout,
            Self::LoadLimit => times.load_limit,
            Self::RefreshAhead => match times.refresh_ahead {
                Some(RefreshAhead::AtLeast(ahead)) => Some(ahead),
                Some(RefreshAhead::Measured) | None => None,
            },
            Self::Jitter => None,
            Self::NoneTtl => times.none_ttl,
            Self::ErrorTtl => times.error_ttl,
        }
    }

    /// Returns `true` if a function has the option.
    pub(crate) fn is_in(self, times: &Times) -> bool {
        match self {
            Self::RefreshAhead => times.refresh_ahead.is_some(),
            Self::Jitter => times.jitter.is_some(),
            Self::StaleWhileRevalidate
            | Self::StaleIfError
            | Self::SoftTimeout
            | Self::HardTimeout
            | Self::LoadLimit
            | Self::NoneTtl
            | Self::ErrorTtl => self.duration(times).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_is_found_by_its_name_and_at_its_place() {
        for (at, option) in TimeOption::ALL.into_iter().enumerate() {
            assert_eq!(TimeOption::named(option.name()), Some(option));
            assert_eq!(option as usize, at);
        }
        assert_eq!(TimeOption::named("ttl"), None);
    }
}
