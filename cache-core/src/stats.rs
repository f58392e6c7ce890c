//! Counters, which are always enabled, and the statistics that users see.

mod table;

use std::cell::Cell;
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
    /// Calls that a fresh value answered. [`TierStats::hits`] is the sum with the stale ones.
    pub(crate) hits: HitCounter,
    /// Calls that a stale value answered. They are not counted in `hits` as well.
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
    /// Background loads whose body began. Each is counted in `loads` as well.
    pub(crate) refreshes: Counter,
    pub(crate) refresh_errors: Counter,
    pub(crate) stale_on_error: Counter,
    /// A [`HitCounter`], because every call of a key whose source is down may count here.
    pub(crate) backed_off: HitCounter,
    pub(crate) timeouts: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) shed: Counter,
    /// Each is counted in the `hits` of the tier that answered as well.
    pub(crate) absent_hits: HitCounter,
    /// Each is counted in the `hits` of memory as well.
    pub(crate) error_hits: HitCounter,
}

impl TierCounters {
    pub(crate) fn snapshot(&self, level: Level) -> TierStats {
        let isolated_hits = self.isolated_hits.get();
        let stale_hits = self.stale_hits.get();
        TierStats {
            level,
            hits: self.hits.get() + stale_hits,
            stale_hits,
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
            refreshes: self.refreshes.get(),
            refresh_errors: self.refresh_errors.get(),
            stale_on_error: self.stale_on_error.get(),
            backed_off: self.backed_off.get(),
            timeouts: self.timeouts.get(),
            abandoned: self.abandoned.get(),
            shed: self.shed.get(),
            absent_hits: self.absent_hits.get(),
            error_hits: self.error_hits.get(),
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
    /// Number of times that the body began to run: for a call, for a handle, or in the background.
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
    /// Number of loads that ran in the background to replace a value that was stale, or that was
    /// about to expire (`stale_while_revalidate`, `refresh_ahead`). Each is one of the
    /// [`loads`](Self::loads). A background load that finds a fresh value in a lower tier runs no
    /// body and is not counted.
    pub refreshes: u64,
    /// Number of [`refreshes`](Self::refreshes) that brought no result: the body returned an error,
    /// panicked, or was dropped because of the `load_limit`.
    pub refresh_errors: u64,
    /// Number of calls that got a stale value because their load failed (`stale_if_error`). The
    /// calls that waited for the load are included. None of them is a hit: the load of the call is
    /// counted in [`loads`](Self::loads), and a call that waited in [`waits`](Self::waits).
    pub stale_on_error: u64,
    /// Number of times that no load began, because the last load of the key had failed and its
    /// back-off had not ended. No call failed because of it: each got the value that it had, at
    /// once.
    pub backed_off: u64,
    /// Number of calls that did not wait for the end of a load, because the `soft_timeout` or the
    /// `hard_timeout` passed. Each got a stale value or a `LoadTimeout`.
    pub timeouts: u64,
    /// Number of loads whose body was dropped because of the `load_limit`. They are not counted in
    /// [`load_errors`](Self::load_errors).
    pub abandoned: u64,
    /// Number of loads that did not begin, or were dropped, because the queue of
    /// [background loads](crate::BackgroundLoads) was full, or because the call was outside of a
    /// Tokio runtime.
    pub shed: u64,
    /// Number of calls that got a kept `None` (`none_ttl`). Each is a hit of the tier that had it.
    pub absent_hits: u64,
    /// Number of calls that got a kept error (`error_ttl`). Each is a hit of memory.
    pub error_hits: u64,
    /// Statistics of each tier, in look-up order.
    pub tiers: Vec<TierStats>,
}

/// Statistics of one function in one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Level of the tier.
    pub level: Level,
    /// Number of calls that this tier answered, with a fresh or a stale value. Records that a load
    /// in the background found here answered no call, and are not counted.
    pub hits: u64,
    /// Number of calls that this tier answered with a stale value, without waiting for a load. Each
    /// is one of the [`hits`](Self::hits). In a tier below memory it is one of the
    /// [`misses`](Self::misses) as well, because the look-up found no fresh record.
    pub stale_hits: u64,
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
            (hits + one.hits(), loads + one.loads_of_calls())
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

    /// Returns the number of calls that a tier answered. Stale hits are included.
    #[must_use]
    pub fn hits(&self) -> u64 {
        let hits = |tier: &TierStats| tier.hits + tier.isolated_hits;
        self.tiers.iter().map(hits).sum()
    }

    /// Returns the share of hits among the calls that a tier or the body answered. Returns `None`
    /// before the first call. Calls that waited for the load of another call are not counted, and
    /// neither are loads in the background: the call that began one is a hit.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        rate(self.hits(), self.loads_of_calls())
    }

    /// Returns the number of loads that a call began for itself. Saturating, because the two
    /// counters are not read at one moment.
    fn loads_of_calls(&self) -> u64 {
        self.loads.saturating_sub(self.refreshes)
    }
}
