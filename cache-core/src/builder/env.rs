//! Settings from the environment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::RuntimeBuilder;
use crate::error::Error;
use crate::level::Level;
use crate::overrides;
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
}

impl Environment {
    fn of_process() -> Self {
        Self {
            values: std::env::vars_os()
                .filter_map(|(name, value)| {
                    let name = name.to_str()?.strip_prefix(PREFIX)?.to_owned();
                    Some((name, value.to_string_lossy().into_owned()))
                })
                .collect(),
        }
    }

    /// These names, without the prefix, and values: for tests of what reads them.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let values = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Self { values }
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
                        "read {PREFIX}{name}=`{value}` as {what}: {error}"
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
    pub fn blame(name: &str, error: &Error) -> Error {
        Error::new(error.kind(), format!("use {PREFIX}{name}: {error}"))
    }

    /// A misspelt name would be a setting that is silently ignored.
    fn check_names(&self, tiers: &[&EnvTier]) -> Result<(), Error> {
        let known: Vec<&str> = OWN
            .iter()
            .chain(tiers.iter().flat_map(|tier| tier.names))
            .copied()
            .collect();
        let names = self.values.iter().map(|(name, _)| &**name);
        let unknown: Vec<String> = names
            .filter(|name| !known.contains(name))
            .map(|name| format!("{PREFIX}{name}"))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = known.iter().map(|name| format!("{PREFIX}{name}")).collect();
        Err(Error::configuration(format!(
            "use {}: the names are {}; others come with their feature (`redis`, `toml`)",
            unknown.join(", "),
            names.join(", ")
        )))
    }
}

impl RuntimeBuilder {
    /// Takes settings of memory, of functions and of Redis from the environment: those that are set there replace those made before, one by one. A memory with the
    /// defaults is added where there is none. A tier that the program has at the level of one from the environment is an error.
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

    pub(crate) fn with_environment(mut self, env: &Environment) -> Result<Self, Error> {
        let tiers: Vec<&EnvTier> = inventory::iter::<EnvTier>.into_iter().collect();
        env.check_names(&tiers)?;
        let engine: Option<Engine> = env.parsed("L1_ENGINE", "a memory engine")?;
        let entries: Option<u64> = env.parsed("L1_MAX_ENTRIES", "a number of entries")?;
        let bytes: Option<u64> = env.parsed("L1_MAX_BYTES", "a number of bytes")?;
        for (name, value) in [("L1_MAX_ENTRIES", entries), ("L1_MAX_BYTES", bytes)] {
            if value == Some(0) {
                return Err(Error::configuration(format!(
                    "use {PREFIX}{name}=0: nothing would be kept"
                )));
            }
        }
        if entries.is_some() && bytes.is_some() {
            return Err(Error::configuration(format!(
                "use {PREFIX}L1_MAX_ENTRIES and {PREFIX}L1_MAX_BYTES together: set one of them"
            )));
        }
        let is_said = engine.is_some() || entries.is_some() || bytes.is_some();
        self.memory_is_default = self.memory.is_none() && !is_said;
        let (config, mut memory) = self
            .memory
            .unwrap_or_else(|| (TierConfig::as_l1(), Memory::builder()));
        if let Some(engine) = engine {
            memory = memory.engine(engine);
        }
        if entries.is_some() || bytes.is_some() {
            memory = memory.bounded(entries, bytes);
        }
        self.memory = Some((config, memory));
        if let Some(codec) = env.text("CODEC") {
            codec.clone_into(&mut self.default_codec);
            self.codec_variable = Some(format!("{PREFIX}CODEC"));
        }
        if let Some(when_isolated) = env.parsed("WHEN_ISOLATED", "`serve` or `load`")? {
            self.when_isolated = when_isolated;
        }
        #[cfg(feature = "toml")]
        if let Some(path) = env.text("FUNCTIONS_FILE") {
            self = self.functions_file(path);
        }
        if let Some(text) = env.text("FUNCTIONS") {
            let variable = format!("{PREFIX}FUNCTIONS");
            let said = overrides::parse(text, &variable)
                .map_err(|error| Environment::blame("FUNCTIONS", &error))?;
            for (name, said) in said {
                self.overrides.set(name, said);
            }
        }
        for tier in tiers {
            if let Some(built) = (tier.build)(env)? {
                // What the program says of the one must not be lost with it.
                if self
                    .lower
                    .iter()
                    .any(|(known, _)| known.level() == tier.level)
                {
                    return Err(Error::configuration(format!(
                        "use {PREFIX}{}: the program has a tier as {} itself",
                        tier.names.first().copied().unwrap_or_default(),
                        tier.level
                    )));
                }
                self = self.lower(TierConfig::new(tier.level), built);
            }
        }
        Ok(self)
    }

    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Error> {
        Self::new().with_environment(&Environment::of(pairs))
    }
}
