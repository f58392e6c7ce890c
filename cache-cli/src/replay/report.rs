//! The table that is printed at the end.

use std::collections::HashSet;
use std::time::Duration;

use cache_core::{FunctionStats, Level};
use serde_json::{Value, json};

use super::paths::{PATHS, Paths};
use crate::args::ReplayEngine;
use crate::failure::Failure;
use crate::latencies::millis;
use crate::output::Output;
use crate::verdict::Verdict;

/// Counters of the function.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The hits of each tier.
    hits: Vec<(Level, u64)>,
    loads: u64,
    waits: u64,
}

impl Counts {
    /// Takes the counters of the function, which it has after its first call.
    pub(super) fn of(stats: Option<&FunctionStats>) -> Self {
        stats.map_or_else(Self::default, |stats| Self {
            hits: stats
                .tiers
                .iter()
                .map(|tier| (tier.level, tier.hits))
                .collect(),
            loads: stats.loads,
            waits: stats.waits,
        })
    }
}

/// Everything that is printed.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) engine: ReplayEngine,
    pub(super) entries: u64,
    pub(super) took: Duration,
    pub(super) counts: Counts,
    pub(super) paths: Paths,
    pub(super) distinct: usize,
    /// The hit ratio of the engine without the cache, with the same size and accesses.
    pub(super) bare_hit_ratio: f64,
    pub(super) is_interrupted: bool,
}

impl Report {
    /// Prints it. A value that belongs to another key is something wrong.
    pub(super) fn print(&self, output: &Output) -> Result<Verdict, Failure> {
        output.either(&self.text(), || self.document())?;
        Ok(self.verdict())
    }

    fn verdict(&self) -> Verdict {
        match self.paths.wrong {
            0 => Verdict::Fine,
            _ => Verdict::Wrong,
        }
    }

    fn per_second(&self) -> f64 {
        self.paths.calls() as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn hit_ratio(&self, hits: u64) -> f64 {
        hits as f64 / (self.paths.calls() as f64).max(1.0)
    }

    fn text(&self) -> String {
        let interrupted = match self.is_interrupted {
            true => ", interrupted",
            false => "",
        };
        let mut lines = vec![
            format!(
                "accesses      {:>10}  {:.0} per second{interrupted}",
                self.paths.calls(),
                self.per_second()
            ),
            format!("distinct keys {:>10}", self.distinct),
        ];
        for (level, hits) in &self.counts.hits {
            let bare = match *level == Level::L1 {
                true => format!(
                    ", {} alone: {:.2} %",
                    name(self.engine),
                    100.0 * self.bare_hit_ratio
                ),
                false => String::new(),
            };
            lines.push(format!(
                "{level} hits       {hits:>10}  hit ratio {:.2} %{bare}",
                100.0 * self.hit_ratio(*hits)
            ));
        }
        lines.push(format!("loads         {:>10}", self.counts.loads));
        lines.push(format!("waits         {:>10}", self.counts.waits));
        lines.push(String::new());
        lines.push(format!(
            "{:<16}{:>10}{:>12}{:>12}{:>12}",
            "path", "calls", "p50 ms", "p99 ms", "max ms"
        ));
        for (path, name, _) in PATHS {
            let calls = self.paths.of(path);
            let times = calls.summary().map_or_else(
                || format!("{:>12}{:>12}{:>12}", "-", "-", "-"),
                |times| {
                    let [p50, p99, max] = times.map(millis);
                    format!("{p50:>12.4}{p99:>12.4}{max:>12.4}")
                },
            );
            lines.push(format!("{name:<16}{:>10}{times}", calls.count()));
        }
        lines.push(format!("wrong values: {}", self.paths.wrong));
        lines.join("\n")
    }

    fn document(&self) -> Value {
        let tiers = self.counts.hits.iter().map(|(level, hits)| {
            json!({
                "level": level.to_string(),
                "hits": hits,
                "hit_ratio": self.hit_ratio(*hits),
            })
        });
        let paths = PATHS.map(|(path, _, name)| {
            let calls = self.paths.of(path);
            let times = calls.summary().map(|times| times.map(millis));
            json!({
                "path": name,
                "calls": calls.count(),
                "p50_ms": times.map(|[p50, _, _]| p50),
                "p99_ms": times.map(|[_, p99, _]| p99),
                "max_ms": times.map(|[_, _, max]| max),
            })
        });
        json!({
            "accesses": self.paths.calls(),
            "distinct_keys": self.distinct,
            "seconds": self.took.as_secs_f64(),
            "engine": name(self.engine),
            "entries": self.entries,
            "engine_alone_hit_ratio": self.bare_hit_ratio,
            "tiers": tiers.collect::<Vec<_>>(),
            "loads": self.counts.loads,
            "waits": self.counts.waits,
            "paths": paths,
            "wrong_values": self.paths.wrong,
            "is_interrupted": self.is_interrupted,
        })
    }
}

fn name(engine: ReplayEngine) -> &'static str {
    match engine {
        ReplayEngine::Moka => "moka",
        ReplayEngine::QuickCache => "quick_cache",
    }
}

/// Returns the number of different keys.
pub(super) fn distinct(trace: &[String]) -> usize {
    trace.iter().collect::<HashSet<_>>().len()
}

/// Returns the hit ratio of the engine without the cache, with the same size and trace.
pub(super) fn bare_hit_ratio(engine: ReplayEngine, entries: u64, trace: &[String]) -> f64 {
    let hits = match engine {
        ReplayEngine::Moka => {
            let cache = moka::sync::Cache::new(entries);
            count_hits(
                trace,
                |key| cache.get(key).is_some(),
                |key| cache.insert(key, ()),
            )
        }
        ReplayEngine::QuickCache => {
            let cache =
                quick_cache::sync::Cache::new(usize::try_from(entries).unwrap_or(usize::MAX));
            count_hits(
                trace,
                |key| cache.get(key).is_some(),
                |key| cache.insert(key, ()),
            )
        }
    };
    hits as f64 / trace.len().max(1) as f64
}

fn count_hits(trace: &[String], has: impl Fn(&String) -> bool, insert: impl Fn(String)) -> usize {
    let is_hit = |key: &&String| {
        has(key) || {
            insert((*key).clone());
            false
        }
    };
    trace.iter().filter(is_hit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_value_is_something_wrong_and_is_shown() {
        let mut report = Report {
            engine: ReplayEngine::Moka,
            entries: 1,
            took: Duration::from_secs(1),
            counts: Counts::default(),
            paths: Paths::default(),
            distinct: 0,
            bare_hit_ratio: 0.0,
            is_interrupted: false,
        };
        assert_eq!(report.verdict(), Verdict::Fine);
        report.paths.count_wrong();
        assert_eq!(report.verdict(), Verdict::Wrong);
        assert!(report.text().ends_with("wrong values: 1"));
        assert_eq!(report.document()["wrong_values"], 1);
    }

    #[test]
    fn engine_with_room_for_all_keys_misses_each_once() {
        let keys = ["a", "b", "a", "c", "a"].map(str::to_owned);
        for engine in [ReplayEngine::Moka, ReplayEngine::QuickCache] {
            assert_eq!(bare_hit_ratio(engine, 10, &keys), 0.4, "{engine:?}");
        }
        assert_eq!(distinct(&keys), 3);
    }
}
