//! Overrides of the times besides the ttl.

use std::time::Duration;

use crate::error::Error;
use crate::function::definition::Definition;
use crate::function::times::option::TimeOption;
use crate::function::times::{RefreshAhead, Times};
use crate::function::ttl::parse_duration;
use crate::setting::Setting;

/// Times that replace those of one function: at most one for each option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimesOverride(Vec<(TimeOption, Setting<TimeSetting>)>);

/// Value that an operator gives to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeSetting {
    /// The function runs as if its code did not have the option.
    Off,
    Time(Duration),
    Percent(u8),
}

impl TimesOverride {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets an option by its text, such as `30s`, `10%` or `off`.
    ///
    /// # Errors
    /// The option is set already, or the text cannot be parsed.
    pub(crate) fn set(
        &mut self,
        option: TimeOption,
        text: &str,
        origin: &str,
    ) -> Result<(), Error> {
        if self.0.iter().any(|(known, _)| *known == option) {
            let problem = format!("`{}` is set twice", option.name());
            return Err(Error::configuration(problem));
        }
        let value = parse(option, text)?;
        self.0.push((option, Setting::from_origin(value, origin)));
        Ok(())
    }

    /// Adds the options of a later override. They replace those that are set already.
    pub(crate) fn add(&mut self, later: Self) {
        let is_replaced = |option: TimeOption| later.0.iter().any(|(new, _)| *new == option);
        self.0.retain(|(option, _)| !is_replaced(*option));
        self.0.extend(later.0);
    }

    /// Sets the times of a function.
    ///
    /// # Errors
    /// The code of the function does not have an option that is set.
    pub(crate) fn apply(&self, definition: &mut Definition) -> Result<(), Error> {
        let declared = definition.times;
        for (option, setting) in &self.0 {
            let name = option.name();
            if !option.is_in(&declared) {
                let problem = format!(
                    "an override sets `{name}`, and the code of the function does not have it"
                );
                let error = Error::configuration(problem).with_help(format!(
                    "an override can only change an option that the code has; add `{name}` in \
                     the code"
                ));
                return Err(definition.in_error(error, &setting.origin));
            }
            setting.value.set(*option, &mut definition.times);
            definition.origins.times[*option as usize].clone_from(&setting.origin);
        }
        Ok(())
    }

    /// Returns the origins of all settings.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &String> {
        let origins = self.0.iter();
        origins.filter_map(|(_, setting)| setting.origin.as_ref())
    }
}

impl TimeSetting {
    fn set(self, option: TimeOption, times: &mut Times) {
        let (time, percent) = match self {
            Self::Off => (None, None),
            Self::Time(time) => (Some(time), None),
            Self::Percent(percent) => (None, Some(percent)),
        };
        match option {
            TimeOption::StaleWhileRevalidate => times.stale_while_revalidate = time,
            TimeOption::StaleIfError => times.stale_if_error = time,
            TimeOption::SoftTimeout => times.soft_timeout = time,
            TimeOption::HardTimeout => times.hard_timeout = time,
            TimeOption::LoadLimit => times.load_limit = time,
            TimeOption::RefreshAhead => times.refresh_ahead = time.map(RefreshAhead::AtLeast),
            TimeOption::Jitter => times.jitter = percent,
            TimeOption::NoneTtl => times.none_ttl = time,
            TimeOption::ErrorTtl => times.error_ttl = time,
        }
    }
}

/// Parses the value of an option.
///
/// # Errors
/// The text is neither `off` nor a value of the option's kind.
fn parse(option: TimeOption, text: &str) -> Result<TimeSetting, Error> {
    if text == "off" {
        return Ok(TimeSetting::Off);
    }
    let parsed = match option {
        TimeOption::Jitter => parse_percent(text).map(TimeSetting::Percent),
        _ => parse_duration(text).map(TimeSetting::Time),
    };
    parsed.map_err(|error| error.in_context(format!("`{}`", option.name())))
}

/// Parses a share such as `10%`. Its maximum is checked with the function.
///
/// # Errors
/// The text is not a whole number of percent up to 255.
fn parse_percent(text: &str) -> Result<u8, Error> {
    let number = text.strip_suffix('%').and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::configuration(format!("`{text}` is not a share such as `10%`")))
}
