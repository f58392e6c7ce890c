//! Statistics of functions that were not called yet. All their numbers are zero, so that a program
//! that watches the statistics knows each function from the start.

use std::collections::HashSet;
use std::sync::Arc;

use super::CacheRuntime;
use crate::function::definition::Definition;
use crate::function::plan::Plan;
use crate::function::registry::{annotated, built_for_process};
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};

impl CacheRuntime {
    /// Adds the functions to `called` that this runtime would serve if they were called.
    ///
    /// Of a function with instances none is known before its first call, because the name of each
    /// ends with its types.
    pub(super) fn add_uncalled(&self, called: &mut Vec<FunctionStats>) {
        if !self.is_of_process() {
            return;
        }
        let names: HashSet<String> = called.iter().map(|stats| stats.name.clone()).collect();
        let is_uncalled = |definition: &Definition| {
            !definition.has_instances && !names.contains(&*definition.name)
        };
        let annotated = annotated().filter(|definition| is_uncalled(definition));
        called.extend(annotated.map(|definition| self.without_calls(definition)));
        let built = built_for_process();
        let built = built.iter().filter(|definition| is_uncalled(definition));
        called.extend(built.map(|definition| self.without_calls(definition)));
    }

    /// Returns `true` if calls outside of every [`scope`](Self::scope) use this runtime.
    pub(super) fn is_of_process(&self) -> bool {
        match Self::installed() {
            Some(installed) => Arc::ptr_eq(&installed.0, &self.0),
            None => self.0.is_default,
        }
    }

    fn without_calls(&self, definition: &Definition) -> FunctionStats {
        let state = self.state();
        let plan = Plan::new(definition, state)
            .unwrap_or_else(|problem| Plan::memory_alone(definition, state, problem));
        let levels = plan.counted_levels();
        let tiers = levels.map(|level| TierCounters::default().snapshot(level));
        let name = definition.name.to_string();
        FunctionCounters::default().snapshot(name, definition.version, tiers.collect())
    }
}
