//! The counters of a function, in general and in each tier.

use serde::{Deserialize, Serialize};

use super::counter::{Counter, HitCounter};
use super::load_times::LiveLoadTimes;
use super::report::{
    ExpiriesByScope, FunctionStats, InvalidationsByScope, RefusedFills, TierStats, UncachedCalls,
};
use crate::level::Level;

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
    pub(crate) unwritable: Counter,
    pub(crate) lease_waits: Counter,
    pub(crate) isolated_hits: Counter,
    pub(crate) promotions: Counter,
}

/// Reason why a fill or a lease was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// The value has tags, and the tier keeps no ledger by which its record could be judged, or did
    /// not tell its state.
    Tags,
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
    tags: Counter,
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
            Refusal::Tags => &self.tags,
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
            tags: self.tags.get(),
        }
    }
}

/// Counters of the invalidations of a function, by what was invalidated.
#[derive(Debug, Default)]
pub(crate) struct InvalidationCounters {
    pub(crate) key: Counter,
    pub(crate) function: Counter,
    pub(crate) pattern: Counter,
}

impl InvalidationCounters {
    fn snapshot(&self) -> InvalidationsByScope {
        InvalidationsByScope {
            key: self.key.get(),
            function: self.function.get(),
            pattern: self.pattern.get(),
        }
    }
}

/// Counters of the expiries of a function, by what was expired.
#[derive(Debug, Default)]
pub(crate) struct ExpiryCounters {
    pub(crate) key: Counter,
    pub(crate) function: Counter,
}

impl ExpiryCounters {
    fn snapshot(&self) -> ExpiriesByScope {
        ExpiriesByScope {
            key: self.key.get(),
            function: self.function.get(),
        }
    }
}

/// Counters of the calls that ran their body beside the load of another caller, or without any
/// tier, by reason. Calls without a key have a counter of their own.
#[derive(Debug, Default)]
pub(crate) struct UncachedCounters {
    pub(crate) recursive: Counter,
    pub(crate) impatient: Counter,
    pub(crate) blocking: Counter,
    pub(crate) no_runtime: Counter,
}

impl UncachedCounters {
    fn snapshot(&self) -> UncachedCalls {
        UncachedCalls {
            recursive: self.recursive.get(),
            impatient: self.impatient.get(),
            blocking: self.blocking.get(),
            no_runtime: self.no_runtime.get(),
        }
    }
}

/// Counters of a function that do not belong to a tier.
#[derive(Debug, Default)]
pub(crate) struct FunctionCounters {
    /// Bodies that began.
    pub(crate) loads: Counter,
    /// The times of those that ended.
    pub(crate) load_times: LiveLoadTimes,
    pub(crate) load_errors: Counter,
    pub(crate) waits: Counter,
    pub(crate) invalidations: InvalidationCounters,
    pub(crate) expiries: ExpiryCounters,
    pub(crate) tag_errors: Counter,
    pub(crate) key_errors: Counter,
    pub(crate) uncached: UncachedCounters,
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
            unwritable: self.unwritable.get(),
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
        // Read before the number of loads, so that a load that begins and ends in between does not
        // make more loads end than begin.
        let load_times = self.load_times.snapshot();
        let by_scope = self.invalidations.snapshot();
        let expiries = self.expiries.snapshot();
        FunctionStats {
            name,
            version,
            loads: self.loads.get(),
            load_times,
            load_errors: self.load_errors.get(),
            waits: self.waits.get(),
            invalidations: by_scope.total(),
            invalidations_by_scope: by_scope,
            expiries: expiries.total(),
            expiries_by_scope: expiries,
            tag_errors: self.tag_errors.get(),
            key_errors: self.key_errors.get(),
            uncached: self.uncached.snapshot(),
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
