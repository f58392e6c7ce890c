//! The rules for the times of a function.
//!
//! The attribute has the same rules, and points at the option in the code. Here they hold for
//! functions without the attribute, and for the times that operators set.

use std::time::Duration;

use humantime::format_duration;

use super::Times;
use super::option::TimeOption;
use crate::error::Error;
use crate::function::options::Consistency;
use crate::function::ttl::LONGEST_TTL;

/// Maximum time for which an error is kept: a kept error hides that the source is available again.
const LONGEST_ERROR_TTL: Duration = Duration::from_secs(60);

/// Maximum of `jitter`, in percent. Beyond it, most values would live less than three quarters of
/// the ttl that the code states.
const MAX_JITTER: u8 = 50;

/// A rule that the times of a function do not keep.
#[derive(Debug)]
pub(crate) struct InvalidTimes {
    pub(crate) error: Error,
    /// The options that the error is about.
    pub(crate) options: Vec<TimeOption>,
}

impl Times {
    /// Checks the times of a function with this consistency, which is a plain `fn` if it
    /// `is_blocking`.
    ///
    /// # Errors
    /// A time is zero or too long, excludes another one, or cannot be had by such a function.
    pub(crate) fn check(
        &self,
        consistency: Consistency,
        is_blocking: bool,
    ) -> Result<(), InvalidTimes> {
        for option in TimeOption::ALL {
            if let Some(time) = option.duration(self) {
                check_limits(option, time)?;
            }
        }
        self.check_jitter()?;
        self.check_timeouts()?;
        self.check_consistency(consistency)?;
        match is_blocking {
            true => self.check_blocking(),
            false => Ok(()),
        }
    }

    /// Checks that a rule for errors and the time that it is about are both there.
    ///
    /// # Errors
    /// One is there without the other, and would have no effect.
    pub(crate) fn check_rules(&self, has_stale_if: bool, has_error_if: bool) -> Result<(), Error> {
        let (rule, time) = match (self.stale_if_error, self.error_ttl) {
            (None, _) if has_stale_if => ("stale_if", "stale_if_error"),
            (_, None) if has_error_if => ("error_if", "error_ttl"),
            (_, Some(_)) if !has_error_if => ("error_ttl", "error_if"),
            _ => return Ok(()),
        };
        let problem = format!("`{rule}` has no effect without `{time}`");
        Err(Error::configuration(problem).with_help(format!("set `{time}`, or remove `{rule}`")))
    }

    fn check_jitter(&self) -> Result<(), InvalidTimes> {
        match self.jitter {
            Some(percent) if percent > MAX_JITTER => {
                let problem = format!("`jitter` is {percent}%: the maximum is {MAX_JITTER}%");
                let help = "use a share from 0% to 50%, such as 10%";
                Err(invalid(problem, help, &[TimeOption::Jitter]))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_timeouts(&self) -> Result<(), InvalidTimes> {
        use TimeOption::{HardTimeout, LoadLimit, SoftTimeout, StaleIfError};
        if self.soft_timeout.is_some() && self.stale_if_error.is_none() {
            let problem = "`soft_timeout` needs `stale_if_error`: without it a call has no value \
                           to return in place of the loaded one";
            let help = "set `stale_if_error`, or use `hard_timeout`";
            return Err(invalid(problem, help, &[SoftTimeout, StaleIfError]));
        }
        for (shorter, longer) in [
            (SoftTimeout, HardTimeout),
            (HardTimeout, LoadLimit),
            (SoftTimeout, LoadLimit),
        ] {
            let times = (shorter.duration(self), longer.duration(self));
            if let (Some(first), Some(second)) = times
                && first >= second
            {
                let (shorter_name, longer_name) = (shorter.name(), longer.name());
                let problem = format!(
                    "`{shorter_name}` is {}, and `{longer_name}` is {}: `{shorter_name}` would \
                     have no effect",
                    format_duration(first),
                    format_duration(second)
                );
                let help = format!("make `{shorter_name}` shorter than `{longer_name}`");
                return Err(invalid(problem, help, &[shorter, longer]));
            }
        }
        Ok(())
    }

    fn check_consistency(&self, consistency: Consistency) -> Result<(), InvalidTimes> {
        let without_the_tier = [
            TimeOption::StaleWhileRevalidate,
            TimeOption::StaleIfError,
            TimeOption::RefreshAhead,
        ];
        match without_the_tier
            .into_iter()
            .find(|option| option.is_in(self))
        {
            Some(window) if consistency == Consistency::Strong => {
                let name = window.name();
                let problem = format!(
                    "`{name}` and `consistency = \"strong\"` exclude each other: a strong call \
                     asks the tier each time"
                );
                let help = format!("remove `{name}`, or use `consistency = \"bounded\"`");
                Err(invalid(problem, help, &[window]))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks the times of a plain `fn`, whose loads run on the threads of their callers.
    fn check_blocking(&self) -> Result<(), InvalidTimes> {
        use TimeOption::{HardTimeout, LoadLimit, RefreshAhead, SoftTimeout, StaleWhileRevalidate};
        for option in [
            StaleWhileRevalidate,
            RefreshAhead,
            SoftTimeout,
            HardTimeout,
            LoadLimit,
        ] {
            if option.is_in(self) {
                let name = option.name();
                let problem = format!(
                    "`{name}` needs the async runtime, and the function is a plain `fn`: its body \
                     can neither continue in the background nor be dropped"
                );
                let help = format!("write `async fn`, or remove `{name}`");
                return Err(invalid(problem, help, &[option]));
            }
        }
        Ok(())
    }
}

/// Checks that the time of an option is neither zero nor too long.
fn check_limits(option: TimeOption, time: Duration) -> Result<(), InvalidTimes> {
    let name = option.name();
    let (longest, maximum) = match option {
        TimeOption::ErrorTtl => (LONGEST_ERROR_TTL, "60s"),
        _ => (LONGEST_TTL, "365 days"),
    };
    if time.is_zero() {
        let problem = format!("`{name}` is zero: it would have no effect");
        let help = format!("use at least 1ms, or remove `{name}`");
        return Err(invalid(problem, help, &[option]));
    }
    if time > longest {
        let time = format_duration(time);
        let problem = format!("`{name}` is {time}: the maximum is {maximum}");
        let help = match option {
            TimeOption::ErrorTtl => {
                "a kept error hides that the source is available again; use a few seconds"
            }
            _ => "\"m\" is minutes, \"M\" is months",
        };
        return Err(invalid(problem, help, &[option]));
    }
    Ok(())
}

fn invalid(
    problem: impl Into<String>,
    help: impl Into<std::borrow::Cow<'static, str>>,
    options: &[TimeOption],
) -> InvalidTimes {
    InvalidTimes {
        error: Error::configuration(problem).with_help(help),
        options: options.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::RefreshAhead;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn error(times: Times, consistency: Consistency, is_blocking: bool) -> Option<String> {
        let checked = times.check(consistency, is_blocking);
        checked.err().map(|invalid| {
            assert!(invalid.error.help().is_some(), "{:?}", invalid.error);
            assert!(
                !invalid.options.is_empty(),
                "the error is about no option: {:?}",
                invalid.error
            );
            for option in &invalid.options {
                let text = invalid.error.to_string();
                assert!(text.contains(option.name()), "{option:?} is not in {text}");
            }
            invalid.error.to_string()
        })
    }

    #[track_caller]
    fn check_refused(times: Times, expected: &str) {
        let error = error(times, Consistency::Bounded, false).expect("the times are valid");
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }

    /// The times of a function with one option.
    fn only(option: TimeOption, time: Duration) -> Times {
        let time = Some(time);
        match option {
            TimeOption::StaleWhileRevalidate => Times {
                stale_while_revalidate: time,
                ..Times::NONE
            },
            TimeOption::StaleIfError => Times {
                stale_if_error: time,
                ..Times::NONE
            },
            TimeOption::SoftTimeout => Times {
                soft_timeout: time,
                stale_if_error: Some(SECOND),
                ..Times::NONE
            },
            TimeOption::HardTimeout => Times {
                hard_timeout: time,
                ..Times::NONE
            },
            TimeOption::LoadLimit => Times {
                load_limit: time,
                ..Times::NONE
            },
            TimeOption::RefreshAhead => Times {
                refresh_ahead: time.map(RefreshAhead::AtLeast),
                ..Times::NONE
            },
            TimeOption::Jitter => Times {
                jitter: Some(10),
                ..Times::NONE
            },
            TimeOption::NoneTtl => Times {
                none_ttl: time,
                ..Times::NONE
            },
            TimeOption::ErrorTtl => Times {
                error_ttl: time,
                ..Times::NONE
            },
        }
    }

    fn options_with_duration() -> impl Iterator<Item = TimeOption> {
        let all = TimeOption::ALL.into_iter();
        all.filter(|option| *option != TimeOption::Jitter)
    }

    #[test]
    fn each_option_alone_is_valid() {
        for option in TimeOption::ALL {
            let times = only(option, SECOND);
            assert!(option.is_in(&times));
            assert_eq!(error(times, Consistency::Bounded, false), None);
        }
        assert_eq!(error(Times::NONE, Consistency::Strong, true), None);
    }

    #[test]
    fn time_of_zero_is_refused_for_each_option() {
        for option in options_with_duration() {
            let expected = format!("`{}` is zero", option.name());
            check_refused(only(option, Duration::ZERO), &expected);
        }
    }

    #[test]
    fn time_over_the_maximum_is_refused_for_each_option() {
        for option in options_with_duration() {
            let (longest, maximum) = match option {
                TimeOption::ErrorTtl => (SECOND * 60, "the maximum is 60s"),
                _ => (DAY * 365, "the maximum is 365 days"),
            };
            let times = only(option, longest);
            assert_eq!(error(times, Consistency::Bounded, false), None);
            check_refused(only(option, longest + SECOND), maximum);
        }
    }

    #[test]
    fn jitter_over_50_percent_is_refused() {
        let jitter = |percent| Times {
            jitter: Some(percent),
            ..Times::NONE
        };
        for percent in [0, 50] {
            let error = error(jitter(percent), Consistency::Bounded, false);
            assert_eq!(error, None);
        }
        check_refused(jitter(51), "`jitter` is 51%: the maximum is 50%");
    }

    #[test]
    fn soft_timeout_without_stale_if_error_is_refused() {
        let times = Times {
            soft_timeout: Some(SECOND),
            ..Times::NONE
        };
        check_refused(times, "`soft_timeout` needs `stale_if_error`");
    }

    #[test]
    fn timeouts_that_are_not_in_order_are_refused() {
        let times = |soft: u32, hard: u32, limit: u32| {
            let time = |seconds: u32| (seconds > 0).then(|| SECOND * seconds);
            Times {
                stale_if_error: Some(SECOND),
                soft_timeout: time(soft),
                hard_timeout: time(hard),
                load_limit: time(limit),
                ..Times::NONE
            }
        };
        for valid in [times(1, 2, 3), times(1, 0, 2), times(0, 1, 2)] {
            assert_eq!(error(valid, Consistency::Bounded, false), None);
        }
        for (wrong, expected) in [
            (
                times(2, 2, 3),
                "`soft_timeout` is 2s, and `hard_timeout` is 2s",
            ),
            (
                times(1, 4, 3),
                "`hard_timeout` is 4s, and `load_limit` is 3s",
            ),
            (
                times(3, 0, 3),
                "`soft_timeout` is 3s, and `load_limit` is 3s",
            ),
        ] {
            check_refused(wrong, expected);
        }
    }

    #[test]
    fn windows_of_a_strong_function_are_refused() {
        for option in TimeOption::ALL {
            let refused = error(only(option, SECOND), Consistency::Strong, false);
            let times = only(option, SECOND);
            let is_refused = !times.longest_window().is_zero() || times.refresh_ahead.is_some();
            assert_eq!(refused.is_some(), is_refused, "{option:?}: {refused:?}");
        }
    }

    #[test]
    fn options_that_need_the_async_runtime_are_refused_for_a_plain_function() {
        for option in TimeOption::ALL {
            let times = only(option, SECOND);
            let refused = error(times, Consistency::Bounded, true);
            let needs_runtime = times.is_late() || option == TimeOption::LoadLimit;
            assert_eq!(refused.is_some(), needs_runtime, "{option:?}: {refused:?}");
        }
    }
}
