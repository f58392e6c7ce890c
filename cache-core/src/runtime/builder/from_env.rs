//! Settings of a runtime from environment variables.

use super::RuntimeBuilder;
use super::environment::{EnvTier, Environment, PREFIX};
use super::problems::Problems;
use crate::error::Error;
use crate::function::overrides::line;
use crate::level::Level;
use crate::setting::Setting;
use crate::tier::config::TierConfig;
use crate::tier::memory::{Engine, Memory};

impl RuntimeBuilder {
    /// Reads settings of memory, of functions and of Redis from the environment. Each variable that
    /// is set replaces the setting that the program made before. If there is no memory, one with
    /// the defaults is added. A tier that the program and the environment both set is an error.
    ///
    /// | name | value |
    /// | --- | --- |
    /// | `MULTI_TIER_CACHED_L1_ENGINE` | `moka` (default) or `quick_cache` |
    /// | `MULTI_TIER_CACHED_L1_MAX_ENTRIES` | a number; default 10,000 |
    /// | `MULTI_TIER_CACHED_L1_MAX_BYTES` | a number of bytes; not together with the entries |
    /// | `MULTI_TIER_CACHED_CODEC` | `postcard` (default), `bincode`, `msgpack`, `json` or your own |
    /// | `MULTI_TIER_CACHED_WHEN_ISOLATED` | `serve` (default) or `load` |
    /// | `MULTI_TIER_CACHED_BACKGROUND_LOADS` | a number from 1 to 4096; default 64 |
    /// | `MULTI_TIER_CACHED_FUNCTIONS` | overrides of ttl, tiers and other times: `users::by_id ttl=30s tiers=l1,l2; orders::open soft_timeout=off` |
    /// | `MULTI_TIER_CACHED_FUNCTIONS_FILE` | a TOML file with overrides (feature `toml`); those of `MULTI_TIER_CACHED_FUNCTIONS` take precedence |
    /// | `MULTI_TIER_CACHED_REDIS_URL` | `redis://…`; not set: no `l2` |
    /// | `MULTI_TIER_CACHED_REDIS_NAMESPACE` | default `cache` |
    /// | `MULTI_TIER_CACHED_REDIS_TIME_LIMIT` | a duration; default `250ms` |
    /// | `MULTI_TIER_CACHED_REDIS_STALENESS_BOUND` | a duration; default `500ms` |
    /// | `MULTI_TIER_CACHED_REDIS_LEASE_TIME` | a duration; default `2s` |
    /// | `MULTI_TIER_CACHED_REDIS_JOURNAL_FILE` | a path; not set: none |
    /// | `MULTI_TIER_CACHED_REDIS_REQUIRED` | `true`: `install` fails without the server |
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming each variable that cannot be
    /// parsed, that excludes another one, or whose name has this prefix and is unknown.
    pub fn from_env(self) -> Result<Self, Error> {
        self.with_environment(&Environment::of_process())
    }

    /// Logs a warning about variables that this builder does not read: the operator who set them
    /// expects an effect.
    pub(super) fn warn_of_unused_environment(&self) {
        if self.asks_environment {
            return;
        }
        let names = Environment::of_process().names();
        if !names.is_empty() {
            tracing::warn!(
                target: "multi_tier_cached::runtime",
                variables = names.join(", "),
                "settings in the environment are ignored: `CacheRuntime::builder()` does not read \
                 them; call `from_env()` on it, or begin with `CacheRuntime::from_env()`"
            );
        }
    }

    pub(super) fn with_environment(mut self, env: &Environment) -> Result<Self, Error> {
        let tiers: Vec<&EnvTier> = inventory::iter::<EnvTier>.into_iter().collect();
        let mut problems = Problems::default();
        self.asks_environment = true;
        problems.note(env.check_names(&tiers));
        self.read_memory(env, &mut problems);
        self.read_defaults(env, &mut problems);
        self.read_overrides(env, &mut problems);
        for tier in tiers {
            if let Some(built) = problems.note((tier.build)(env)).flatten() {
                let variable = variable(tier.names.first().copied().unwrap_or_default());
                // The settings that the program made for its own tier would be lost.
                if self
                    .lower
                    .iter()
                    .any(|(config, _)| config.level() == tier.level)
                {
                    problems.add(Error::configuration(format!(
                        "{} is set by {variable} and by the program",
                        tier.level
                    )));
                    continue;
                }
                self.variables.push((tier.level, variable));
                self = self.lower(TierConfig::new(tier.level), built);
            }
        }
        problems.into_result()?;
        Ok(self)
    }

    fn read_defaults(&mut self, env: &Environment, problems: &mut Problems) {
        if let Some(codec) = env.text("CODEC") {
            let codec = Setting::from_origin(codec.to_owned(), variable("CODEC"));
            self.default_codec = Some(codec);
        }
        let when_isolated = env.parsed("WHEN_ISOLATED", "`serve` or `load`");
        if let Some(value) = problems.note(when_isolated).flatten() {
            self.when_isolated = Some(Setting::from_origin(value, variable("WHEN_ISOLATED")));
        }
        let loads = env.parsed("BACKGROUND_LOADS", "a number of loads, such as `64`");
        if let Some(value) = problems.note(loads).flatten() {
            let loads = Setting::from_origin(value, variable("BACKGROUND_LOADS"));
            self.background_loads = Some(loads);
        }
    }

    /// Reads the file first, so that the line replaces its settings.
    fn read_overrides(&mut self, env: &Environment, problems: &mut Problems) {
        #[cfg(feature = "toml")]
        if let Some(path) = env.text("FUNCTIONS_FILE") {
            let origin = format!("`{path}` ({})", variable("FUNCTIONS_FILE"));
            self.read_functions(path.as_ref(), &origin);
        }
        if let Some(text) = env.text("FUNCTIONS") {
            let overrides = line::parse(text, &variable("FUNCTIONS"))
                .map_err(|error| Environment::setting_error("FUNCTIONS", &error));
            for (name, settings) in problems.note(overrides).unwrap_or_default() {
                self.overrides.add(name, settings);
            }
        }
    }

    /// Reads the settings of memory. Those that are not in the environment stay as the program made
    /// them.
    fn read_memory(&mut self, env: &Environment, problems: &mut Problems) {
        let engine = env.parsed::<Engine>("L1_ENGINE", "a memory engine");
        let engine = problems.note(engine).flatten();
        let entries = "a number of entries, such as `10000`";
        let entries = problems.note(capacity(env, "L1_MAX_ENTRIES", entries));
        let bytes = "a number of bytes, such as `268435456`";
        let bytes = problems.note(capacity(env, "L1_MAX_BYTES", bytes));
        let (entries, bytes) = (entries.flatten(), bytes.flatten());
        if entries.is_some() && bytes.is_some() {
            problems.add(Error::configuration(format!(
                "{PREFIX}L1_MAX_ENTRIES and {PREFIX}L1_MAX_BYTES are both set: only one of them \
                 can be"
            )));
            return;
        }
        let names = [
            ("L1_ENGINE", engine.is_some()),
            ("L1_MAX_ENTRIES", entries.is_some()),
            ("L1_MAX_BYTES", bytes.is_some()),
        ];
        let first = names.into_iter().find(|(_, is_set)| *is_set);
        self.memory_is_default = self.memory.is_none() && first.is_none();
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
        self.variables
            .extend(first.map(|(name, _)| (Level::L1, variable(name))));
    }

    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Error> {
        Self::new().with_environment(&Environment::of(pairs))
    }
}

/// Returns the full name of a variable.
fn variable(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Returns a capacity of memory, if it is set.
///
/// # Errors
/// The value is not a number, or zero.
fn capacity(env: &Environment, name: &str, what: &str) -> Result<Option<u64>, Error> {
    match env.parsed::<u64>(name, what)? {
        Some(0) => Err(Error::configuration(format!(
            "{PREFIX}{name} is 0: nothing would be kept"
        ))),
        number => Ok(number),
    }
}
