//! What a function asks, matched against what a runtime has.

use std::time::Duration;

use super::lower::TierBinding;
use crate::codec::Encoding;
use crate::definition::Definition;
use crate::error::{Error, ErrorKind};
use crate::level::Level;
use crate::state::RuntimeState;
use crate::tier::config::Lives;

/// Which tiers a function uses and how, worked out from its policy.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) memory: Option<Lives>,
    pub(super) lower: Vec<TierBinding>,
    /// Tiers that it says itself and does not use, since operators have taken them out or something is missing: what they have of it is read again when they are back, and is
    /// invalidated meanwhile.
    pub(super) disabled: Vec<TierBinding>,
    pub(super) encoding: Encoding,
    /// Why it is not as the function asks.
    pub(super) flaw: Option<Error>,
}

impl Resolved {
    /// How long memory keeps values, where there is any.
    #[cfg(test)]
    pub(crate) fn memory_life(&self) -> Option<Duration> {
        self.memory.map(|lives| lives.filled)
    }

    /// Matches what a function asks against what there is.
    ///
    /// # Errors
    /// A tier that is missing, or without a ttl; a codec nobody knows. The text names the function and its place.
    pub(crate) fn new(definition: &Definition, state: &RuntimeState) -> Result<Self, Error> {
        let policy = &definition.policy;
        let available = state.levels();
        let effective = state
            .defaults
            .overrides
            .of(definition, &state.defaults.policies)?;
        let (times, source) = (effective.ttl, effective.source);
        let about = |error: Error| about(error, definition, source.as_deref());
        let wanted = effective.tiers.unwrap_or_else(|| available.clone());
        let ttl = |level| {
            times.of(level).ok_or_else(|| {
                about(Error::configuration(format!(
                    "{level} is used, but ttl has no time for it"
                )))
            })
        };
        times.check().map_err(about)?;
        let mut resolved = Self {
            memory: None,
            lower: Vec::new(),
            disabled: Vec::new(),
            encoding: match &policy.codec {
                Some(name) => state
                    .encodings
                    .find(name)
                    .map_err(|error| error.for_function(definition))?,
                None => state.defaults.encoding.clone(),
            },
            flaw: None,
        };
        resolved.disabled = disabled(definition, state, &wanted);
        for level in wanted {
            if !available.contains(&level) {
                let there: Vec<_> = available.iter().map(Level::to_string).collect();
                let there = there.join(", ");
                let problem = format!("the runtime has no {level}: its tiers are {there}");
                return Err(about(Error::new(ErrorKind::MissingTier, problem)));
            }
            let ttl = ttl(level)?;
            match state.watched().find(|(config, ..)| config.level() == level) {
                Some((_, tier, _))
                    if definition.is_blocking && !tier.settings().works_without_runtime =>
                {
                    let problem = format!(
                        "{level} ({}) cannot serve a plain `fn`: it needs the async runtime",
                        tier.settings().kind
                    );
                    let error = Error::configuration(problem)
                        .with_help("write `async fn`, or `tiers = \"l1\"`");
                    return Err(about(error));
                }
                Some((config, tier, watch)) => {
                    resolved
                        .lower
                        .push(TierBinding::new(*config, tier, watch, ttl));
                }
                None => {
                    resolved.memory = state.memory.as_ref().map(|(config, _)| config.lives(ttl));
                }
            }
        }
        Ok(resolved)
    }

    /// Whether a runtime can give a function what it asks. Beyond what [`new`](Self::new) looks at, a function that names no tiers, and
    /// so uses all there are, must not have a time for one that is not there: it would be ignored.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn check(definition: &Definition, state: &RuntimeState) -> Result<(), Error> {
        Self::new(definition, state)?;
        let defaults = &state.defaults;
        let effective = defaults.overrides.of(definition, &defaults.policies)?;
        if effective.tiers.is_some() || !effective.is_of_its_tiers {
            return Ok(());
        }
        let levels = state.levels();
        match effective.ttl.named().find(|level| !levels.contains(level)) {
            None => Ok(()),
            Some(level) => {
                let problem =
                    format!("ttl has a time for {level}, which the runtime does not have");
                let error = Error::configuration(problem);
                Err(about(error, definition, effective.source.as_deref()))
            }
        }
    }

    /// What can be used of a runtime that lacks something: its memory.
    pub(crate) fn memory_alone(definition: &Definition, state: &RuntimeState) -> Self {
        let policy = &definition.policy;
        let effective = state
            .defaults
            .overrides
            .of(definition, &state.defaults.policies);
        let times = effective.map_or(policy.ttl, |effective| effective.ttl);
        let longest = || {
            state
                .levels()
                .into_iter()
                .filter_map(|level| times.of(level))
                .max()
        };
        Self {
            memory: state.memory.as_ref().and_then(|(config, _)| {
                let ttl = times.of(Level::L1).or_else(longest)?;
                Some(config.lives(ttl))
            }),
            lower: Vec::new(),
            disabled: disabled(definition, state, &[]),
            encoding: state.defaults.encoding.clone(),
            flaw: None,
        }
    }

    /// The same, with why it is not as the function asks.
    pub(crate) fn because(mut self, flaw: Error) -> Self {
        self.flaw = Some(flaw);
        self
    }
}

/// An error about a function, and about the setting that changes it.
pub(crate) fn about(error: Error, definition: &Definition, source: Option<&str>) -> Error {
    let error = error.for_function(definition);
    match source {
        Some(source) => error.from_setting(source),
        None => error,
    }
}

/// The tiers below memory that a function says itself and does not use.
fn disabled(definition: &Definition, state: &RuntimeState, used: &[Level]) -> Vec<TierBinding> {
    let own = definition.policy.tiers.as_deref();
    let is_said = |level| own.is_none_or(|own| own.contains(&level));
    state
        .watched()
        .filter(|(config, tier, _)| {
            let level = config.level();
            is_said(level)
                && !used.contains(&level)
                && (!definition.is_blocking || tier.settings().works_without_runtime)
        })
        // Nothing is written there, whatever the time.
        .map(|(config, tier, watch)| TierBinding::new(*config, tier, watch, Duration::ZERO))
        .collect()
}
