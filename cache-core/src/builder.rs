//! From settings to a runtime, and all that can be wrong with them.

mod assemble;
mod env;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use self::assemble::check_functions;
pub use self::env::{BuildFromEnv, EnvTier, Environment};
use crate::clock::{Clock, ManualClock};
#[cfg(feature = "custom-codec")]
use crate::codec::Codec;
use crate::definition::Definition;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::level::Level;
use crate::overrides::Overrides;
use crate::policy::{Ttl, WhenIsolated};
use crate::runtime::{CacheRuntime, Registered};
use crate::state::RuntimeState;
use crate::tier::config::TierConfig;
use crate::tier::memory::Memory;
use crate::tier::{Tier, TierBuilder};
use crate::tokio_context::TokioContext;

/// A setting that can be said once, and in its place by the environment.
#[derive(Debug)]
struct Setting<T> {
    value: T,
    /// The variable that said it, if one did.
    variable: Option<String>,
}

impl<T> Setting<T> {
    fn by_code(value: T) -> Self {
        Self {
            value,
            variable: None,
        }
    }

    /// Names the variable in an error about the value.
    fn at_setting(&self, error: Error) -> Error {
        match &self.variable {
            Some(variable) => error.from_setting(&**variable),
            None => error,
        }
    }
}

/// Builds a [`CacheRuntime`]: its tiers, one at least, and its codec.
#[derive(Debug)]
#[must_use = "a runtime is built by `install` or `build`"]
pub struct RuntimeBuilder {
    memory: Option<(TierConfig, Memory)>,
    /// It was put there by the environment, which said nothing of it: what is set later replaces it.
    memory_is_default: bool,
    lower: Vec<(TierConfig, Box<dyn TierBuilder>)>,
    /// The variables that set up tiers.
    variables: Vec<(Level, String)>,
    /// Whether the environment says which tiers there are: the program speaks of those that it may ask for.
    asks_environment: bool,
    #[cfg(feature = "custom-codec")]
    codecs: Vec<Arc<dyn Codec>>,
    default_codec: Option<Setting<String>>,
    when_isolated: Option<Setting<WhenIsolated>>,
    policies: Vec<(Cow<'static, str>, Ttl)>,
    /// From files, in the place of those.
    policies_of_operators: Vec<(Cow<'static, str>, Ttl)>,
    overrides: Overrides,
    clock: Clock,
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
            policies: Vec::new(),
            policies_of_operators: Vec::new(),
            overrides: Overrides::default(),
            clock: Clock::System,
            problems: Vec::new(),
        }
    }

    /// The memory of this process as `l1`.
    pub fn l1(self, memory: Memory) -> Self {
        self.tier(memory, TierConfig::as_l1())
    }

    /// A shared tier as `l2`, such as `Redis::new("redis://…")`.
    pub fn l2(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l2())
    }

    /// A tier as `l3`, where values live twice as long as their functions say.
    pub fn l3(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l3())
    }

    /// A tier as `l4`, where values live eight times as long as their functions say.
    pub fn l4(self, tier: impl TierBuilder + 'static) -> Self {
        self.tier(tier, TierConfig::as_l4())
    }

    /// Any tier, [`Memory`] too, at the place and with the settings of `config`. In whatever order tiers are added, they are
    /// asked by their levels.
    pub fn tier(self, tier: impl IntoTier, config: TierConfig) -> Self {
        match tier.into_tier() {
            BoxedTier::Memory(memory) => self.memory(memory, config),
            BoxedTier::TierBinding(tier) => self.lower(config, tier),
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
            self.level_is_set_already(Level::L1);
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
            self.level_is_set_already(level);
        }
        self.lower.push((config, tier));
        self.check(config)
    }

    fn level_is_set_already(&mut self, level: Level) {
        let by = self.variables.iter().find(|(known, _)| *known == level);
        let by = by.map(|(_, variable)| variable.clone());
        self.is_set_already(&level.to_string(), by.as_deref());
    }

    /// What is set a second time would be lost.
    fn is_set_already(&mut self, what: &str, variable: Option<&str>) {
        let error = Error::configuration(format!("{what} is set twice"));
        self.problems.push(match variable {
            Some(variable) => error.from_setting(variable),
            None => error,
        });
    }

    fn check(mut self, config: TierConfig) -> Self {
        self.problems.extend(config.check().err());
        self
    }

    /// Adds a codec of your own, to be named by `codec = "…"`.
    #[cfg(feature = "custom-codec")]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codecs.push(Arc::new(codec));
        self
    }

    /// The codec of functions that name none. Default: `postcard`, compact and fast, with a wire format that is
    /// specified and stable. An error where there is memory alone, where nothing is written; not
    /// with [`from_env`](Self::from_env), which may add tiers elsewhere.
    pub fn default_codec(mut self, name: impl Into<String>) -> Self {
        let twice = self.default_codec.replace(Setting::by_code(name.into()));
        if let Some(before) = twice {
            self.is_set_already("the default codec", before.variable.as_deref());
        }
        self
    }

    /// What functions do while this instance cannot know what others have invalidated, where they do not say it themselves.
    /// Default: [`WhenIsolated::Serve`]. An error where no tier is shared, so that nobody is isolated; not with
    /// [`from_env`](Self::from_env), which may add tiers elsewhere.
    pub fn when_isolated(mut self, when_isolated: WhenIsolated) -> Self {
        let twice = self.when_isolated.replace(Setting::by_code(when_isolated));
        if let Some(before) = twice {
            self.is_set_already("`when_isolated`", before.variable.as_deref());
        }
        self
    }

    /// Gives a time to live a name, for `policy = "…"` in attributes and [`Ttl::policy`]: one place for what many functions share.
    /// A name of those that are [there already](Ttl::policy) is given another time; one that is given twice is an error.
    pub fn policy(mut self, name: impl Into<Cow<'static, str>>, ttl: impl Into<Ttl>) -> Self {
        let (name, ttl) = (name.into(), ttl.into());
        if self.policies.iter().any(|(known, _)| *known == name) {
            let twice = format!("policy `{name}` is set twice");
            self.problems.push(Error::configuration(twice));
        }
        self.problems.extend(check_policy(&name, ttl).err());
        self.policies.push((name, ttl));
        self
    }

    /// Takes times to live and tiers of functions from a file, in the place of what their attributes say, and policies; checked by
    /// [`install`](Self::install), which knows the functions.
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
    /// ```
    ///
    /// A function has the name of its `name = "…"`, or its path as `registered_functions` and errors show it; generic ones, and methods
    /// of one name in one module, are meant with all their types. What is not said
    /// stays as the function says it. A policy of the program has the file's time instead. What is said later, by another file or
    /// by the environment, goes before: of what they do not speak, what was said earlier holds.
    ///
    /// A function that is made at run time, by [`Function::builder`](crate::Function::builder), is meant too. It is to be made before
    /// `install`, which else does not find it.
    #[cfg(feature = "toml")]
    pub fn functions_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        let path = path.as_ref();
        self.read_functions(path, &format!("`{}`", path.display()));
        self
    }

    /// The same of a file that is named so in errors.
    #[cfg(feature = "toml")]
    fn read_functions(&mut self, path: &std::path::Path, source: &str) {
        let said = crate::overrides::file::read(path, source);
        self.problems.extend(said.problems);
        for (name, ttl) in said.policies {
            let wrong = check_policy(&name, ttl).err();
            self.problems
                .extend(wrong.map(|error| error.from_setting(source)));
            self.policies_of_operators.push((name.into(), ttl));
        }
        for (name, said) in said.functions {
            self.overrides.set(name, said);
        }
    }

    /// Lets entries in memory age by a clock that a test moves.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// Builds a runtime without installing it, for [`CacheRuntime::scope`]. Checks what [`install`](Self::install)
    /// checks of the settings, not the functions of the program.
    ///
    /// If variables such as `MULTI_TIER_CACHED_REDIS_URL` are set, and this builder did not go through
    /// [`from_env`](Self::from_env), a warning in the log names them.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration), naming every setting that cannot be used, and what a tier that is
    /// `required` says of its server.
    ///
    /// # Cancel safety
    /// Cancel safe. Dropped, tiers that had started end as those of a process that is killed: object storage is free for another
    /// after 30 seconds, and begins anew.
    pub async fn build(self) -> Result<CacheRuntime, Error> {
        self.warn_of_unused_environment();
        let state = self.into_stack()?;
        start(&state).await.map_err(Error::in_full)?;
        Ok(CacheRuntime::new(state))
    }

    /// Builds a runtime and makes it the one of this process. Once, in `main`.
    ///
    /// Checks every annotated function of the program against it, and those that were built by
    /// [`Function::builder`](crate::Function::builder) by now, outside of [`CacheRuntime::scope`]; what is built later is checked when it
    /// is built.
    ///
    /// # Errors
    /// As [`build`](Self::build), and: [`AlreadyInstalled`](ErrorKind::AlreadyInstalled);
    /// [`MissingTier`](ErrorKind::MissingTier) when a function asks for a tier that is not there;
    /// [`DuplicateFunction`](ErrorKind::DuplicateFunction) when two have one name. They name the functions with file and
    /// line, all at once, as soon as the settings are right.
    ///
    /// # Cancel safety
    /// As [`build`](Self::build); dropped, it installs nothing.
    pub async fn install(self) -> Result<CacheRuntime, Error> {
        self.warn_of_unused_environment();
        let state = self.into_stack()?;
        let made = crate::function::made();
        let mut functions: Vec<&Definition> = Registered::all().collect();
        functions.extend(made.iter().map(|definition| &**definition));
        check_functions(&state, &functions)?;
        if CacheRuntime::installed().is_some() {
            return CacheRuntime::new(state).install();
        }
        start(&state).await.map_err(Error::in_full)?;
        let runtime = CacheRuntime::new(state);
        let installed = runtime.clone().install();
        if installed.is_err() {
            // Another was quicker.
            let _ = runtime.shutdown().await;
        }
        installed
    }
}

/// What can be a tier: [`Memory`], and all that builds one of records.
pub trait IntoTier {
    /// As the one or the other.
    fn into_tier(self) -> BoxedTier;
}

/// A tier that is not built yet.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are these two")]
pub enum BoxedTier {
    /// The memory of this process.
    Memory(Memory),
    /// A store of records.
    TierBinding(Box<dyn TierBuilder>),
}

impl IntoTier for Memory {
    fn into_tier(self) -> BoxedTier {
        BoxedTier::Memory(self)
    }
}

/// One that was chosen when the program runs.
impl IntoTier for BoxedTier {
    fn into_tier(self) -> BoxedTier {
        self
    }
}

impl<T: TierBuilder + 'static> IntoTier for T {
    fn into_tier(self) -> BoxedTier {
        BoxedTier::TierBinding(Box::new(self))
    }
}

/// Ends in order what has started: a store may be handed on to the next only then.
async fn end(started: &[(TierConfig, Arc<dyn Tier>)]) {
    for (_, tier) in started.iter().rev() {
        if let Err(error) = tier.shutdown().await {
            tracing::debug!(kind = tier.settings().kind, error = ?error, "a tier did not end in order");
        }
    }
}

/// # Errors
/// That there is no async runtime for the tiers, or none that can wait for a time.
fn check_async_runtime(state: &RuntimeState) -> Result<(), Error> {
    let Some((config, tier)) = state.lower.first() else {
        return Ok(());
    };
    let (missing, help) = if tokio::runtime::Handle::try_current().is_err() {
        (
            "there is no Tokio runtime here",
            "build the cache inside `#[tokio::main]`, or in a task of the runtime",
        )
    // Tokio offers no other way to find out.
    } else if std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
        (
            "the Tokio runtime has no timers",
            "build it with `enable_all`",
        )
    } else {
        return Ok(());
    };
    let tier = format!("{} ({})", config.level(), tier.settings().kind);
    Err(Error::configuration(format!("{tier} cannot start: {missing}")).with_help(help))
}

async fn start(state: &RuntimeState) -> Result<(), Error> {
    check_async_runtime(state)?;
    if !state.lower.is_empty()
        && let Some(tokio_context) = TokioContext::of_caller()
    {
        state.tokio_context.get_or_init(|| tokio_context);
    }
    for (at, (_, tier)) in state.lower.iter().enumerate() {
        if let Err(error) = tier.start().await {
            end(&state.lower[..at]).await;
            return Err(error);
        }
    }
    if state.lower.len() > 1 {
        state.background.start();
    }
    Ok(())
}

/// Whether a time can be a policy.
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
