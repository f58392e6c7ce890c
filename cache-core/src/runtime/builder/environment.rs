//! Environment variables, and tiers that can be set up by them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::level::Level;
use crate::tier::TierBuilder;

/// Prefix of all names.
pub(super) const PREFIX: &str = "MULTI_TIER_CACHED_";

/// Names that this crate reads itself, without the prefix.
const OWN: &[&str] = &[
    "L1_ENGINE",
    "L1_MAX_ENTRIES",
    "L1_MAX_BYTES",
    "CODEC",
    "WHEN_ISOLATED",
    "BACKGROUND_LOADS",
    "FUNCTIONS",
    #[cfg(feature = "toml")]
    "FUNCTIONS_FILE",
];

/// A tier that can be set up from the environment. The crate of a tier registers it.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "registered as a constant by the crates of tiers"
)]
pub struct EnvTier {
    /// Names that the tier reads, without the prefix.
    pub names: &'static [&'static str],
    /// Level of the tier.
    pub level: Level,
    /// Builds the tier. Returns `None` if the environment does not ask for it.
    pub build: BuildFromEnv,
}

/// Function that builds a tier if the environment asks for it.
pub type BuildFromEnv = fn(&Environment) -> Result<Option<Box<dyn TierBuilder>>, Error>;

inventory::collect!(EnvTier);

/// Variables whose names begin with `MULTI_TIER_CACHED_`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    values: Vec<(String, String)>,
    /// Names of variables whose values are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let mut this = Self::default();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => this.values.push((name.to_owned(), value)),
                Err(_) => this.unreadable.push(name.to_owned()),
            }
        }
        this
    }

    /// Makes an environment of names, without the prefix, and values, for tests.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let values = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Self {
            values,
            unreadable: Vec::new(),
        }
    }

    /// Returns the full names of the variables that are set.
    pub(super) fn names(&self) -> Vec<String> {
        let is_set = |(_, value): &&(String, String)| !value.is_empty();
        let names = self.values.iter().filter(is_set).map(|(name, _)| name);
        let mut names: Vec<_> = names
            .chain(&self.unreadable)
            .map(|name| format!("{PREFIX}{name}"))
            .collect();
        names.sort_unstable();
        names
    }

    /// Returns the value of a name without the prefix, or `None` if it is not set or empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// Returns the value of a name, parsed as `T`.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the variable, its value, and what
    /// it should be.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(
        &self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Error> {
        self.text(name)
            .map(|value| {
                value.parse().map_err(|error| {
                    Error::configuration(format!(
                        "{PREFIX}{name} is `{value}`, not {what}: {error}"
                    ))
                })
            })
            .transpose()
    }

    /// Returns the value of a name as a duration, such as `250ms`.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the variable and its value.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let parsed: Option<humantime::Duration> =
            self.parsed(name, "a duration such as `250ms`")?;
        Ok(parsed.map(Into::into))
    }

    /// Names the variable in an error about its value.
    #[must_use]
    pub fn setting_error(name: &str, error: &Error) -> Error {
        let error = error.clone().in_full();
        error.from_setting(format!("{PREFIX}{name}"))
    }

    /// Checks that every variable is known: a misspelled name would be ignored silently.
    pub(super) fn check_names(&self, tiers: &[&EnvTier]) -> Result<(), Error> {
        let known: Vec<&str> = OWN
            .iter()
            .chain(tiers.iter().flat_map(|tier| tier.names))
            .copied()
            .collect();
        if let Some(name) = self.unreadable.first() {
            return Err(Error::configuration(format!(
                "value of {PREFIX}{name} is not UTF-8"
            )));
        }
        let names = self.values.iter().map(|(name, _)| &**name);
        let unknown: Vec<&str> = names.filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let with_prefix = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("{PREFIX}{name}")).collect();
            names.join(", ")
        };
        let mut missing = Vec::new();
        if tiers.is_empty() {
            missing.push("`redis`");
        }
        if cfg!(not(feature = "toml")) {
            missing.push("`toml`");
        }
        let others = match &missing[..] {
            [] => String::new(),
            missing => format!("; others need the feature {}", missing.join(" or ")),
        };
        let similar: Vec<&str> = unknown
            .iter()
            .filter_map(|name| nearest(name, &known))
            .collect();
        let similar = match &similar[..] {
            [] => String::new(),
            similar => format!("did you mean {}? ", with_prefix(similar)),
        };
        let problem = format!("unknown setting {}", with_prefix(&unknown));
        let help = format!("{similar}the settings are {}{others}", with_prefix(&known));
        Err(Error::configuration(problem).with_help(help))
    }
}

/// Returns the known name that differs from `name` in the fewest characters, unless a third of them
/// differs.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|known| (distance(name, known), *known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.len()).then_some(nearest)
}

/// Returns the number of bytes to insert, remove or replace to turn one name into the other
/// (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.bytes().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, with) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != with);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_name_has_a_suggestion() {
        let known = ["REDIS_URL", "REDIS_USER", "REDIS_SHARDS", "CODEC"];
        for (name, expected) in [
            ("REDIS_USERNAME", Some("REDIS_USER")),
            ("REDIS_SHARD", Some("REDIS_SHARDS")),
            ("KODEC", Some("CODEC")),
            ("ELSEWHERE", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }
}
