//! Settings of functions that operators write, in the environment or in a file.

#[cfg(feature = "toml")]
pub(crate) mod file;
pub(crate) mod line;
pub(crate) mod times;

use self::times::TimesOverride;
use crate::error::Error;
use crate::function::definition::Definition;
use crate::function::options::Consistency;
use crate::function::times::option::TimeOption;
use crate::function::ttl::{Policies, Ttl};
use crate::level::Levels;
use crate::setting::Setting;

/// Maximum number of functions that an error lists.
const MAX_LISTED: usize = 12;

/// Overrides by the name of their function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides(Vec<(String, Override)>);

/// Settings that replace those of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) ttl: Option<Setting<TtlOverride>>,
    pub(crate) tiers: Option<Setting<Levels>>,
    pub(crate) times: TimesOverride,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TtlOverride {
    Ttl(Ttl),
    /// The name of a policy. Policies are looked up when the runtime knows all of them.
    Policy(String),
}

impl Overrides {
    /// Adds an override of `function`. Its settings replace those of earlier overrides; settings
    /// that it does not have stay as they are.
    pub(crate) fn add(&mut self, function: String, later: Override) {
        match self.0.iter_mut().find(|(known, _)| *known == function) {
            None => self.0.push((function, later)),
            Some((_, earlier)) => {
                earlier.ttl = later.ttl.or_else(|| earlier.ttl.take());
                earlier.tiers = later.tiers.or_else(|| earlier.tiers.take());
                earlier.times.add(later.times);
            }
        }
    }

    /// Returns the definition of a function with its override, and with the times of its policy.
    ///
    /// # Errors
    /// A policy is unknown, or the override does not fit the function.
    pub(crate) fn apply(
        &self,
        declared: &Definition,
        policies: &Policies,
    ) -> Result<Definition, Error> {
        let mut overrides = self.0.iter();
        let mut definition = match overrides.find(|(name, _)| *name == declared.name) {
            Some((_, found)) => found.apply(declared, policies)?,
            None => declared.clone(),
        };
        let resolved = definition.ttl.resolve(policies);
        definition.ttl =
            resolved.map_err(|error| definition.in_error(error, &definition.origins.ttl))?;
        definition.check_ttl_tiers().map_err(|error| {
            let origins = &definition.origins;
            definition.in_error(error, origins.ttl.iter().chain(&origins.tiers))
        })?;
        Ok(definition)
    }

    /// Returns an error for each override whose function the program does not have: the override
    /// would have no effect.
    pub(crate) fn check(&self, functions: &[&Definition]) -> Vec<Error> {
        let is_known = |name: &str| functions.iter().any(|definition| definition.name == name);
        let unknown = self.0.iter().filter(|(name, _)| !is_known(name));
        unknown
            .map(|(name, settings)| {
                let error = Error::configuration(format!("unknown function `{name}`"));
                let help = help_for_unknown(name, functions);
                settings.in_error(error).with_help(help)
            })
            .collect()
    }
}

/// Returns the names of all options that an override can set, for errors.
fn option_names() -> String {
    let times = TimeOption::ALL.map(|option| format!("`{}`", option.name()));
    format!("`ttl`, `policy`, `tiers`, {}", times.join(", "))
}

/// Advice for an override whose function is unknown.
fn help_for_unknown(name: &str, functions: &[&Definition]) -> String {
    let generic = name.split_once('<').map(|(generic, _)| generic);
    let mut instances = functions.iter().filter(|known| known.has_instances);
    if let Some(generic) = generic
        && instances.any(|known| known.name == generic)
    {
        return format!("name `{generic}`: an override is for all its instances");
    }
    let mut names: Vec<&str> = functions.iter().map(|known| &*known.name).collect();
    if names.is_empty() {
        return "the program has no functions".to_owned();
    }
    // Functions whose paths have the same last segment are listed first.
    let last = |name: &str| name.rsplit("::").next().map(str::to_owned);
    names.sort_unstable_by_key(|known| (last(known) != last(name), *known));
    names.dedup();
    let more = match names.len() > MAX_LISTED {
        true => ", …",
        false => "",
    };
    names.truncate(MAX_LISTED);
    format!("the functions are {}{more}", names.join(", "))
}

impl Override {
    /// Returns `true` if the override has no setting.
    pub(crate) fn is_empty(&self) -> bool {
        self.ttl.is_none() && self.tiers.is_none() && self.times.is_empty()
    }

    /// Returns the definition of a function with these settings.
    fn apply(&self, declared: &Definition, policies: &Policies) -> Result<Definition, Error> {
        let mut definition = declared.clone();
        if let Some(tiers) = &self.tiers {
            definition.origins.tiers.clone_from(&tiers.origin);
            check_tiers(declared, tiers.value)
                .map_err(|error| definition.in_error(error, &tiers.origin))?;
            // The ttl in the code was written for the tiers in the code, and may name tiers that
            // the override removes.
            definition.ttl = definition.ttl.shared();
            definition.tiers = Some(tiers.value);
        }
        if let Some(ttl) = &self.ttl {
            definition.origins.ttl.clone_from(&ttl.origin);
            definition.ttl = match &ttl.value {
                TtlOverride::Ttl(ttl) => *ttl,
                TtlOverride::Policy(name) => policies
                    .find(name)
                    .map_err(|error| definition.in_error(error, &ttl.origin))?,
            };
        }
        self.times.apply(&mut definition)?;
        Ok(definition)
    }

    /// Names the origins of all settings in an error.
    fn in_error(&self, error: Error) -> Error {
        let ttl = self.ttl.iter().filter_map(|ttl| ttl.origin.as_ref());
        let tiers = self.tiers.iter().filter_map(|tiers| tiers.origin.as_ref());
        error.with_origins(ttl.chain(tiers).chain(self.times.origins()))
    }
}

/// Checks that an override can give these tiers to a function.
fn check_tiers(declared: &Definition, tiers: Levels) -> Result<(), Error> {
    if let Some(own) = declared.tiers
        && !tiers.is_within(own)
    {
        // The values of a function without lower tiers need not be serializable. And instances
        // without this override would not send invalidations to the tier.
        let problem = format!(
            "an override adds a tier that the function does not list: its code has \
             `tiers = \"{own}\"`"
        );
        return Err(Error::configuration(problem)
            .with_help("an override can only remove tiers; add the tier in the code"));
    }
    if declared.consistency == Consistency::Strong && tiers == Levels::MEMORY {
        return Err(Error::configuration(
            "an override removes the tiers below memory, and `consistency = \"strong\"` needs one",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
