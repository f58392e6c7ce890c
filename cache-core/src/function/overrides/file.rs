//! Overrides and policies in a TOML file:
//!
//! ```toml
//! [policies]
//! orders = "90s"
//!
//! [functions."users::by_id"]
//! ttl = { l1 = "10s", l2 = "1h" }
//! tiers = "l1,l2"
//! stale_if_error = "6h"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::times::TimesOverride;
use super::{Override, TtlOverride, option_names};
use crate::error::Error;
use crate::function::times::option::TimeOption;
use crate::function::ttl::{Ttl, parse_duration};
use crate::setting::Setting;

/// Content of a file, with an error for each part that cannot be used.
#[derive(Debug, Default)]
pub(crate) struct FunctionsFile {
    pub(crate) policies: Vec<(String, Ttl)>,
    pub(crate) functions: Vec<(String, Override)>,
    pub(crate) problems: Vec<Error>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policies: BTreeMap<String, Times>,
    #[serde(default)]
    functions: BTreeMap<String, Function>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    ttl: Option<Times>,
    policy: Option<String>,
    tiers: Option<Tiers>,
    stale_while_revalidate: Option<Time>,
    stale_if_error: Option<Time>,
    soft_timeout: Option<Time>,
    hard_timeout: Option<Time>,
    load_limit: Option<Time>,
    refresh_ahead: Option<Time>,
    jitter: Option<Time>,
    none_ttl: Option<Time>,
    error_ttl: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "one text: a duration such as \"30s\", \"off\", or, for `jitter`, a share such as \
                 \"10%\""
)]
enum Time {
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "tiers in one text, such as \"l1,l2\"")]
enum Tiers {
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a duration such as \"30s\", or one for each tier: { l1 = \"10s\", l2 = \"1h\" }"
)]
enum Times {
    Everywhere(String),
    Each(BTreeMap<String, String>),
}

/// Reads a file. Errors call it `origin`.
pub(crate) fn read(path: &Path, origin: &str) -> FunctionsFile {
    let mut content = FunctionsFile::default();
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::configuration(format!("{origin} cannot be read: {error}"))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error));
    let file = text.and_then(|text| toml::from_str(&text).map_err(|error| unreadable(&error)));
    let file: File = file.unwrap_or_else(|error| {
        content.problems.push(error);
        File::default()
    });
    for (name, times) in file.policies {
        match times.ttl() {
            Ok(ttl) => content.policies.push((name, ttl)),
            Err(error) => {
                let error = error.in_context(format!("policy `{name}`"));
                content.problems.push(error.from_setting(origin));
            }
        }
    }
    for (name, function) in file.functions {
        match function.settings(origin) {
            Ok(settings) => content.functions.push((name, settings)),
            Err(error) => {
                let error = error.for_function(format!("`{name}`"));
                content.problems.push(error.from_setting(origin));
            }
        }
    }
    content
}

impl Times {
    fn ttl(&self) -> Result<Ttl, Error> {
        match self {
            Self::Everywhere(text) => Ok(parse_duration(text)?.into()),
            Self::Each(times) => {
                let mut each = Vec::new();
                for (level, text) in times {
                    each.push((level.parse()?, parse_duration(text)?));
                }
                Ok(Ttl::each(&each))
            }
        }
    }
}

impl Function {
    fn settings(self, origin: &str) -> Result<Override, Error> {
        let ttl = match (self.ttl, self.policy) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "`ttl` and `policy` are both set: only one of them can be",
                ));
            }
            (Some(times), None) => Some(TtlOverride::Ttl(times.ttl()?)),
            (None, policy) => policy.map(TtlOverride::Policy),
        };
        let given = [
            (
                TimeOption::StaleWhileRevalidate,
                self.stale_while_revalidate,
            ),
            (TimeOption::StaleIfError, self.stale_if_error),
            (TimeOption::SoftTimeout, self.soft_timeout),
            (TimeOption::HardTimeout, self.hard_timeout),
            (TimeOption::LoadLimit, self.load_limit),
            (TimeOption::RefreshAhead, self.refresh_ahead),
            (TimeOption::Jitter, self.jitter),
            (TimeOption::NoneTtl, self.none_ttl),
            (TimeOption::ErrorTtl, self.error_ttl),
        ];
        let mut times = TimesOverride::default();
        for (option, time) in given {
            if let Some(Time::Text(text)) = time {
                times.set(option, &text, origin)?;
            }
        }
        let tiers = self.tiers.map(|Tiers::Text(text)| text.parse());
        let settings = Override {
            ttl: ttl.map(|ttl| Setting::from_origin(ttl, origin)),
            tiers: tiers
                .transpose()?
                .map(|tiers| Setting::from_origin(tiers, origin)),
            times,
        };
        match settings.is_empty() {
            false => Ok(settings),
            true => Err(Error::configuration("the function has no setting")
                .with_help(format!("the options are {}", option_names()))),
        }
    }
}
