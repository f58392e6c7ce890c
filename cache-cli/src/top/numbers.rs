//! The numbers that `top` shows: sums over all instances, and what happened since the last time.

use std::collections::HashMap;
use std::time::Duration;

use cache_core::Histogram;
use cache_core::inspect::PublishedInstance;

/// The publications of all instances.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) instances: Vec<PublishedInstance>,
    /// By id: the publication before the last one, if it was read.
    before: HashMap<String, PublishedInstance>,
}

/// A function, summed over the instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FunctionNumbers {
    pub(super) name: String,
    pub(super) version: u32,
    /// The name; with the version if functions of several versions have it.
    pub(super) label: String,
    pub(super) calls: u64,
    pub(super) hits: u64,
    pub(super) loads: u64,
    pub(super) errors: u64,
    pub(super) waits: u64,
    pub(super) invalidations: u64,
    /// A call for each second, since the publication before the last one.
    pub(super) calls_per_second: f64,
    pub(super) loads_per_second: f64,
    pub(super) median: Option<Duration>,
    pub(super) p99: Option<Duration>,
    /// The time that all loads took.
    pub(super) cost: Duration,
}

/// The counters of one instance for a function.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    loads: u64,
}

impl Numbers {
    /// Takes over what instances have published since.
    pub(super) fn update(&mut self, instances: Vec<PublishedInstance>) {
        let earlier = std::mem::take(&mut self.instances);
        let ids: Vec<&str> = instances.iter().map(|instance| &*instance.id).collect();
        self.before.retain(|id, _| ids.contains(&&**id));
        for instance in earlier {
            let is_newer = |new: &&PublishedInstance| {
                new.id == instance.id && new.published > instance.published
            };
            if instances.iter().any(|new| is_newer(&new)) {
                self.before.insert(instance.id.clone(), instance);
            }
        }
        self.instances = instances;
    }

    /// Returns the functions whose names contain a text.
    pub(super) fn functions(&self, filter: &str) -> Vec<FunctionNumbers> {
        let mut functions: HashMap<(&str, u32), (FunctionNumbers, Histogram)> = HashMap::new();
        for instance in &self.instances {
            let before = self.before.get(&instance.id);
            let elapsed = before.map_or(0, |before| {
                instance.published.saturating_sub(before.published)
            });
            for of in &instance.snapshot.functions {
                if !of.name.contains(filter) {
                    continue;
                }
                let (sum, times) = functions.entry((&of.name, of.version)).or_default();
                sum.name.clone_from(&of.name);
                sum.version = of.version;
                let now = counts(instance, &of.name, of.version);
                let hits = of.hits();
                add(&mut sum.calls, now.calls);
                add(&mut sum.hits, hits);
                add(&mut sum.loads, of.loads);
                add(&mut sum.errors, of.load_errors);
                add(&mut sum.waits, of.waits);
                add(&mut sum.invalidations, of.invalidations);
                let returned = of.load_times.returned();
                sum.cost = sum.cost.saturating_add(returned.sum());
                times.merge(&returned);
                if let Some(before) = before.filter(|_| elapsed > 0) {
                    let then = counts(before, &of.name, of.version);
                    let rate = |now: u64, then: u64| {
                        now.saturating_sub(then) as f64 * 1_000.0 / elapsed as f64
                    };
                    sum.calls_per_second += rate(now.calls, then.calls);
                    sum.loads_per_second += rate(now.loads, then.loads);
                }
            }
        }
        let mut functions: Vec<FunctionNumbers> = functions
            .into_values()
            .map(|(sum, times)| FunctionNumbers {
                median: times.quantile(0.5),
                p99: times.quantile(0.99),
                ..sum
            })
            .collect();
        functions.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        label(&mut functions);
        functions
    }
}

/// Sets the labels of functions, which are sorted by their names.
fn label(functions: &mut [FunctionNumbers]) {
    for of in functions.chunk_by_mut(|one, other| one.name == other.name) {
        let has_versions = of.len() > 1;
        for of in of {
            of.label = match has_versions {
                true => format!("{}:{}", of.name, of.version),
                false => of.name.clone(),
            };
        }
    }
}

/// Adds a number that was published. It may be of any size.
fn add(sum: &mut u64, number: u64) {
    *sum = sum.saturating_add(number);
}

/// Returns the counters of an instance for a function. A call is answered by a tier, or loads.
fn counts(instance: &PublishedInstance, name: &str, version: u32) -> Counts {
    let mut functions = instance.snapshot.functions.iter();
    let found = functions.find(|of| of.name == name && of.version == version);
    found.map_or_else(Counts::default, |of| Counts {
        calls: of.hits().saturating_add(of.waits).saturating_add(of.loads),
        loads: of.loads,
    })
}

impl FunctionNumbers {
    /// The share of calls that a tier answered, in percent.
    pub(super) fn hit_percent(&self) -> Option<f64> {
        let answered = self.hits.saturating_add(self.loads);
        (answered > 0).then(|| self.hits as f64 * 100.0 / answered as f64)
    }
}
