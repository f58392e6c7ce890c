//! The samples of a runtime.

use std::sync::Arc;

use super::collect::Samples;
use super::detail::{ALL_FUNCTIONS, MetricsDetail};
use super::families::{
    BACKGROUND_LIMIT, BACKGROUND_LOADS, FLIGHT_ACTIVE, INFO, MEMORY_ENTRY_COUNT,
    MEMORY_ENTRY_LIMIT, MEMORY_EVICTIONS, MEMORY_LIMIT, MEMORY_USAGE,
};
use super::observer::{Observation, Observer};
use super::sample::{Sample, SampleValue, Text};
use super::{of_functions, of_tiers};
use crate::runtime::CacheRuntime;
use crate::stats::FunctionStats;
use crate::tier::memory::{MemoryTier, MemoryUsage};

/// Samples of a function that uses two tiers.
const PER_FUNCTION: usize = 48;

/// Samples of the runtime and of its tiers, for a few tiers.
const BESIDE_FUNCTIONS: usize = 100;

impl CacheRuntime {
    /// Returns the value of each time series of [`FAMILIES`](super::FAMILIES) that the runtime has,
    /// in the order of the families.
    ///
    /// It reads counters and sends no request, takes about 4 us for each function, and allocates.
    /// Call it when metrics are collected. The functions are those of [`stats`](Self::stats).
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let (mut stats, removed) = self.stats_and_removed();
        stats.functions = match self.state().metrics_detail {
            MetricsDetail::Functions => with_one_of_each_name(stats.functions),
            MetricsDetail::Runtime => {
                let all = stats.functions.into_iter().chain(removed);
                sum(all).into_iter().collect()
            }
        };
        let names = stats.functions.iter();
        let names: Vec<_> = names
            .map(|function| Text::Shared(Arc::from(&*function.name)))
            .collect();
        let capacity = stats.functions.len() * PER_FUNCTION + BESIDE_FUNCTIONS;
        let mut samples = Samples::with_capacity(capacity);
        of_functions::add(&mut samples, &stats, &names);
        self.add_loads(&mut samples);
        of_tiers::add(&mut samples, &self.tiers());
        self.add_memory(&mut samples);
        samples.into_vec()
    }

    /// Has `observer` receive the durations of bodies and of operations on tiers from now on, until
    /// the result is dropped. A runtime can have several observers, and calls that are answered by
    /// memory report nothing.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> Observation {
        self.state().observers.add(observer)
    }

    fn add_loads(&self, samples: &mut Samples) {
        let flights = SampleValue::up_down(self.loads_under_way());
        samples.push(&FLIGHT_ACTIVE, [], flights);
        let background = self.background_loads();
        let states = [
            ("running", background.running),
            ("waiting", background.waiting),
        ];
        for (state, number) in states {
            samples.push(
                &BACKGROUND_LOADS,
                [state.into()],
                SampleValue::up_down(number),
            );
        }
        let places = SampleValue::up_down(background.places);
        samples.push(&BACKGROUND_LIMIT, [], places);
    }

    fn add_memory(&self, samples: &mut Samples) {
        let usage = self.state().memory().map(MemoryTier::usage);
        if let Some(usage) = &usage {
            let MemoryUsage {
                engine: _,
                entries,
                max_entries,
                bytes,
                evictions,
            } = *usage;
            let numbers = [
                (&MEMORY_ENTRY_COUNT, Some(entries)),
                (&MEMORY_ENTRY_LIMIT, max_entries),
                (&MEMORY_USAGE, bytes.map(|(used, _)| used)),
                (&MEMORY_LIMIT, bytes.map(|(_, most)| most)),
            ];
            for (family, number) in numbers {
                if let Some(number) = number {
                    samples.push(family, [], SampleValue::up_down(number));
                }
            }
            if let Some(evictions) = evictions {
                samples.push(&MEMORY_EVICTIONS, [], SampleValue::Counter(evictions));
            }
        }
        let engine = usage.map_or("none", |usage| usage.engine);
        let attributes = [env!("CARGO_PKG_VERSION").into(), engine.into()];
        samples.push(&INFO, attributes, SampleValue::Gauge(1.0));
    }
}

/// Adds the statistics of functions of the same name up: two time series must not have the same
/// attributes. Two types of one path, of different versions of a crate, give two instances of a
/// generic function one name. `functions` are sorted.
fn with_one_of_each_name(functions: Vec<FunctionStats>) -> Vec<FunctionStats> {
    let mut all: Vec<FunctionStats> = Vec::with_capacity(functions.len());
    for function in functions {
        match all.last_mut() {
            Some(last) if last.name == function.name => last.merge(&function),
            _ => all.push(function),
        }
    }
    all
}

/// Adds the statistics of all functions up. `None` if there is none.
fn sum(mut functions: impl Iterator<Item = FunctionStats>) -> Option<FunctionStats> {
    let mut all = functions.next()?;
    ALL_FUNCTIONS.clone_into(&mut all.name);
    functions.for_each(|function| all.merge(&function));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;
    use crate::stats::{FunctionCounters, TierCounters};

    fn function(name: &str, hits: u64) -> FunctionStats {
        let (counters, memory) = (FunctionCounters::default(), TierCounters::default());
        counters.waits.add(hits);
        counters.invalidations.key.add(hits);
        (0..hits).for_each(|_| memory.hits.add_one());
        let tiers = vec![memory.snapshot(Level::L1)];
        counters.snapshot(name.to_owned(), 1, tiers)
    }

    #[test]
    fn functions_of_one_name_are_added_up() {
        let functions = ["a", "b", "b"].map(|name| function(name, 2));
        let merged = with_one_of_each_name(functions.into());
        let names: Vec<_> = merged.iter().map(|function| &*function.name).collect();
        assert_eq!(names, ["a", "b"]);
        let hits = merged.iter().map(|function| function.tiers[0].hits);
        assert_eq!(hits.collect::<Vec<_>>(), [2, 4]);
        let scopes = merged
            .iter()
            .map(|function| function.invalidations_by_scope.key);
        assert_eq!(scopes.collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn sum_has_the_tiers_of_all_functions() {
        let mut other = function("other", 1);
        other.tiers[0].level = Level::L2;
        let sum = sum([function("one", 3), other].into_iter()).map(|sum| (sum.name, sum.tiers));
        let (name, tiers) = sum.expect("the sum of two functions");
        assert_eq!(name, "*");
        let hits: Vec<_> = tiers.iter().map(|tier| (tier.level, tier.hits)).collect();
        assert_eq!(hits, [(Level::L1, 3), (Level::L2, 1)]);
    }
}
