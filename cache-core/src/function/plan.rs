//! A function in a runtime: the description, matched with the tiers that the runtime has.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Encoding;
use crate::error::{Error, ErrorKind};
use crate::function::definition::Definition;
use crate::function::options::Consistency;
use crate::function::times::Times;
use crate::level::{Level, Levels};
use crate::state::RuntimeState;
use crate::tier::config::{Lives, TierConfig};
use crate::tier::store::Store;

/// Tiers, times to live and codec of a function in one runtime.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Description of the function, with its override.
    pub(crate) definition: Definition,
    /// Times to live in memory; `None` if the function does not use memory.
    pub(crate) memory: Option<Lives>,
    /// Tiers below memory that the function uses, in look-up order.
    pub(crate) lower: Vec<PlannedTier>,
    /// Tiers below memory that the code lists and the function does not use, because an override
    /// removed them, or because the plan is a fallback. They still receive the function's
    /// invalidations, because their records are read again once they are re-enabled.
    pub(crate) disabled: Vec<PlannedTier>,
    pub(crate) encoding: Encoding,
    /// Reason why the plan is a fallback.
    pub(crate) problem: Option<Error>,
}

/// A tier below memory that a function uses.
#[derive(Debug)]
pub(crate) struct PlannedTier {
    pub(crate) config: TierConfig,
    pub(crate) store: Arc<Store>,
    /// Time to live of the function's values, before the scale of the tier.
    pub(crate) ttl: Duration,
}

impl Plan {
    /// Matches a function with the tiers of a runtime.
    ///
    /// # Errors
    /// A tier is missing, has no ttl, or cannot serve the function; the override does not fit; a
    /// time cannot be used; the policy or the codec is unknown. The error names the function and
    /// its place.
    pub(crate) fn new(declared: &Definition, state: &RuntimeState) -> Result<Self, Error> {
        let defaults = &state.defaults;
        let definition = defaults.overrides.apply(declared, &defaults.policies)?;
        let ttl_is_usable = definition.ttl.check();
        ttl_is_usable.map_err(|error| definition.in_error(error, &definition.origins.ttl))?;
        let encoding = match &definition.codec {
            None => defaults.encoding.clone(),
            Some(name) => {
                let found = state.encodings.find(name);
                found.map_err(|error| error.for_function(&definition))?
            }
        };
        let available: Levels = state.levels().into_iter().collect();
        let used = definition.tiers.unwrap_or(available);
        let mut plan = Self {
            memory: None,
            lower: Vec::new(),
            disabled: disabled(declared, state, used),
            encoding,
            problem: None,
            definition,
        };
        for level in used.iter() {
            plan.add(level, state)?;
        }
        plan.definition.check_times(used)?;
        Ok(plan)
    }

    /// Returns `true` if each call asks a tier below memory, so that memory alone answers none.
    pub(crate) fn is_strong(&self) -> bool {
        self.definition.consistency == Consistency::Strong && !self.lower.is_empty()
    }

    /// Returns the levels of the tiers that can answer calls, in look-up order.
    pub(crate) fn counted_levels(&self) -> impl Iterator<Item = Level> {
        let answers = self.memory.is_some() && !self.is_strong();
        let memory = answers.then_some(Level::L1);
        let lower = self.lower.iter().map(|tier| tier.config.level());
        memory.into_iter().chain(lower)
    }

    /// Adds a tier that the function uses.
    ///
    /// # Errors
    /// The runtime does not have the tier, the ttl has no time for it, or it cannot serve the
    /// function.
    fn add(&mut self, level: Level, state: &RuntimeState) -> Result<(), Error> {
        let definition = &self.definition;
        let origins = &definition.origins;
        let levels = state.levels();
        if !levels.contains(&level) {
            let levels: Vec<_> = levels.iter().map(Level::to_string).collect();
            let levels = levels.join(", ");
            let problem = format!("the runtime has no {level}: its tiers are {levels}");
            let error = Error::new(ErrorKind::MissingTier, problem).with_help(format!(
                "give the runtime's builder a tier at {level}, or take {level} out of `tiers`"
            ));
            return Err(definition.in_error(error, &origins.tiers));
        }
        let Some(ttl) = definition.ttl.of(level) else {
            let problem = format!("{level} is used, but ttl has no time for it");
            let error = Error::configuration(problem);
            return Err(definition.in_error(error, origins.ttl.iter().chain(&origins.tiers)));
        };
        let mut lower = state.lower.iter();
        match lower.find(|(config, _)| config.level() == level) {
            Some((_, store))
                if definition.is_blocking && !store.settings().works_without_runtime =>
            {
                let problem = format!(
                    "{level} ({}) cannot serve a plain `fn`: it needs the async runtime",
                    store.settings().kind
                );
                let error = Error::configuration(problem)
                    .with_help("write `async fn`, or `tiers = \"l1\"`");
                return Err(definition.in_error(error, &origins.tiers));
            }
            Some(lower) => self.lower.push(PlannedTier::new(lower, ttl)),
            None => {
                self.memory = state.memory.as_ref().map(|(config, _)| config.lives(ttl));
            }
        }
        Ok(())
    }

    /// Checks that a runtime can serve a function. If the function uses all tiers of the runtime,
    /// this also checks that its ttl has no time for another tier: the time would have no effect.
    ///
    /// # Errors
    /// As [`new`](Self::new), or the ttl has a time for a tier that the runtime does not have.
    pub(crate) fn check(declared: &Definition, state: &RuntimeState) -> Result<(), Error> {
        let definition = Self::new(declared, state)?.definition;
        if definition.tiers.is_some() {
            return Ok(());
        }
        let levels = state.levels();
        match definition
            .ttl
            .own_levels()
            .find(|level| !levels.contains(level))
        {
            None => Ok(()),
            Some(level) => {
                let problem =
                    format!("ttl has a time for {level}, which the runtime does not have");
                let error = Error::configuration(problem);
                Err(definition.in_error(error, &definition.origins.ttl))
            }
        }
    }

    /// Returns the fallback for a runtime that cannot serve the function: memory alone, if the
    /// runtime has memory and the ttl has a time. `problem` is the reason.
    pub(crate) fn memory_alone(
        declared: &Definition,
        state: &RuntimeState,
        problem: Error,
    ) -> Self {
        let defaults = &state.defaults;
        let overridden = defaults.overrides.apply(declared, &defaults.policies);
        let mut definition = overridden.unwrap_or_else(|_| declared.clone());
        // The reason for the fallback may be a time that no call could use.
        if definition.check_times(Levels::of(&[])).is_err() {
            definition.times = Times::NONE;
        }
        let ttl = definition.ttl;
        let longest = || {
            let levels = state.levels().into_iter();
            levels.filter_map(|level| ttl.of(level)).max()
        };
        Self {
            memory: state.memory.as_ref().and_then(|(config, _)| {
                let ttl = ttl.of(Level::L1).or_else(longest)?;
                Some(config.lives(ttl))
            }),
            lower: Vec::new(),
            disabled: disabled(declared, state, Levels::of(&[])),
            encoding: defaults.encoding.clone(),
            problem: Some(problem),
            definition,
        }
    }
}

impl PlannedTier {
    fn new((config, store): &(TierConfig, Arc<Store>), ttl: Duration) -> Self {
        Self {
            config: *config,
            store: Arc::clone(store),
            ttl,
        }
    }
}

/// Returns the tiers below memory that the code of a function lists, and that are not in `used`.
fn disabled(declared: &Definition, state: &RuntimeState, used: Levels) -> Vec<PlannedTier> {
    let is_listed = |level| declared.tiers.is_none_or(|tiers| tiers.contains(level));
    state
        .lower
        .iter()
        .filter(|(config, store)| {
            let level = config.level();
            is_listed(level)
                && !used.contains(level)
                && (!declared.is_blocking || store.settings().works_without_runtime)
        })
        // The ttl does not matter, because nothing is stored in the tier.
        .map(|lower| PlannedTier::new(lower, Duration::ZERO))
        .collect()
}
