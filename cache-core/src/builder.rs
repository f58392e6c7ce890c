//! From settings to a runtime, and all that can be wrong with them.

mod env;

use std::borrow::Cow;
use std::sync::Arc;

pub use self::env::{BuildFromEnv, EnvTier, Environment};
use crate::blocking::Home;
use crate::bound::Resolved;
use crate::clock::{Clock, ManualClock};
use crate::codec::{Codec, Encodings};
use crate::definition::Definition;
use crate::error::{Error, ErrorKind};
use crate::fence::Fences;
use crate::level::Level;
use crate::overrides::Overrides;
use crate::policy::{Policies, Ttl, WhenIsolated};
use crate::runtime::{CacheRuntime, Registered};
use crate::tier::config::TierConfig;
use crate::tier::memory::Memory;
use crate::tier::stack::{Defaults, Stack};
use crate::tier::{Peers, Tier, TierBuilder, TierContext};

/// Builds a [`CacheRuntime`]: its tiers, one at least, and its codec.
#[derive(Debug)]
#[must_use = "a runtime is built by `install` or `build`"]
pub struct RuntimeBuilder {
    memory: Option<(TierConfig, Memory)>,
    /// It was put there by the environment, which said nothing of it: what is set later replaces it.
    memory_is_default: bool,
    lower: Vec<(TierConfig, Box<dyn TierBuilder>)>,
    codecs: Vec<Arc<dyn Codec>>,
    default_codec: String,
    /// The variable that named it, if one did.
    codec_variable: Option<String>,
    when_isolated: WhenIsolated,
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
            codecs: Vec::new(),
            default_codec: "postcard".into(),
            codec_variable: None,
            when_isolated: WhenIsolated::default(),
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
            AnyTier::Memory(memory) => self.memory(memory, config),
            AnyTier::Lower(tier) => self.lower(config, tier),
        }
    }

    fn memory(mut self, memory: Memory, config: TierConfig) -> Self {
        if config.level() != Level::L1 {
            self.problems.push(Error::configuration(format!(
                "use memory as {}: it is l1",
                config.level()
            )));
            return self;
        }
        let replaced = self.memory.replace((config, memory)).is_some();
        if replaced && !std::mem::take(&mut self.memory_is_default) {
            self.problems
                .push(Error::configuration("set l1: it is set already"));
        }
        self.check(config)
    }

    pub(crate) fn lower(mut self, config: TierConfig, tier: Box<dyn TierBuilder>) -> Self {
        let level = config.level();
        if level == Level::L1 {
            self.problems.push(Error::configuration(
                "use a tier of records as l1: memory is l1, and what is below it begins with l2",
            ));
        }
        if self.lower.iter().any(|(known, _)| known.level() == level) {
            self.problems.push(Error::configuration(format!(
                "set {level}: it is set already"
            )));
        }
        self.lower.push((config, tier));
        self.check(config)
    }

    fn check(mut self, config: TierConfig) -> Self {
        self.problems.extend(config.check().err());
        self
    }

    /// Adds a codec of your own, to be named by `codec = "…"`.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codecs.push(Arc::new(codec));
        self
    }

    /// The codec of functions that name none. Default: `postcard`, compact and fast, with a wire format that is
    /// specified and stable.
    pub fn default_codec(mut self, name: impl Into<String>) -> Self {
        self.default_codec = name.into();
        self.codec_variable = None;
        self
    }

    /// What functions do while this instance cannot know what others have invalidated, where they do not say it themselves.
    /// Default: [`WhenIsolated::Serve`].
    pub fn when_isolated(mut self, when_isolated: WhenIsolated) -> Self {
        self.when_isolated = when_isolated;
        self
    }

    /// Gives a time to live a name, for `policy = "…"` in attributes and [`Ttl::policy`]: one place for what many functions share.
    /// A name of those that are [there already](Ttl::policy) is given another time; one that is given twice is an error.
    pub fn policy(mut self, name: impl Into<Cow<'static, str>>, ttl: impl Into<Ttl>) -> Self {
        let (name, ttl) = (name.into(), ttl.into());
        if self.policies.iter().any(|(known, _)| *known == name) {
            let twice = format!("set policy `{name}`: it is set already");
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
    /// A function has the name of its `name = "…"`, or its path as `registered_functions` and errors show it. What is not said
    /// stays as the function says it. A policy of the program has the file's time instead. What is said later, by another file or
    /// by the environment, goes before: of what they do not speak, what was said earlier holds.
    ///
    /// A function that is made at run time, by [`Function::builder`](crate::Function::builder), is meant too. It is to be made before
    /// `install`, which else does not find it.
    #[cfg(feature = "toml")]
    pub fn functions_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        match crate::overrides::file::read(path.as_ref()) {
            Ok(said) => {
                for (name, ttl) in said.policies {
                    let source = |error| {
                        Error::configuration(format!("{error} of `{}`", path.as_ref().display()))
                    };
                    self.problems
                        .extend(check_policy(&name, ttl).err().map(source));
                    self.policies_of_operators.push((name.into(), ttl));
                }
                for (name, said) in said.functions {
                    self.overrides.set(name, said);
                }
            }
            Err(error) => self.problems.push(error),
        }
        self
    }

    /// Lets entries in memory age by a clock that a test moves.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// Builds a runtime without installing it, for [`CacheRuntime::scope`]. Checks what [`install`](Self::install)
    /// checks of the settings, not the functions of the program.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration), naming every setting that cannot be used, and what a tier that is
    /// `required` says of its server.
    ///
    /// # Cancel safety
    /// Cancel safe. Dropped, tiers that had started end as those of a process that is killed: object storage is free for another
    /// after 30 seconds, and begins anew.
    pub async fn build(self) -> Result<CacheRuntime, Error> {
        let stack = self.into_stack()?;
        start(&stack).await?;
        Ok(CacheRuntime::new(stack))
    }

    /// Builds a runtime and makes it the one of this process. Once, in `main`.
    ///
    /// Checks every annotated function of the program against it, and those that were built by
    /// [`Function::builder`](crate::Function::builder) by now; what is built later is checked when it is built.
    ///
    /// # Errors
    /// As [`build`](Self::build), and: [`AlreadyInstalled`](ErrorKind::AlreadyInstalled);
    /// [`MissingTier`](ErrorKind::MissingTier) when a function asks for a tier that is not there;
    /// [`DuplicateFunction`](ErrorKind::DuplicateFunction) when two have one name. They name the functions with file and
    /// line, all at once.
    ///
    /// # Cancel safety
    /// As [`build`](Self::build); dropped, it installs nothing.
    pub async fn install(self) -> Result<CacheRuntime, Error> {
        let stack = self.into_stack()?;
        let made = crate::function::made();
        let mut functions: Vec<&Definition> = Registered::all().collect();
        functions.extend(made.iter().map(|definition| &**definition));
        check_functions(&stack, &functions)?;
        if CacheRuntime::installed().is_some() {
            return CacheRuntime::new(stack).install();
        }
        start(&stack).await?;
        let runtime = CacheRuntime::new(stack);
        let installed = runtime.clone().install();
        if installed.is_err() {
            // Another was quicker.
            let _ = runtime.shutdown().await;
        }
        installed
    }

    fn into_stack(self) -> Result<Stack, Error> {
        let mut problems = self.problems;
        let mut note = |error| problems.push(error);
        let configs = self.lower.iter().map(|(config, _)| config);
        let configs = configs.chain(self.memory.iter().map(|(config, _)| config));
        match configs.min_by_key(|config| config.level()) {
            Some(uppermost) => uppermost.check_uppermost().unwrap_or_else(&mut note),
            None => note(Error::configuration(
                "use a runtime without a tier: nothing would be kept; say `.l1(Memory::builder())`",
            )),
        }
        let memory = self.memory.and_then(|(config, memory)| {
            let built = memory.build().map_err(&mut note).ok();
            built.map(|memory| (config, memory))
        });
        let (mut lower, mut told) = (Vec::new(), Vec::new());
        let fences = Arc::new(Fences::new());
        let mut stores: Vec<(Level, String)> = Vec::new();
        for (config, tier) in self.lower {
            if let Some(store) = tier.store() {
                if let Some((level, _)) = stores.iter().find(|(_, known)| *known == store) {
                    note(Error::configuration(format!(
                        "use {store} as {level} and as {}: give each a namespace, a prefix or a directory of its own",
                        config.level()
                    )));
                }
                stores.push((config.level(), store));
            }
            let peers = Peers::new(Arc::clone(&fences));
            let context = TierContext::new(config.level(), peers.clone());
            match tier.build(&context) {
                Ok(tier) => {
                    lower.push((config, tier));
                    told.push((config.level(), peers));
                }
                Err(error) => note(error),
            }
        }
        lower.sort_unstable_by_key(|(config, _)| config.level());
        for (level, peers) in told {
            let above = lower.iter().filter(|(config, _)| config.level() < level);
            peers.set_above(above.map(|(_, tier)| Arc::downgrade(tier)).collect());
        }
        let mut encodings = Encodings::builtin();
        for codec in self.codecs {
            if let Err(error) = encodings.add(codec) {
                note(error);
            }
        }
        let default = encodings
            .find(&self.default_codec)
            .map_err(|error| match &self.codec_variable {
                None => error,
                Some(variable) => Error::configuration(format!("{error}, as {variable} says")),
            })
            .map_err(&mut note);
        let mut policies = Policies::built_in();
        for (name, ttl) in self.policies.into_iter().chain(self.policies_of_operators) {
            policies.set(name, ttl);
        }
        match default {
            Ok(default) if problems.is_empty() => Ok(Stack::new(
                memory,
                lower,
                fences,
                self.clock,
                encodings,
                Defaults {
                    encoding: default,
                    when_isolated: self.when_isolated,
                    policies,
                    overrides: self.overrides,
                },
            )),
            _ => Err(all_of(problems)),
        }
    }
}

/// What can be a tier: [`Memory`], and all that builds one of records.
pub trait IntoTier {
    /// As the one or the other.
    fn into_tier(self) -> AnyTier;
}

/// A tier that is not built yet.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are these two")]
pub enum AnyTier {
    /// The memory of this process.
    Memory(Memory),
    /// A store of records.
    Lower(Box<dyn TierBuilder>),
}

impl IntoTier for Memory {
    fn into_tier(self) -> AnyTier {
        AnyTier::Memory(self)
    }
}

/// One that was chosen when the program runs.
impl IntoTier for AnyTier {
    fn into_tier(self) -> AnyTier {
        self
    }
}

impl<T: TierBuilder + 'static> IntoTier for T {
    fn into_tier(self) -> AnyTier {
        AnyTier::Lower(Box::new(self))
    }
}

/// Ends in order what has started: a store may be handed on to the next only then.
async fn end(started: &[(TierConfig, Arc<dyn Tier>)]) {
    for (_, tier) in started.iter().rev() {
        if let Err(error) = tier.shutdown().await {
            tracing::debug!(kind = tier.kind(), error = ?error, "a tier did not end in order");
        }
    }
}

async fn start(stack: &Stack) -> Result<(), Error> {
    if !stack.lower.is_empty()
        && let Some(home) = Home::of_caller()
    {
        stack.home.get_or_init(|| home);
    }
    for (at, (_, tier)) in stack.lower.iter().enumerate() {
        if let Err(error) = tier.start().await {
            end(&stack.lower[..at]).await;
            return Err(error);
        }
    }
    if stack.lower.len() > 1 {
        stack.background.start();
    }
    Ok(())
}

/// # Errors
/// Everything that is wrong with any function.
fn check_functions(stack: &Stack, functions: &[&Definition]) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut by_name: Vec<&Definition> = functions.to_vec();
    by_name.sort_unstable_by(|a, b| (&a.name, a.file, a.line).cmp(&(&b.name, b.file, b.line)));
    for pair in by_name.windows(2) {
        // Methods of one path are told apart by their types; a name that was given twice is a mistake.
        let told_apart = pair
            .iter()
            .all(|definition| definition.in_impl && !definition.named);
        if pair[0].name == pair[1].name && !told_apart {
            problems.push(Error::new(
                ErrorKind::DuplicateFunction,
                format!(
                    "tell two functions apart: {} and {} have one name; give one another with `name = \"…\"`",
                    pair[0], pair[1]
                ),
            ));
        }
    }
    problems.extend(stack.defaults.overrides.check(functions));
    for definition in by_name {
        problems.extend(Resolved::check(definition, stack).err());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(all_of(problems))
    }
}

/// Whether a time can be a policy.
fn check_policy(name: &str, ttl: Ttl) -> Result<(), Error> {
    let wrong = if name.is_empty() {
        "use a policy without a name".to_owned()
    } else if ttl.is_policy() {
        format!("set policy `{name}` to another's name: it is a time")
    } else {
        match ttl.check() {
            Ok(()) => return Ok(()),
            Err(error) => format!("{error}, as policy `{name}`"),
        }
    };
    Err(Error::configuration(wrong))
}

/// One error for all that is wrong; of the first one's kind.
fn all_of(problems: Vec<Error>) -> Error {
    match <[Error; 1]>::try_from(problems) {
        Ok([one]) => one,
        Err(problems) => {
            let kind = problems
                .first()
                .map_or(ErrorKind::Configuration, Error::kind);
            let lines: Vec<_> = problems
                .iter()
                .map(|problem| format!("\n- {problem}"))
                .collect();
            Error::new(
                kind,
                format!(
                    "build the runtime, for {} reasons:{}",
                    lines.len(),
                    lines.concat()
                ),
            )
        }
    }
}

#[cfg(test)]
mod tests;
