//! Reports of a runtime, for people and for metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::operations_table::write_operations;
use crate::background::BackgroundLoads;
use crate::stats::{FunctionStats, Stats};
use crate::tier::{Breaker, Health, TierStatus};

/// State of a runtime at one moment. `Display` is a table of its tiers, and one of its functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Result of [`CacheRuntime::loads_under_way`](crate::CacheRuntime::loads_under_way).
    #[serde(default)]
    pub loads_under_way: usize,
    /// Result of [`CacheRuntime::background_loads`](crate::CacheRuntime::background_loads).
    #[serde(default)]
    pub background_loads: BackgroundLoads,
    /// Result of [`CacheRuntime::entries_in_memory`](crate::CacheRuntime::entries_in_memory).
    #[serde(default)]
    pub entries_in_memory: u64,
    /// Result of [`CacheRuntime::health`](crate::CacheRuntime::health).
    pub tiers: Vec<TierStatus>,
    /// Result of [`CacheRuntime::stats`](crate::CacheRuntime::stats).
    pub functions: Vec<FunctionStats>,
    /// Result of [`Stats::tag_invalidations`].
    #[serde(default)]
    pub tag_invalidations: u64,
    /// Result of [`Stats::tag_expiries`].
    #[serde(default)]
    pub tag_expiries: u64,
    /// Result of [`Stats::invalidations_of_all`].
    #[serde(default)]
    pub invalidations_of_all: u64,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = RuntimeHealth {
            tiers: self.tiers.clone(),
        };
        let stats = Stats {
            functions: self.functions.clone(),
            tag_invalidations: self.tag_invalidations,
            tag_expiries: self.tag_expiries,
            invalidations_of_all: self.invalidations_of_all,
        };
        writeln!(f, "{health}\n{stats}")?;
        write!(
            f,
            "entries in memory: {}, loads under way: {}",
            self.entries_in_memory, self.loads_under_way
        )?;
        let BackgroundLoads {
            running,
            waiting,
            places,
        } = self.background_loads;
        match running + waiting {
            0 => Ok(()),
            _ => write!(
                f,
                ", in the background: {running} of at most {places} run, {waiting} wait"
            ),
        }
    }
}

/// Health of the tiers of a runtime. `Display` is a table, with a row for each shard of a tier that
/// has several: `l2.3` is shard 3 of `l2`. Below it are the reasons of what is not well, and a
/// table of the operations on the tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RuntimeHealth {
    /// The tiers below memory, in look-up order.
    pub tiers: Vec<TierStatus>,
}

impl RuntimeHealth {
    /// Returns `true` if every tier answers and serves calls, and if every shared tier is coherent.
    ///
    /// Loads that fail, a back-off after them, and a full queue of background loads leave it
    /// `true`: the tiers are well, and an instance that is taken out of service because of a source
    /// that is down helps no caller. The log and [`FunctionStats`] report them.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.tiers.iter().all(|tier| {
            tier.answered_in.is_some()
                && tier.last_error.is_none()
                && (tier.health.coherent_for.is_some() || !tier.health.has_channel)
        })
    }
}

impl fmt::Display for RuntimeHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>5}  {:9}  {:9}  {:>10}  {:>12}  {:>12}  {:>6}  {:>10}  address",
            "tier",
            "kind",
            "breaker",
            "answers",
            "coherent for",
            "last barrier",
            "queued",
            "isolations"
        )?;
        let time = |time: Option<std::time::Duration>| match time {
            None => "no".to_owned(),
            Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1_000.0),
        };
        for tier in &self.tiers {
            let row = |name: String, breaker: Breaker, health: &Health, answered_in| {
                let of_channel = |value| match health.has_channel {
                    true => time(value),
                    false => "-".to_owned(),
                };
                format!(
                    "{:>5}  {:9}  {:9}  {:>10}  {:>12}  {:>12}  {:>6}  {:>10}  {}",
                    name,
                    tier.kind,
                    format!("{breaker:?}").to_lowercase(),
                    time(answered_in),
                    of_channel(health.coherent_for),
                    of_channel(health.last_barrier),
                    health.queued,
                    health.isolations,
                    health.address.as_deref().unwrap_or("-")
                )
            };
            let name = tier.level.to_string();
            let own = row(name, tier.breaker, &tier.health, tier.answered_in);
            writeln!(f, "{own}")?;
            for shard in &tier.shards {
                let name = format!("{}.{}", tier.level, shard.index);
                let own = row(name, shard.breaker, &shard.health, shard.answered_in);
                writeln!(f, "{own}")?;
            }
        }
        for tier in &self.tiers {
            for reason in tier.reasons() {
                writeln!(f, "{}: {reason}", tier.level)?;
            }
            for unusable in &tier.health.unusable {
                writeln!(f, "{}: {unusable}", tier.level)?;
            }
        }
        write_operations(f, &self.tiers)
    }
}
