//! Settings from the environment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::assemble::all_of;
use super::{RuntimeBuilder, Setting};
use crate::error::Error;
use crate::function::overrides;
use crate::level::Level;
use crate::tier::TierBuilder;
use crate::tier::config::TierConfig;
use crate::tier::memory::{Engine, Memory};

/// What all names begin with.
const PREFIX: &str = "MULTI_TIER_CACHED_";

/// Names without the prefix that this crate reads itself.
const OWN: &[&str] = &[
    "L1_ENGINE",
    "L1_MAX_ENTRIES",
    "L1_MAX_BYTES",
    "CODEC",
    "WHEN_ISOLATED",
    "FUNCTIONS",
    #[cfg(feature = "toml")]
    "FUNCTIONS_FILE",
];

/// A tier that can be set up from the environment; crates of tiers register theirs.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "registered as a constant by the crates of tiers"
)]
pub struct EnvTier {
    /// The names it reads, without the prefix.
    pub names: &'static [&'static str],
    /// The level it takes.
    pub level: Level,
    /// Builds it; `None` where the environment does not ask for it.
    pub build: BuildFromEnv,
}

/// Builds a tier where the environment asks for one.
pub type BuildFromEnv = fn(&Environment) -> Result<Option<Box<dyn TierBuilder>>, Error>;

inventory::collect!(EnvTier);

/// The variables whose names begin with `MULTI_TIER_CACHED_`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    values: Vec<(String, String)>,
    /// Names of values that are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    fn of_process() -> Self {
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

    /// These names, without the prefix, and values: for tests of what reads them.
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

    /// The full names of the variables that are set.
    fn names(&self) -> Vec<String> {
        let is_set = |(_, value): &&(String, String)| !value.is_empty();
        let names = self.values.iter().filter(is_set).map(|(name, _)| name);
        let mut names: Vec<_> = names
            .chain(&self.unreadable)
            .map(|name| format!("{PREFIX}{name}"))
            .collect();
        names.sort_unstable();
        names
    }

    /// The value of a name, given without the prefix. An empty one counts as not set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// The value of a name as another type.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the variable, its value and what would do.
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

    /// The value of a name as a duration, such as `250ms`.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the variable and its value.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let parsed: Option<humantime::Duration> =
            self.parsed(name, "a duration such as `250ms`")?;
        Ok(parsed.map(Into::into))
    }

    /// An error of what a variable's value came to, naming the variable.
    #[must_use]
    pub fn setting_error(name: &str, error: &Error) -> Error {
        let error = error.clone().in_full();
        error.from_setting(format!("{PREFIX}{name}"))
    }

    /// A misspelt name would be a setting that is silently ignored.
    fn check_names(&self, tiers: &[&EnvTier]) -> Result<(), Error> {
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
        let problem = format!("unknown setting {}", with_prefix(&unknown));
        let help = format!("the settings are {}{others}", with_prefix(&known));
        Err(Error::configuration(problem).with_help(help))
    }
}

/// All that is wrong with the variables.
#[derive(Debug, Default)]
struct Problems(Vec<Error>);

impl Problems {
    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.0.push(error.in_full())).ok()
    }
}

impl RuntimeBuilder {
    /// Takes settings of memory, of functions and of Redis from the environment: those that are set there
    /// replace those made before, one by one. A memory with the defaults is added where there is none. A tier that the program has at the level of one from the environment is an error.
    ///
    /// | name | value |
    /// | --- | --- |
    /// | `MULTI_TIER_CACHED_L1_ENGINE` | `moka` (default) or `quick_cache` |
    /// | `MULTI_TIER_CACHED_L1_MAX_ENTRIES` | a number; default 10,000 |
    /// | `MULTI_TIER_CACHED_L1_MAX_BYTES` | a number of bytes; not together with the entries |
    /// | `MULTI_TIER_CACHED_CODEC` | `postcard` (default), `bincode`, `msgpack`, `json` or your own |
    /// | `MULTI_TIER_CACHED_WHEN_ISOLATED` | `serve` (default) or `load` |
    /// | `MULTI_TIER_CACHED_FUNCTIONS` | times and tiers in place of what functions say: `users::by_id ttl=30s tiers=l1,l2; orders::open policy=short` |
    /// | `MULTI_TIER_CACHED_FUNCTIONS_FILE` | a TOML file that says the same (feature `toml`); what `MULTI_TIER_CACHED_FUNCTIONS` says goes before |
    /// | `MULTI_TIER_CACHED_REDIS_URL` | `redis://…`; not set: no `l2` |
    /// | `MULTI_TIER_CACHED_REDIS_NAMESPACE` | default `cache` |
    /// | `MULTI_TIER_CACHED_REDIS_TIME_LIMIT` | a duration; default `250ms` |
    /// | `MULTI_TIER_CACHED_REDIS_STALENESS_BOUND` | a duration; default `500ms` |
    /// | `MULTI_TIER_CACHED_REDIS_LEASE_TIME` | a duration; default `2s` |
    /// | `MULTI_TIER_CACHED_REDIS_JOURNAL_FILE` | a path; not set: none |
    /// | `MULTI_TIER_CACHED_REDIS_REQUIRED` | `true`: `install` fails without the server |
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the variable: a value that cannot be read, two that
    /// exclude each other, a name with this prefix that means nothing.
    pub fn from_env(self) -> Result<Self, Error> {
        self.with_environment(&Environment::of_process())
    }

    /// Warns of variables that this builder does not read: whoever set them expects an effect.
    pub(super) fn warn_of_unused_environment(&self) {
        if self.asks_environment {
            return;
        }
        let names = Environment::of_process().names();
        if !names.is_empty() {
            tracing::warn!(
                variables = names.join(", "),
                "settings in the environment are ignored: `CacheRuntime::builder()` does not read them; call `from_env()` on \
                 it, or begin with `CacheRuntime::from_env()`"
            );
        }
    }

    pub(crate) fn with_environment(mut self, env: &Environment) -> Result<Self, Error> {
        let tiers: Vec<&EnvTier> = inventory::iter::<EnvTier>.into_iter().collect();
        let mut problems = Problems::default();
        self.asks_environment = true;
        problems.note(env.check_names(&tiers));
        self.memory_of(env, &mut problems);
        if let Some(codec) = env.text("CODEC") {
            self.default_codec = Some(Setting {
                value: codec.to_owned(),
                variable: Some(format!("{PREFIX}CODEC")),
            });
        }
        let when_isolated = env.parsed("WHEN_ISOLATED", "`serve` or `load`");
        if let Some(value) = problems.note(when_isolated).flatten() {
            self.when_isolated = Some(Setting {
                value,
                variable: Some(format!("{PREFIX}WHEN_ISOLATED")),
            });
        }
        #[cfg(feature = "toml")]
        if let Some(path) = env.text("FUNCTIONS_FILE") {
            let source = format!("`{path}` ({PREFIX}FUNCTIONS_FILE)");
            self.read_functions(path.as_ref(), &source);
        }
        if let Some(text) = env.text("FUNCTIONS") {
            let said = overrides::parse(text, &format!("{PREFIX}FUNCTIONS"))
                .map_err(|error| Environment::setting_error("FUNCTIONS", &error));
            for (name, said) in problems.note(said).unwrap_or_default() {
                self.overrides.set(name, said);
            }
        }
        for tier in tiers {
            let Some(built) = problems.note((tier.build)(env)).flatten() else {
                continue;
            };
            let variable = format!(
                "{PREFIX}{}",
                tier.names.first().copied().unwrap_or_default()
            );
            // What the program says of the one must not be lost with it.
            let has_it = |(known, _): &(TierConfig, _)| known.level() == tier.level;
            if self.lower.iter().any(has_it) {
                problems.note::<()>(Err(Error::configuration(format!(
                    "{} is set by {variable} and by the program",
                    tier.level
                ))));
                continue;
            }
            self.variables.push((tier.level, variable));
            self = self.lower(TierConfig::new(tier.level), built);
        }
        match problems.0.is_empty() {
            true => Ok(self),
            false => Err(all_of(problems.0)),
        }
    }

    fn memory_of(&mut self, env: &Environment, problems: &mut Problems) {
        let engine: Option<Engine> = problems
            .note(env.parsed("L1_ENGINE", "a memory engine"))
            .flatten();
        let number = |name, what| {
            let number = env.parsed::<u64>(name, what)?;
            match number {
                Some(0) => Err(Error::configuration(format!(
                    "{PREFIX}{name} is 0: nothing would be kept"
                ))),
                number => Ok(number),
            }
        };
        let entries = number("L1_MAX_ENTRIES", "a number of entries, such as `10000`");
        let entries = problems.note(entries).flatten();
        let bytes = number("L1_MAX_BYTES", "a number of bytes, such as `268435456`");
        let bytes = problems.note(bytes).flatten();
        if entries.is_some() && bytes.is_some() {
            problems.note::<()>(Err(Error::configuration(format!(
                "{PREFIX}L1_MAX_ENTRIES and {PREFIX}L1_MAX_BYTES are both set: only one of them can be"
            ))));
            return;
        }
        let said = [
            ("L1_ENGINE", engine.is_some()),
            ("L1_MAX_ENTRIES", entries.is_some()),
            ("L1_MAX_BYTES", bytes.is_some()),
        ];
        let said = said.into_iter().find(|(_, is_said)| *is_said);
        self.memory_is_default = self.memory.is_none() && said.is_none();
        let (config, mut memory) = self
            .memory
            .take()
            .unwrap_or_else(|| (TierConfig::as_l1(), Memory::builder()));
        if let Some(engine) = engine {
            memory = memory.engine(engine);
        }
        if entries.is_some() || bytes.is_some() {
            memory = memory.bounded(entries, bytes);
        }
        self.memory = Some((config, memory));
        let variables = said.map(|(name, _)| (Level::L1, format!("{PREFIX}{name}")));
        self.variables.extend(variables);
    }

    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Error> {
        Self::new().with_environment(&Environment::of(pairs))
    }
}
