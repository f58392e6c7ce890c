//! The state of a runtime, for the tiers that publish it.

mod settings;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde_json::Value;

use super::report::Snapshot;
use super::{CacheRuntime, Shared};
use crate::cached_function::CachedFunction;
use crate::function::definition::Definition;
use crate::function::plan::Plan;
use crate::function::registry::{annotated, built_for_process};
use crate::inspect::function::published_function;
use crate::inspect::published::{InstanceSettings, PublishedFunction, PublishedInstance, keys};
use crate::stats::FunctionStats;
use crate::tier::{AboutInstance, ObservedRuntime, TierStatus};

/// A runtime, without keeping it: a tier, which the runtime owns, holds this.
struct Observed(Weak<Shared>);

impl CacheRuntime {
    /// Gives the tiers what they publish, if they are set to.
    pub(super) fn publish_by_tiers(&self) {
        for (_, store) in &self.0.state.lower {
            store.observe(Arc::new(Observed(Arc::downgrade(&self.0))));
        }
    }

    /// Returns the functions that were called in this runtime and still exist, in the order of
    /// their names.
    fn bound_by_name(&self) -> Vec<Arc<CachedFunction>> {
        let bound = self.bound();
        let alive = bound.values().filter(|bound| bound.is_alive());
        let mut bound: Vec<_> = alive.cloned().collect();
        bound.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        bound
    }

    /// Returns what is published about each function that this runtime serves, called or not.
    fn published_functions(&self) -> Vec<PublishedFunction> {
        let bound = self.bound_by_name();
        let mut all: Vec<_> = bound.iter().map(|bound| bound.published()).collect();
        if !self.is_of_process() {
            return all;
        }
        let names: HashSet<&str> = bound.iter().map(|bound| bound.name()).collect();
        let mut add = |definition: &Definition| {
            if !definition.has_instances && !names.contains(&*definition.name) {
                let state = self.state();
                let plan = Plan::new(definition, state)
                    .unwrap_or_else(|problem| Plan::memory_alone(definition, state, problem));
                all.push(published_function(&definition.name, &plan));
            }
        };
        annotated().for_each(&mut add);
        built_for_process().iter().for_each(|built| add(built));
        all
    }

    /// Returns the state without asking the tiers.
    fn snapshot_without_pings(&self) -> Snapshot {
        let stats = self.stats();
        Snapshot {
            loads_under_way: self.loads_under_way(),
            background_loads: self.background_loads(),
            entries_in_memory: self.entries_in_memory(),
            tiers: self.tiers(),
            functions: stats.functions,
            tag_invalidations: stats.tag_invalidations,
            tag_expiries: stats.tag_expiries,
            invalidations_of_all: stats.invalidations_of_all,
        }
    }
}

impl CachedFunction {
    /// Returns what is published about the function.
    fn published(&self) -> PublishedFunction {
        PublishedFunction {
            fingerprint: self.records.fingerprint(),
            ..self.published.clone()
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

impl Observed {
    fn runtime(&self) -> Option<CacheRuntime> {
        self.0.upgrade().map(CacheRuntime)
    }
}

impl ObservedRuntime for Observed {
    fn functions(&self) -> Vec<(String, String)> {
        let functions = self.runtime().map(|runtime| runtime.published_functions());
        let functions = functions.into_iter().flatten();
        functions
            .map(|function| {
                let field = keys::function(&function.name, function.version);
                (field, json(&function).to_string())
            })
            .collect()
    }

    fn shapes(&self, known: &BTreeSet<String>) -> Vec<(String, String)> {
        let bound = self.runtime().map(|runtime| runtime.bound_by_name());
        let layouts = bound.iter().flatten().filter_map(|bound| {
            let fingerprint = bound.records.fingerprint()?;
            Some((fingerprint, bound.records.layout()?))
        });
        unsent(layouts, known)
    }

    fn instance(&self, about: &AboutInstance, max_bytes: usize) -> Option<String> {
        let runtime = self.runtime()?;
        let mut snapshot = runtime.snapshot_without_pings();
        let functions = Functions {
            stats: std::mem::take(&mut snapshot.functions),
            published: runtime.published_functions(),
        };
        let instance = PublishedInstance {
            id: about.id.clone(),
            name: about.name.clone(),
            number: about.number,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            began: about.began,
            published: about.published,
            period: about.period,
            settings: InstanceSettings {
                staleness_bound: about.staleness_bound,
                lease_time: about.lease_time,
                max_record_bytes: about.max_record_bytes,
                shards: about.shards,
            },
            snapshot,
            functions_left_out: 0,
            function_settings: None,
            settings_left_out: 0,
        };
        Some(limited(instance, functions, max_bytes))
    }
}

/// Returns the fields and values of the layouts whose fields are not `known`, each once.
fn unsent<L: Serialize>(
    layouts: impl Iterator<Item = (u64, L)>,
    known: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let fields = layouts.map(|(fingerprint, layout)| (keys::fingerprint(fingerprint), layout));
    let unsent: BTreeMap<_, _> = fields.filter(|(field, _)| !known.contains(field)).collect();
    let with_text = |(field, layout)| (field, json(&layout).to_string());
    unsent.into_iter().map(with_text).collect()
}

/// Functions of an instance: their numbers and their descriptions.
struct Functions {
    stats: Vec<FunctionStats>,
    published: Vec<PublishedFunction>,
}

impl Functions {
    /// Sorts the functions by their calls, those with the most first.
    fn sort(&mut self) {
        self.stats
            .sort_by_cached_key(|stats| std::cmp::Reverse(calls(stats)));
        let stats = self.stats.iter();
        let calls: HashMap<_, _> = stats
            .map(|stats| ((&*stats.name, stats.version), calls(stats)))
            .collect();
        self.published.sort_by_cached_key(|function| {
            let calls = calls.get(&(&*function.name, function.version));
            std::cmp::Reverse(calls.copied().unwrap_or_default())
        });
    }
}

/// Serializes an instance with as many of its functions as fit, those with the most calls first.
/// The tiers take no more than about half of the space, and the settings of functions no more than
/// about a quarter.
fn limited(mut instance: PublishedInstance, mut functions: Functions, max_bytes: usize) -> String {
    functions.sort();
    let (settings, left_out) = settings::grouped(&functions.published, max_bytes / 4);
    instance.settings_left_out = left_out;
    let tiers = &mut instance.snapshot.tiers;
    tiers.iter_mut().for_each(remove_repetitions);
    let mut value = without_zeros(&instance);
    if value.to_string().len() > max_bytes / 2 {
        let tiers = &mut instance.snapshot.tiers;
        tiers.iter_mut().for_each(|tier| tier.shards.clear());
        value = without_zeros(&instance);
    }
    value["function_settings"] = json(&settings);
    // For the number of functions that do not fit.
    let reserve = 32;
    let mut left = max_bytes.saturating_sub(value.to_string().len() + reserve);
    let (mut kept, mut left_out) = (Vec::new(), 0);
    for stats in functions.stats.iter().filter(|stats| calls(stats) > 0) {
        let mut stats = json(stats);
        remove_zeros(&mut stats);
        let len = stats.to_string().len() + 1;
        match left.checked_sub(len) {
            Some(less) if left_out == 0 => {
                left = less;
                kept.push(stats);
            }
            Some(_) | None => left_out += 1,
        }
    }
    value["functions_left_out"] = left_out.into();
    value["snapshot"]["functions"] = kept.into();
    value.to_string()
}

/// Removes the features that no shard can use from the shards: the tier lists them. The reason is
/// a long text, and each of the shards of a cluster has it.
fn remove_repetitions(tier: &mut TierStatus) {
    let of_tier = &tier.health.unusable;
    for shard in &mut tier.shards {
        if shard.health.unusable == *of_tier {
            shard.health.unusable.clear();
        }
    }
}

fn without_zeros(instance: &PublishedInstance) -> Value {
    let mut value = json(instance);
    if let Some(snapshot) = value.get_mut("snapshot") {
        remove_zeros(snapshot);
    }
    value
}

/// Returns how much a function was used.
fn calls(stats: &FunctionStats) -> u64 {
    let hits = stats
        .tiers
        .iter()
        .map(|tier| tier.hits.saturating_add(tier.misses));
    let other = [
        stats.loads,
        stats.invalidations,
        stats.expiries,
        stats.key_errors,
    ];
    hits.chain(other).fold(0, u64::saturating_add)
}

fn json(value: &impl Serialize) -> Value {
    // These types have texts as keys, and no number that JSON does not have.
    serde_json::to_value(value).unwrap_or_default()
}

/// The members that a reader needs also if they are zero or empty.
const KEPT: [&str; 6] = ["secs", "nanos", "version", "index", "tiers", "functions"];

/// Removes what reads as the same if it is missing. Most counters of most functions are zero.
fn remove_zeros(value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            remove_zeros(member);
            KEPT.contains(&&**name) || !is_zero(name, member)
        }),
        Value::Array(elements) => elements.iter_mut().for_each(remove_zeros),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_zero(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        // Other durations are optional, and a missing one is not zero.
        Value::Object(members) if name == "sum" => {
            members.values().all(|member| is_zero("", member))
        }
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests;
