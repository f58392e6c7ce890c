//! The table that is printed at the end.

use std::time::Duration;

use multi_tier_cached::{Engine, FunctionStats, Level};

use crate::latencies::{Latencies, PATHS};
use crate::options::Options;

/// Prints the table. Returns the number of wrong values.
pub(crate) fn print(
    options: &Options,
    trace: &[String],
    took: Duration,
    stats: &FunctionStats,
    mut latencies: Latencies,
) -> u64 {
    let accesses = trace.len() as f64;
    println!(
        "accesses {:>10}   {:.0} per second",
        trace.len(),
        accesses / took.as_secs_f64()
    );
    for tier in &stats.tiers {
        let ratio = 100.0 * tier.hits as f64 / accesses;
        println!(
            "{} hits  {:>10}   hit ratio {ratio:.2} %",
            tier.level, tier.hits
        );
        if tier.level == Level::L1 {
            let bare = 100.0 * bare_hit_ratio(options, trace);
            println!(
                "                      bare {:?}: {bare:.2} %",
                options.engine
            );
        }
    }
    println!(
        "loads    {:>10}\nwaits    {:>10}\n",
        stats.loads, stats.waits
    );

    println!(
        "{:<15} {:>9} {:>13} {:>13} {:>13}",
        "path", "calls", "p50", "p99", "max"
    );
    for (path, name) in PATHS {
        let calls = &mut latencies.of[path as usize];
        calls.sort_unstable();
        let at = |share: f64| {
            let rank = (calls.len() as f64 * share) as usize;
            calls
                .get(rank.min(calls.len().saturating_sub(1)))
                .map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        println!(
            "{name:<15} {:>9} {p50:>10.1} us {p99:>10.1} us {max:>10.1} us",
            calls.len()
        );
    }
    println!("wrong values: {}", latencies.wrong);
    latencies.wrong
}

/// Returns the hit ratio of the engine without the cache, with the same size and trace.
fn bare_hit_ratio(options: &Options, trace: &[String]) -> f64 {
    let hits = if options.engine == Engine::Moka {
        let cache = moka::sync::Cache::new(options.l1_entries);
        count_hits(
            trace,
            |key| cache.get(key).is_some(),
            |key| cache.insert(key, ()),
        )
    } else {
        let cache = quick_cache::sync::Cache::new(options.l1_entries as usize);
        count_hits(
            trace,
            |key| cache.get(key).is_some(),
            |key| cache.insert(key, ()),
        )
    };
    hits as f64 / trace.len() as f64
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
