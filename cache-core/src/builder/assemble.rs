//! What a builder's settings come to: the state of a runtime, or all that is wrong with them.

use std::sync::Arc;

use super::RuntimeBuilder;
use crate::bound::Resolved;
use crate::codec::Encodings;
use crate::definition::Definition;
use crate::error::{Error, ErrorKind};
use crate::fence::Fences;
use crate::level::Level;
use crate::policy::Policies;
use crate::state::{Defaults, RuntimeState};
use crate::tier::{Peers, TierContext};

impl RuntimeBuilder {
    pub(super) fn into_stack(self) -> Result<RuntimeState, Error> {
        let mut problems = self.problems;
        let mut note = |error: Error| problems.push(error.in_full());
        let configs = self.lower.iter().map(|(config, _)| config);
        let configs = configs.chain(self.memory.iter().map(|(config, _)| config));
        match configs.min_by_key(|config| config.level()) {
            Some(uppermost) => uppermost.check_uppermost().unwrap_or_else(&mut note),
            None => note(
                Error::configuration("the runtime has no tier: nothing would be kept")
                    .with_help("add `.l1(Memory::builder())`"),
            ),
        }
        let memory = self.memory.and_then(|(config, memory)| {
            let built = memory.build().map_err(&mut note).ok();
            built.map(|memory| (config, memory))
        });
        let (mut lower, mut told) = (Vec::new(), Vec::new());
        let fences = Arc::new(Fences::new());
        let mut stores: Vec<(Level, String)> = Vec::new();
        // Of what a tier that cannot be built would be, nothing is known.
        let mut problems_of_tiers = 0;
        for (config, tier) in self.lower {
            if let Some(store) = tier.store() {
                if let Some((level, _)) = stores.iter().find(|(_, known)| *known == store) {
                    let problem = format!("{store} is both {level} and {}", config.level());
                    note(Error::configuration(problem).with_help(
                        "give each tier a namespace, a prefix or a directory of its own",
                    ));
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
                Err(error) => {
                    problems_of_tiers += 1;
                    note(error);
                }
            }
        }
        lower.sort_unstable_by_key(|(config, _)| config.level());
        for (level, peers) in told {
            let above = lower.iter().filter(|(config, _)| config.level() < level);
            peers.set_above(above.map(|(_, tier)| Arc::downgrade(tier)).collect());
        }
        #[cfg_attr(
            not(feature = "custom-codec"),
            expect(unused_mut, reason = "none is added")
        )]
        let mut encodings = Encodings::builtin();
        #[cfg(feature = "custom-codec")]
        for codec in self.codecs {
            if let Err(error) = encodings.add(codec) {
                note(error);
            }
        }
        // Another environment may ask for the tiers that the program speaks of.
        let is_ignored = |lacks_its_tier: bool, is_of_environment: bool| {
            lacks_its_tier
                && problems_of_tiers == 0
                && (is_of_environment || !self.asks_environment)
        };
        let default = match &self.default_codec {
            None => encodings.find("postcard"),
            Some(said) if is_ignored(lower.is_empty(), said.variable.is_some()) => {
                let problem = format!(
                    "default codec `{}` has no effect: there is no tier below memory, which holds values as they are",
                    said.value
                );
                Err(said.at_setting(Error::configuration(problem)))
            }
            Some(said) => encodings
                .find(&said.value)
                .map_err(|error| said.at_setting(error)),
        };
        let default = default.map_err(&mut note);
        if let Some(said) = &self.when_isolated
            && is_ignored(
                !lower.iter().any(|(_, tier)| tier.as_shared().is_some()),
                said.variable.is_some(),
            )
        {
            note(said.at_setting(Error::configuration(
                "`when_isolated` has no effect: no tier is shared",
            )));
        }
        let mut policies = Policies::built_in();
        for (name, ttl) in self.policies.into_iter().chain(self.policies_of_operators) {
            policies.set(name, ttl);
        }
        match default {
            Ok(default) if problems.is_empty() => Ok(RuntimeState::new(
                memory,
                lower,
                fences,
                self.clock,
                encodings,
                Defaults {
                    encoding: default,
                    when_isolated: self
                        .when_isolated
                        .map_or_else(Default::default, |said| said.value),
                    policies,
                    overrides: self.overrides,
                },
            )),
            _ => Err(all_of(problems)),
        }
    }
}

/// # Errors
/// Everything that is wrong with any function.
pub(super) fn check_functions(
    state: &RuntimeState,
    functions: &[&Definition],
) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut by_name: Vec<&Definition> = functions.to_vec();
    by_name.sort_unstable_by(|a, b| (&a.name, a.file, a.line).cmp(&(&b.name, b.file, b.line)));
    for pair in by_name.windows(2) {
        // Methods of one path are told apart by their types; a name that was given twice is a mistake.
        let told_apart = pair
            .iter()
            .all(|definition| definition.in_impl && !definition.named);
        if pair[0].name == pair[1].name && !told_apart {
            problems.push(
                Error::new(
                    ErrorKind::DuplicateFunction,
                    format!("two functions have one name: {} and {}", pair[0], pair[1]),
                )
                .with_help("give one of them another name by `name = \"…\"`"),
            );
        }
    }
    problems.extend(state.defaults.overrides.check(functions));
    for definition in by_name {
        problems.extend(Resolved::check(definition, state).err());
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(all_of(problems))
    }
}

/// One error for all that is wrong; of the first one's kind.
pub(super) fn all_of(problems: Vec<Error>) -> Error {
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
                    "the runtime cannot be built, for {} reasons:{}",
                    lines.len(),
                    lines.concat()
                ),
            )
        }
    }
}
