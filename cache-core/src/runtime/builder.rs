//! Settings of a runtime.

mod assemble;
mod environment;
mod from_env;
mod install;
mod into_tier;
mod problems;

use std::borrow::Cow;
#[cfg(feature = "custom-codec")]
use std::sync::Arc;

pub use self::environment::{BuildFromEnv, EnvTier, Environment};
pub use self::into_tier::{BoxedTier, IntoTier};
use crate::clock::{Clock, ManualClock};
#[cfg(feature = "custom-codec")]
use crate::codec::Codec;
use crate::error::Error;
use crate::function::options::WhenIsolated;
use crate::function::overrides::Overrides;
use crate::function::ttl::Ttl;
use crate::level::Level;
use crate::metrics::MetricsDetail;
use crate::runtime::CacheRuntime;
use crate::setting::Setting;
use crate::tier::TierBuilder;
use crate::tier::config::TierConfig;
use crate::tier::memory::Memory;

impl CacheRuntime {
    /// Begins to build a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// Begins to build a runtime from the environment; see [`RuntimeBuilder::from_env`] for the
    /// names.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration), naming every variable that cannot be
    /// used.
    pub fn from_env() -> Result<RuntimeBuilder, Error> {
        RuntimeBuilder::new().from_env()
    }
}

/// Builds a [`CacheRuntime`]: at least one tier, and the settings that functions share.
#[derive(Debug)]
#[must_use = "a runtime is built by `install` or `build`"]
pub struct RuntimeBuilder {
    memory: Option<(TierConfig, Memory)>,
    /// `true` if `from_env` added the memory without a variable about it. The program can replace
    /// it.
    memory_is_default: bool,
    lower: Vec<(TierConfig, Box<dyn TierBuilder>)>,
    /// Environment variables that added tiers.
    variables: Vec<(Level, String)>,
    /// `true` after `from_env`. The program may then have settings for tiers that another
    /// environment adds.
    asks_environment: bool,
    #[cfg(feature = "custom-codec")]
    codecs: Vec<Arc<dyn Codec>>,
    default_codec: Option<Setting<String>>,
    when_isolated: Option<Setting<WhenIsolated>>,
    background_loads: Option<Setting<usize>>,
    metrics_detail: Option<Setting<MetricsDetail>>,
    policies: Vec<(Cow<'static, str>, Ttl)>,
    /// Policies from files, which replace those of the program.
    policies_of_operators: Vec<(Cow<'static, str>, Ttl)>,
    overrides: Overrides,
    keys_in_traces: bool,
    clock: Clock,
    /// Errors of the setters. `build` and `install` report them with all others.
    problems: Vec<Error>,
}

impl RuntimeBuilder {
    pub(crate) fn new() -> Self {
        Self {
            memory: None,
            memory_is_default: false,
            lower: Vec::new(),
            variables: Vec::new(),
            asks_environment: false,
            #[cfg(feature = "custom-codec")]
            codecs: Vec::new(),
            default_codec: None,
            when_isolated: None,
            background_loads: None,
            metrics_detail: None,
            policies: Vec::new(),
            policies_of_operators: Vec::new(),
            overrides: Overrides::default(),
            keys_in_traces: false,
            clock: Clock::System,
            problems: Vec::new(),
        }
    }

    /// Adds the memory of this process as `l1`.
    pub fn l1(self, memory: Memory) -> Self {
        self.tier(memory, TierConfig::as_l1())
    }

    /// Adds a shared tier as `l2`, such as `Redis::new("redis://…")`.
    pub fn l2(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l2())
    }

    /// Adds a tier as `l3`. Its values live twice the ttl of their functions.
    pub fn l3(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l3())
    }

    /// Adds a tier as `l4`. Its values live eight times the ttl of their functions.
    pub fn l4(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l4())
    }

    /// Adds a tier, or [`Memory`], with the level and the settings of `config`. Tiers are read in
    /// the order of their levels, not in the order in which they are added.
    pub fn tier(self, tier: impl IntoTier, config: TierConfig) -> Self {
        match tier.into_tier() {
            BoxedTier::Memory(memory) => self.memory(memory, config),
            BoxedTier::Store(tier) => self.lower(config, tier),
        }
    }

    fn memory(mut self, memory: Memory, config: TierConfig) -> Self {
        if config.level() != Level::L1 {
            self.problems.push(Error::configuration(format!(
                "memory is configured as {}: it must be l1",
                config.level()
            )));
            return self;
        }
        let replaced = self.memory.replace((config, memory)).is_some();
        if replaced && !std::mem::take(&mut self.memory_is_default) {
            self.add_level_set_twice(Level::L1);
        }
        self.check(config)
    }

    pub(crate) fn lower(mut self, config: TierConfig, tier: Box<dyn TierBuilder>) -> Self {
        let level = config.level();
        if level == Level::L1 {
            self.problems.push(Error::configuration(
                "a tier of records is configured as l1: only memory can be l1",
            ));
        }
        if self.lower.iter().any(|(known, _)| known.level() == level) {
            self.add_level_set_twice(level);
        }
        self.lower.push((config, tier));
        self.check(config)
    }

    fn add_level_set_twice(&mut self, level: Level) {
        let variable = self.variables.iter().find(|(known, _)| *known == level);
        let earlier = Setting {
            value: (),
            origin: variable.map(|(_, variable)| variable.clone()),
        };
        self.add_set_twice(&level.to_string(), &earlier);
    }

    /// Adds the error that a setting is set twice: the first value would have no effect.
    fn add_set_twice<T>(&mut self, setting: &str, earlier: &Setting<T>) {
        let error = Error::configuration(format!("{setting} is set twice"));
        self.problems.push(earlier.in_error(error));
    }

    fn check(mut self, config: TierConfig) -> Self {
        self.problems.extend(config.check().err());
        self
    }

    /// Adds a codec of the application, which functions name by `codec = "…"`.
    #[cfg(feature = "custom-codec")]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codecs.push(Arc::new(codec));
        self
    }

    /// Sets the codec of functions that name none. Default: `postcard`, which is compact and fast,
    /// and has a specified and stable wire format. It is an error if the runtime has memory alone,
    /// which stores no bytes; after [`from_env`](Self::from_env) it is not, because another
    /// environment may add tiers.
    pub fn default_codec(mut self, name: impl Into<String>) -> Self {
        let setting = Setting::by_program(name.into());
        if let Some(earlier) = self.default_codec.replace(setting) {
            self.add_set_twice("the default codec", &earlier);
        }
        self
    }

    /// Sets the behavior of functions that do not set it themselves, while this instance cannot
    /// learn of invalidations by other instances. Default: [`WhenIsolated::Serve`]. It is an error
    /// if no tier is shared, because the instance is then never isolated; after
    /// [`from_env`](Self::from_env) it is not, because another environment may add tiers.
    pub fn when_isolated(mut self, when_isolated: WhenIsolated) -> Self {
        let setting = Setting::by_program(when_isolated);
        if let Some(earlier) = self.when_isolated.replace(setting) {
            self.add_set_twice("`when_isolated`", &earlier);
        }
        self
    }

    /// Sets how many loads run in the background at the same time, from 1 to 4096: loads whose
    /// callers were answered by a stale value or by a timeout. Further ones wait, 1,024 at most;
    /// beyond that none is begun.
    ///
    /// Each such load uses what a body uses, such as a connection to the database. Default: 64. It
    /// is more than the connections that a process usually has to one database, so the pool of
    /// connections limits the loads and this does not. It is also few enough that loads that hang,
    /// each of which stays until its `load_limit`, do not fill the memory.
    pub fn background_loads(mut self, loads: usize) -> Self {
        let setting = Setting::by_program(loads);
        if let Some(earlier) = self.background_loads.replace(setting) {
            self.add_set_twice("`background_loads`", &earlier);
        }
        self
    }

    /// Sets whether [samples](CacheRuntime::samples) tell functions apart. Default:
    /// [`MetricsDetail::Functions`]. The other choice is for programs whose functions are so many
    /// that a time series for each counter of each of them costs too much.
    /// [Statistics](CacheRuntime::stats) always tell them apart.
    pub fn metrics_detail(mut self, detail: MetricsDetail) -> Self {
        let setting = Setting::by_program(detail);
        if let Some(earlier) = self.metrics_detail.replace(setting) {
            self.add_set_twice("`metrics_detail`", &earlier);
        }
        self
    }

    /// Adds a named time to live that many functions share, for `policy = "…"` in attributes and
    /// [`Ttl::policy`]. It replaces a [built-in policy](Ttl::policy) of the same name. A name that
    /// is used twice is an error.
    pub fn policy(mut self, name: impl Into<Cow<'static, str>>, ttl: impl Into<Ttl>) -> Self {
        let (name, ttl) = (name.into(), ttl.into());
        if self.policies.iter().any(|(known, _)| *known == name) {
            let problem = format!("policy `{name}` is set twice");
            self.problems.push(Error::configuration(problem));
        }
        self.problems.extend(check_policy(&name, ttl).err());
        self.policies.push((name, ttl));
        self
    }

    /// Reads policies, and the ttl, the tiers and the other times of functions, from a file. They
    /// replace those of the code; a time besides the ttl only if the code has that option.
    /// [`install`](Self::install) checks them, because it knows the functions.
    ///
    /// ```toml
    /// [policies]
    /// orders = "90s"
    ///
    /// [functions."users::by_id"]
    /// ttl = { l1 = "10s", l2 = "1h" }     # or one for all tiers: "30s"
    /// tiers = "l1,l2"
    ///
    /// [functions."orders::open"]
    /// policy = "orders"
    /// stale_if_error = "12h"
    /// soft_timeout = "off"
    /// ```
    ///
    /// The name of a function is its `name = "…"`, or its path, as `registered_functions` and
    /// errors show it. The name of a generic function means all its instances, and the path of
    /// methods means all methods of that path. Settings that the file does not have stay as the
    /// code has them. Later files and the environment replace single settings of earlier ones.
    ///
    /// A function that [`Function::builder`](crate::Function::builder) builds at run time can have
    /// settings too. Build it before `install`, which otherwise reports it as unknown.
    #[cfg(feature = "toml")]
    pub fn functions_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        let path = path.as_ref();
        self.read_functions(path, &format!("`{}`", path.display()));
        self
    }

    /// Reads a file. Errors call it `origin`.
    #[cfg(feature = "toml")]
    fn read_functions(&mut self, path: &std::path::Path, origin: &str) {
        let file = crate::function::overrides::file::read(path, origin);
        self.problems.extend(file.problems);
        for (name, ttl) in file.policies {
            let problem = check_policy(&name, ttl).err();
            self.problems
                .extend(problem.map(|error| error.from_setting(origin)));
            self.policies_of_operators.push((name.into(), ttl));
        }
        for (name, settings) in file.functions {
            self.overrides.add(name, settings);
        }
    }

    /// Has the spans of calls name their keys, in the field `cache.key`. Default: `false`, because
    /// the arguments of a call may be data that must not leave the process, such as a name or a
    /// token. A key is written as shared tiers show it: `42,tea`.
    pub fn keys_in_traces(mut self, keys_in_traces: bool) -> Self {
        self.keys_in_traces = keys_in_traces;
        self
    }

    /// Sets a clock that a test moves, by which entries in memory expire.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }
}

/// Checks that a ttl can be a policy.
fn check_policy(name: &str, ttl: Ttl) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::configuration("a policy has no name"));
    }
    if ttl.is_policy() {
        let problem = format!("policy `{name}` is the name of another policy: it must be a time");
        return Err(Error::configuration(problem));
    }
    let context = format!("policy `{name}`");
    ttl.check().map_err(|error| error.in_context(context))
}

#[cfg(test)]
mod tests;
