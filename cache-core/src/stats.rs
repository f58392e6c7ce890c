//! Counters, always on, and what they look like from outside.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use crate::level::Level;

/// A counter for paths that are not hot. Relaxed: counters order nothing.
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

/// Cells of a [`HitCounter`]: enough that two threads of a small machine seldom share one, few enough to keep for every
/// function.
const CELLS: usize = 8;

/// A counter for hits: threads count in cells of their own, each on its own cache line, and a reader adds them up.
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

    fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|cell| cell.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// What is counted for a function in one tier.
#[derive(Debug, Default)]
pub(crate) struct TierCounters {
    pub(crate) hits: HitCounter,
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

/// Why a fill was refused, or a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The lease is gone: its key was invalidated, its time is over, or another load took it over.
    Lease,
    /// The function was invalidated.
    Function,
    /// The store, or all of the namespace, is another since.
    History,
    /// The link that the lease came over is gone.
    Link,
    /// An invalidation of the key waits to be sent.
    Queued,
    /// A change of the key is under way.
    Guard,
}

/// Refused fills, by reason.
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

/// What is counted for a function whatever the tier.
#[derive(Debug, Default)]
pub(crate) struct FunctionCounters {
    pub(crate) loads: Counter,
    pub(crate) load_errors: Counter,
    pub(crate) waits: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) key_errors: Counter,
}

impl TierCounters {
    pub(crate) fn snapshot(&self, level: Level) -> TierStats {
        let isolated_hits = self.isolated_hits.get();
        TierStats {
            level,
            hits: self.hits.get(),
            // Each of them was a miss until no tier below could be asked.
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

/// What a runtime has counted since it was built, by function. `Display` is a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The functions that were called at least once, by name.
    pub functions: Vec<FunctionStats>,
}

/// What was counted for one function; a generic function has one for each instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// How often the body ran.
    pub loads: u64,
    /// How often it ended in an error.
    pub load_errors: u64,
    /// How often a call waited for a load that another call had begun.
    pub waits: u64,
    /// Invalidations, of a key, by a pattern, or of the whole function; a value that is put by hand is one of its key.
    pub invalidations: u64,
    /// Calls whose arguments no key could be made of; their body ran.
    pub key_errors: u64,
    /// By tier, in look-up order.
    pub tiers: Vec<TierStats>,
}

/// What was counted for one function in one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Which tier.
    pub level: Level,
    /// Calls that this tier answered.
    pub hits: u64,
    /// Look-ups that it could not answer. One that was answered while this instance was
    /// [isolated](Self::isolated_hits) is not among them.
    pub misses: u64,
    /// Records that were damaged or could not be decoded; each is a miss as well.
    pub decode_errors: u64,
    /// Whole records of another key, version, shape or codec; each is a miss as well.
    pub mismatches: u64,
    /// Operations that failed or ran out of time.
    pub tier_errors: u64,
    /// Values that were not stored, by reason.
    pub refused_fills: RefusedFills,
    /// Values that were not sent for their size.
    pub too_large: u64,
    /// How often a call waited for another instance that held the lease.
    pub lease_waits: u64,
    /// Calls that memory answered while this instance was cut off from the others.
    pub isolated_hits: u64,
    /// Values that were copied into this tier from one below it. Copies into memory are not counted.
    pub promotions: u64,
}

/// Values that a tier did not store, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedFills {
    /// The lease was gone: the key was invalidated, the lease's time over, or another load took it over.
    pub lease: u64,
    /// The function was invalidated.
    pub function: u64,
    /// The store, or all of the namespace, was another by then.
    pub history: u64,
    /// The link that the lease came over was gone.
    pub link: u64,
    /// An invalidation of the key waited to be sent.
    pub queued: u64,
    /// A change of the key was under way.
    pub guard: u64,
}

impl RefusedFills {
    /// All of them.
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
    /// The statistics of the function called `name`.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&FunctionStats> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The share of calls that a tier answered, of all functions; `None` before the first call.
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
    /// The statistics of one tier.
    #[must_use]
    pub fn tier(&self, level: Level) -> Option<&TierStats> {
        self.tiers.iter().find(|tier| tier.level == level)
    }

    /// Calls that a tier answered.
    #[must_use]
    pub fn hits(&self) -> u64 {
        let hits = |tier: &TierStats| tier.hits + tier.isolated_hits;
        self.tiers.iter().map(hits).sum()
    }

    /// Their share of the calls that a tier or the body answered; `None` before the first. Who waited for another's load is neither.
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
