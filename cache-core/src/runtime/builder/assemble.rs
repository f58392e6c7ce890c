//! From the settings of a builder to the state of a runtime.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::RuntimeBuilder;
use super::problems::Problems;
use crate::background::Background;
use crate::clock::Clock;
use crate::codec::{Encoding, Encodings};
use crate::error::Error;
use crate::events::Events;
use crate::fence::Fences;
use crate::function::options::WhenIsolated;
use crate::function::ttl::{Policies, Ttl};
use crate::level::Level;
use crate::metrics::MetricsDetail;
use crate::setting::Setting;
use crate::state::{Defaults, RuntimeState};
use crate::tier::config::TierConfig;
use crate::tier::memory::Memory;
use crate::tier::store::Store;
use crate::tier::{Peers, TierBuilder, TierContext};

/// Tiers of records that were built.
struct Lower {
    /// In look-up order.
    tiers: Vec<(TierConfig, Arc<Store>)>,
    /// `true` if every tier could be built.
    is_complete: bool,
}

impl RuntimeBuilder {
    /// Builds the tiers, and the state that functions share.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub(super) fn into_state(mut self) -> Result<RuntimeState, Error> {
        let mut problems = Problems::default();
        problems.extend(self.problems.drain(..));
        problems.note(check_uppermost(self.memory.as_ref(), &self.lower));
        problems.extend(check_stores(&self.lower));
        let memory = self.memory.take().and_then(|(config, memory)| {
            let built = problems.note(memory.build())?;
            Some((config, built))
        });
        let entries = memory.as_ref().map_or(0, |(_, memory)| memory.entries);
        // If there are two tiers below memory, one can be private and the other shared. Then the
        // records of the private one are judged by the fences.
        let fences = Arc::new(Fences::for_entries(entries, self.lower.len() > 1));
        let builders = std::mem::take(&mut self.lower);
        let events = Arc::<Events>::default();
        let shared = (&fences, &events);
        let lower = build_lower(builders, shared, &self.clock, &mut problems);
        #[cfg_attr(
            not(feature = "custom-codec"),
            expect(unused_mut, reason = "no codec is added")
        )]
        let mut encodings = Encodings::builtin();
        #[cfg(feature = "custom-codec")]
        for codec in std::mem::take(&mut self.codecs) {
            problems.note(encodings.add(codec));
        }
        let encoding = problems.note(self.default_encoding(&encodings, &lower));
        let when_isolated = problems.note(self.default_when_isolated(&lower));
        let background_loads = problems.note(self.loads_at_once());
        problems.into_result()?;
        let defaults = Defaults {
            // Without problems there is a codec and a behavior, so these fallbacks are not used.
            encoding: encoding.unwrap_or(Encoding::Postcard),
            when_isolated: when_isolated.unwrap_or_default(),
            policies: policies(self.policies, self.policies_of_operators),
            overrides: self.overrides,
            keys_in_traces: self.keys_in_traces,
        };
        let metrics_detail = self
            .metrics_detail
            .map_or_else(MetricsDetail::default, |set| set.value);
        let (tiers, clock) = (lower.tiers, self.clock);
        let mut state = RuntimeState::new(memory, tiers, fences, clock, encodings, defaults);
        state.metrics_detail = metrics_detail;
        state.events = events;
        for (config, store) in &state.lower {
            store.report_to(config.level(), &state.observers);
        }
        if let Some(places) = background_loads.flatten() {
            state.loads = Background::of_loads(places);
        }
        Ok(state)
    }

    /// Returns how many loads run in the background at the same time, if it is set.
    ///
    /// # Errors
    /// The number is out of range.
    fn loads_at_once(&self) -> Result<Option<usize>, Error> {
        const RANGE: RangeInclusive<usize> = 1..=4096;
        let Some(loads) = &self.background_loads else {
            return Ok(None);
        };
        if !RANGE.contains(&loads.value) {
            let problem = format!("`background_loads` is {}", loads.value);
            let error = Error::configuration(problem).with_help("set it from 1 to 4096");
            return Err(loads.in_error(error));
        }
        Ok(Some(loads.value))
    }

    /// Returns the codec of functions that name none.
    ///
    /// # Errors
    /// The codec is unknown, or the setting has no effect.
    fn default_encoding(&self, encodings: &Encodings, lower: &Lower) -> Result<Encoding, Error> {
        let Some(codec) = &self.default_codec else {
            return encodings.find("postcard");
        };
        if lower.tiers.is_empty() && self.must_have_effect(codec, lower) {
            let problem = format!(
                "default codec `{}` has no effect: there is no tier below memory, which holds \
                 values as they are",
                codec.value
            );
            return Err(codec.in_error(Error::configuration(problem)));
        }
        let found = encodings.find(&codec.value);
        found.map_err(|error| codec.in_error(error))
    }

    /// Returns the behavior of functions that do not set one for when this instance is isolated.
    ///
    /// # Errors
    /// The setting has no effect.
    fn default_when_isolated(&self, lower: &Lower) -> Result<WhenIsolated, Error> {
        let Some(when_isolated) = &self.when_isolated else {
            return Ok(WhenIsolated::default());
        };
        let is_shared = |(_, store): &(_, Arc<Store>)| store.is_shared();
        if !lower.tiers.iter().any(is_shared) && self.must_have_effect(when_isolated, lower) {
            let problem = "`when_isolated` has no effect: no tier is shared";
            return Err(when_isolated.in_error(Error::configuration(problem)));
        }
        Ok(when_isolated.value)
    }

    /// Returns `true` if a setting that has no effect is an error. It is none if the tier that it
    /// is for could not be built, or may come from another environment.
    fn must_have_effect<T>(&self, setting: &Setting<T>, lower: &Lower) -> bool {
        lower.is_complete && (setting.origin.is_some() || !self.asks_environment)
    }
}

/// Checks that there is a tier, and that nothing is to be copied to a tier above the uppermost.
fn check_uppermost(
    memory: Option<&(TierConfig, Memory)>,
    lower: &[(TierConfig, Box<dyn TierBuilder>)],
) -> Result<(), Error> {
    let configs = lower.iter().map(|(config, _)| config);
    let configs = configs.chain(memory.map(|(config, _)| config));
    match configs.min_by_key(|config| config.level()) {
        Some(uppermost) => uppermost.check_uppermost(),
        None => Err(
            Error::configuration("the runtime has no tier: nothing would be kept")
                .with_help("add `.l1(Memory::builder())`"),
        ),
    }
}

/// Returns an error for each tier that uses the same store as another one. Each would treat the
/// records of the other as its own.
fn check_stores(lower: &[(TierConfig, Box<dyn TierBuilder>)]) -> Vec<Error> {
    let mut problems = Vec::new();
    let mut stores: Vec<(Level, String)> = Vec::new();
    for (config, tier) in lower {
        let Some(store) = tier.store() else {
            continue;
        };
        if let Some((level, _)) = stores.iter().find(|(_, known)| *known == store) {
            let problem = format!("{store} is both {level} and {}", config.level());
            problems.push(
                Error::configuration(problem)
                    .with_help("give each tier a namespace, a prefix or a directory of its own"),
            );
        }
        stores.push((config.level(), store));
    }
    problems
}

/// Builds the tiers of records, and tells each one which tiers are above it.
fn build_lower(
    builders: Vec<(TierConfig, Box<dyn TierBuilder>)>,
    (fences, events): (&Arc<Fences>, &Arc<Events>),
    clock: &Clock,
    problems: &mut Problems,
) -> Lower {
    let (mut tiers, mut peers_of_tiers) = (Vec::new(), Vec::new());
    let mut is_complete = true;
    for (config, builder) in builders {
        let peers = Peers::new(Arc::clone(fences)).noting(config.level(), events);
        let context = TierContext::new(config.level(), peers.clone());
        let store = build_store(builder, &context, config.level(), clock);
        let store = store.map(|store| store.counting_received(peers.received()));
        match problems.note(store) {
            None => is_complete = false,
            Some(store) => {
                tiers.push((config, Arc::new(store)));
                peers_of_tiers.push((config.level(), peers));
            }
        }
    }
    tiers.sort_unstable_by_key(|(config, _)| config.level());
    for (level, peers) in peers_of_tiers {
        let above = tiers.iter().filter(|(config, _)| config.level() < level);
        peers.set_above(above.map(|(_, store)| Arc::downgrade(store)).collect());
    }
    Lower { tiers, is_complete }
}

/// Builds the tiers of all shards of a store.
fn build_store(
    builder: Box<dyn TierBuilder>,
    context: &TierContext,
    level: Level,
    clock: &Clock,
) -> Result<Store, Error> {
    let contexts = context.of_shards(builder.shards())?;
    let tiers = builder.build_shards(&contexts)?;
    if tiers.len() != contexts.len() {
        let (built, of) = (tiers.len(), contexts.len());
        let problem = format!("{built} shards of a store were built, which has {of}");
        return Err(Error::configuration(problem));
    }
    Store::new(tiers, level, clock.clone())
}

/// Returns all policies. Those of operators replace those of the program.
fn policies(
    of_program: Vec<(Cow<'static, str>, Ttl)>,
    of_operators: Vec<(Cow<'static, str>, Ttl)>,
) -> Policies {
    let mut policies = Policies::built_in();
    for (name, ttl) in of_program.into_iter().chain(of_operators) {
        policies.set(name, ttl);
    }
    policies
}
