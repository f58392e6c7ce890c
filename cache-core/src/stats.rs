//! Counters, which are always enabled, and the statistics that users see.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use crate::level::Level;

/// A counter for paths that are not hot. Relaxed: counters do not order other accesses.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Number of cells of a [`HitCounter`]: two threads of a small machine rarely share one, and each
/// function can have its own cells.
const CELLS: usize = 8;

/// A counter for hits.
///
/// Each thread counts in one cell, and each cell has its own cache line, so threads do not slow
/// each other down. A reader adds the cells up.
#[derive(Debug, Default)]
pub(crate) struct HitCounter([OwnLine; CELLS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct OwnLine(AtomicU64);

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

static NEXT_CELL: AtomicUsize = AtomicUsize::new(0);

#[cold]
fn choose_cell() -> usize {
    let cell = NEXT_CELL.fetch_add(1, Ordering::Relaxed) % CELLS;
    CELL.set(cell);
    cell
}

impl HitCounter {
    #[inline]
    pub(crate) fn add_one(&self) {
        let mut cell = CELL.get();
        if cell == usize::MAX {
            cell = choose_cell();
        }
        self.0[cell % CELLS].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|cell| cell.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// Counters of a function in one tier.
#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    pub(crate) hits: HitCounter,
    /// The hits among `hits` whose value was stale.
    pub(crate) stale_hits: HitCounter,
    pub(crate) misses: Counter,
    pub(crate) decode_errors: Counter,
    pub(crate) mismatches: Counter,
    pub(crate) tier_errors: Counter,
    pub(crate) refused_fills: RefusalCounters,
    pub(crate) too_large: Counter,
    pub(crate) lease_waits: Counter,
    pub(crate) isolated_hits: Counter,
    pub(crate) promotions: Counter,
}

/// Reason why a fill or a lease was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The lease is no longer valid: its key was invalidated, it expired, or another load took it
    /// over.
    Lease,
    /// The function was invalidated.
    Function,
    /// The history changed: the store lost data, or the whole namespace was invalidated.
    History,
    /// The link on which the lease was granted is lost.
    Link,
    /// An invalidation of the key is queued.
    Queued,
    /// A write guard for the key is held.
    Guard,
}

/// Counters of refused fills, by reason.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounters {
    lease: Counter,
    function: Counter,
    history: Counter,
    link: Counter,
    queued: Counter,
    guard: Counter,
}

impl RefusalCounters {
    pub(crate) fn add_one(&self, refusal: Refusal) {
        match refusal {
            Refusal::Lease => &self.lease,
            Refusal::Function => &self.function,
            Refusal::History => &self.history,
            Refusal::Link => &self.link,
            Refusal::Queued => &self.queued,
            Refusal::Guard => &self.guard,
        }
        .add_one();
    }

    fn snapshot(&self) -> RefusedFills {
        RefusedFills {
            lease: self.lease.get(),
            function: self.function.get(),
            history: self.history.get(),
            link: self.link.get(),
            queued: self.queued.get(),
            guard: self.guard.get(),
        }
    }
}

/// Counters of a function that do not belong to a tier.
#[derive(Debug, Default)]
pub(crate) struct FunctionCounters {
    pub(crate) loads: Counter,
    pub(crate) load_errors: Counter,
    pub(crate) waits: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) key_errors: Counter,
    /// The hits in memory on the result that there is no value.
    pub(crate) absent_hits: HitCounter,
    /// The hits in memory on an error.
    pub(crate) error_hits: HitCounter,
}

impl TierCounters {
    pub(crate) fn snapshot(&self, level: Level) -> TierStats {
        let isolated_hits = self.isolated_hits.get();
        TierStats {
            level,
            hits: self.hits.get(),
            // Each of these hits was counted as a miss first, before the tiers below failed.
            misses: self.misses.get().saturating_sub(isolated_hits),
            decode_errors: self.decode_errors.get(),
            mismatches: self.mismatches.get(),
            tier_errors: self.tier_errors.get(),
            refused_fills: self.refused_fills.snapshot(),
            too_large: self.too_large.get(),
            lease_waits: self.lease_waits.get(),
            isolated_hits,
            promotions: self.promotions.get(),
        }
    }
}

impl FunctionCounters {
    pub(crate) fn snapshot(
        &self,
        name: String,
        version: u32,
        tiers: Vec<TierStats>,
    ) -> FunctionStats {
        FunctionStats {
            name,
            version,
            loads: self.loads.get(),
            load_errors: self.load_errors.get(),
            waits: self.waits.get(),
            invalidations: self.invalidations.get(),
            key_errors: self.key_errors.get(),
            tiers,
        }
    }
}

/// Statistics of a runtime since it was built, by function. `Display` writes a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Functions that were called at least once, sorted by name.
    pub functions: Vec<FunctionStats>,
}

/// Statistics of one function. A generic function has one for each choice of its types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Name of the function.
    pub name: String,
    /// Version of the function.
    pub version: u32,
    /// Number of times that the body ran.
    pub loads: u64,
    /// Number of loads that returned an error.
    pub load_errors: u64,
    /// Number of times that a call waited for a load of another call.
    pub waits: u64,
    /// Number of invalidations of a key, by a pattern, or of the whole function. Putting a value by
    /// hand counts as an invalidation of its key.
    pub invalidations: u64,
    /// Number of calls whose arguments could not be encoded as a key. Their body ran.
    pub key_errors: u64,
    /// Statistics of each tier, in look-up order.
    pub tiers: Vec<TierStats>,
}

/// Statistics of one function in one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Level of the tier.
    pub level: Level,
    /// Number of calls that this tier answered.
    pub hits: u64,
    /// Number of look-ups that this tier could not answer, without the
    /// [isolated hits](Self::isolated_hits).
    pub misses: u64,
    /// Number of records that were damaged or could not be decoded. Each is a miss as well.
    pub decode_errors: u64,
    /// Number of undamaged records of another key, version, shape or codec. Each is a miss as well.
    pub mismatches: u64,
    /// Number of operations that failed or timed out.
    pub tier_errors: u64,
    /// Number of values that were not stored, by reason.
    pub refused_fills: RefusedFills,
    /// Number of values that were too large to be stored.
    pub too_large: u64,
    /// Number of times that a call waited for another instance that held the lease.
    pub lease_waits: u64,
    /// Number of calls that memory answered while this instance was isolated.
    pub isolated_hits: u64,
    /// Number of values that were copied into this tier from one below it. Copies into memory are
    /// not counted.
    pub promotions: u64,
}

/// Number of values that a tier did not store, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedFills {
    /// The lease was no longer valid: the key was invalidated, the lease expired, or another load
    /// took it over.
    pub lease: u64,
    /// The function was invalidated.
    pub function: u64,
    /// The history changed: the store lost data, or the whole namespace was invalidated.
    pub history: u64,
    /// The link on which the lease was granted was lost.
    pub link: u64,
    /// An invalidation of the key was queued.
    pub queued: u64,
    /// A write guard for the key was held.
    pub guard: u64,
}

impl RefusedFills {
    /// Returns the sum of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            lease,
            function,
            history,
            link,
            queued,
            guard,
        } = self;
        lease + function + history + link + queued + guard
    }
}

impl Stats {
    /// Returns the statistics of the function with this name.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&FunctionStats> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// Returns the share of calls that a tier answered, of all functions. Returns `None` before the
    /// first call.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let (hits, loads) = self.functions.iter().fold((0, 0), |(hits, loads), one| {
            (hits + one.hits(), loads + one.loads)
        });
        rate(hits, loads)
    }
}

fn rate(hits: u64, loads: u64) -> Option<f64> {
    let calls = hits + loads;
    (calls > 0).then(|| hits as f64 / calls as f64)
}

impl FunctionStats {
    /// Returns the statistics of one tier.
    #[must_use]
    pub fn tier(&self, level: Level) -> Option<&TierStats> {
        self.tiers.iter().find(|tier| tier.level == level)
    }

    /// Returns the number of calls that a tier answered.
    #[must_use]
    pub fn hits(&self) -> u64 {
        let hits = |tier: &TierStats| tier.hits + tier.isolated_hits;
        self.tiers.iter().map(hits).sum()
    }

    /// Returns the share of hits among the calls that a tier or the body answered. Returns `None`
    /// before the first call. Calls that waited for the load of another call are not counted.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        rate(self.hits(), self.loads)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .functions
            .iter()
            .map(|function| function.name.chars().count())
            .max()
            .unwrap_or(0)
            .max(8);
        writeln!(
            f,
            "{:width$}  {:>4}  {:>9}  {:>9}  {:>9}  {:>7}  {:>6}  {:>9}  {:>9}  {:>6}",
            "function",
            "tier",
            "hits",
            "isolated",
            "misses",
            "errors",
            "loads",
            "load errs",
            "waits",
            "inval."
        )?;
        for function in &self.functions {
            if function.tiers.is_empty() {
                let (name, loads, errors) = (&function.name, function.loads, function.load_errors);
                writeln!(
                    f,
                    "{name:width$}  {:>4}  {:>9}  {:>9}  {:>9}  {:>7}  {loads:>6}  {errors:>9}",
                    "none", "", "", "", ""
                )?;
            }
            for (at, tier) in function.tiers.iter().enumerate() {
                let errors = tier.decode_errors + tier.mismatches + tier.tier_errors;
                let name = if at == 0 { function.name.as_str() } else { "" };
                write!(
                    f,
                    "{name:width$}  {:>4}  {:>9}  {:>9}  {:>9}  {errors:>7}",
                    tier.level.to_string(),
                    tier.hits,
                    tier.isolated_hits,
                    tier.misses
                )?;
                if at == 0 {
                    write!(
                        f,
                        "  {:>6}  {:>9}  {:>9}  {:>6}",
                        function.loads,
                        function.load_errors,
                        function.waits,
                        function.invalidations
                    )?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
