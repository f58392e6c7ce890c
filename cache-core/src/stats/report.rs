//! The statistics that users see.

use serde::{Deserialize, Serialize};

use super::load_times::LoadTimes;
use crate::level::Level;

/// Statistics of a runtime since it was built, by function. `Display` writes a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The functions, sorted by name: those that were called, and in the installed runtime also
    /// those that were not called yet; see [`CacheRuntime::stats`](crate::CacheRuntime::stats).
    pub functions: Vec<FunctionStats>,
    /// Number of tags that were invalidated on this instance. They concern whichever functions have
    /// values with them, so they are counted for none.
    #[serde(default)]
    pub tag_invalidations: u64,
    /// Number of tags that were expired on this instance.
    #[serde(default)]
    pub tag_expiries: u64,
    /// Number of times that [everything](crate::CacheRuntime::invalidate_all) was invalidated on
    /// this instance.
    #[serde(default)]
    pub invalidations_of_all: u64,
}

/// Statistics of one function. A generic function has one for each choice of its types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Name of the function.
    pub name: String,
    /// Version of the function.
    pub version: u32,
    /// Number of loads whose body began to run: for a call, for a handle, or in the background. A
    /// body of several ids counts once for each of them. Each is counted in
    /// [`load_times`](Self::load_times) when its body ends, and is one of the
    /// [`running_loads`](Self::running_loads) until then.
    ///
    /// A body that runs for a call without a key is not counted here, and the call is counted in
    /// [`key_errors`](Self::key_errors).
    #[serde(default)]
    pub loads: u64,
    /// Number of loads that failed: the body returned an error, called
    /// [`caching::failed`](crate::caching::failed), or panicked. The panic of an annotated function
    /// of one id that has no times besides its ttl is not counted, because it is not caught.
    ///
    /// [`loads`](Self::loads) without these is not the number of loads that succeeded, because some
    /// still run, were cancelled, or found no value. [`load_times`](Self::load_times) has the
    /// number of each.
    #[serde(default)]
    pub load_errors: u64,
    /// How long the bodies ran that ended, by result. The counts of the results and the
    /// [`running_loads`](Self::running_loads) add up to [`loads`](Self::loads).
    #[serde(default)]
    pub load_times: LoadTimes,
    /// Number of times that a call joined the load of another call: it waited for the result, or
    /// got the value that this load replaces.
    #[serde(default)]
    pub waits: u64,
    /// Number of invalidations of a key, by a pattern, or of the whole function. Putting a value by
    /// hand counts as an invalidation of its key.
    #[serde(default)]
    pub invalidations: u64,
    /// The [`invalidations`](Self::invalidations) by what was invalidated.
    #[serde(default)]
    pub invalidations_by_scope: InvalidationsByScope,
    /// Number of times that a key or the whole function was expired. A function without a stale
    /// window has none: an expiry invalidates it. The expiries of tags are counted for the whole
    /// runtime, in [`Stats::tag_expiries`].
    #[serde(default)]
    pub expiries: u64,
    /// The [`expiries`](Self::expiries) by what was expired.
    #[serde(default)]
    pub expiries_by_scope: ExpiriesByScope,
    /// Number of values that were returned and kept nowhere because of their tags: a body named a
    /// tag in a function that declares none, or a value had more than 64.
    #[serde(default)]
    pub tag_errors: u64,
    /// Number of calls whose arguments could not be encoded as a key. Their body ran.
    #[serde(default)]
    pub key_errors: u64,
    /// Number of calls whose body ran although another caller loaded the key, or without any tier,
    /// by reason. Their results were not kept.
    #[serde(default)]
    pub uncached: UncachedCalls,
    /// Number of loads that ran in the background to replace a value that was stale, or that was
    /// about to expire (`stale_while_revalidate`, `refresh_ahead`). Each is one of the
    /// [`loads`](Self::loads). A background load that finds a fresh value in a lower tier runs no
    /// body and is not counted.
    #[serde(default)]
    pub refreshes: u64,
    /// Number of [`refreshes`](Self::refreshes) that brought no result: the body returned an error,
    /// panicked, or was dropped because of the `load_limit`.
    #[serde(default)]
    pub refresh_errors: u64,
    /// Number of calls that got a stale value because their load failed (`stale_if_error`). The
    /// calls that waited for the load are included. None of them is a hit: the load of the call is
    /// counted in [`loads`](Self::loads), and a call that waited in [`waits`](Self::waits).
    #[serde(default)]
    pub stale_on_error: u64,
    /// Number of times that no load began, because the last load of the key had failed and its
    /// back-off had not ended. No call failed because of it: each got the value that it had, at
    /// once.
    #[serde(default)]
    pub backed_off: u64,
    /// Number of calls that did not wait for the end of a load, because the `soft_timeout` or the
    /// `hard_timeout` passed. Each got a stale value or a `LoadTimeout`.
    #[serde(default)]
    pub timeouts: u64,
    /// Number of loads whose body was dropped because of the `load_limit`. They are not counted in
    /// [`load_errors`](Self::load_errors).
    #[serde(default)]
    pub abandoned: u64,
    /// Number of loads that did not begin, or were dropped, because the queue of
    /// [background loads](crate::BackgroundLoads) was full, or because the call was outside of a
    /// Tokio runtime.
    #[serde(default)]
    pub shed: u64,
    /// Number of calls that got a kept `None` (`none_ttl`). Each is a hit of the tier that had it.
    #[serde(default)]
    pub absent_hits: u64,
    /// Number of calls that got a kept error (`error_ttl`). Each is a hit of memory.
    #[serde(default)]
    pub error_hits: u64,
    /// Statistics of each tier, in look-up order.
    #[serde(default)]
    pub tiers: Vec<TierStats>,
}

/// Statistics of one function in one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Level of the tier.
    pub level: Level,
    /// Number of calls that this tier answered, with a fresh or a stale value. Records that a load
    /// in the background found here answered no call, and are not counted.
    #[serde(default)]
    pub hits: u64,
    /// Number of calls that this tier answered with a stale value, without waiting for a load. Each
    /// is one of the [`hits`](Self::hits). In a tier below memory it is one of the
    /// [`misses`](Self::misses) as well, because the look-up found no fresh record.
    #[serde(default)]
    pub stale_hits: u64,
    /// Number of look-ups that this tier could not answer, without the
    /// [isolated hits](Self::isolated_hits).
    #[serde(default)]
    pub misses: u64,
    /// Number of records that were damaged or could not be decoded. Each is a miss as well.
    #[serde(default)]
    pub decode_errors: u64,
    /// Number of undamaged records of another key, version, shape or codec. Each is a miss as well.
    #[serde(default)]
    pub mismatches: u64,
    /// Number of operations that failed or timed out.
    #[serde(default)]
    pub tier_errors: u64,
    /// Number of values that were not stored, by reason.
    #[serde(default)]
    pub refused_fills: RefusedFills,
    /// Number of values that were too large to be stored.
    #[serde(default)]
    pub too_large: u64,
    /// Number of values that were not stored because they do not survive the codec of the function.
    #[serde(default)]
    pub unwritable: u64,
    /// Number of times that a call waited for another instance that held the lease.
    #[serde(default)]
    pub lease_waits: u64,
    /// Number of calls that memory answered while this instance was isolated.
    #[serde(default)]
    pub isolated_hits: u64,
    /// Number of values that were copied into this tier from one below it. Copies into memory are
    /// not counted.
    #[serde(default)]
    pub promotions: u64,
}

/// Number of values that a tier did not store, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// The value has tags, and the tier cannot tell whether they were invalidated since: it has no
    /// ledger. Redis and a disk have one; see the docs of the tiers.
    pub tags: u64,
}

/// Number of invalidations of a function that this instance made, by what was invalidated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InvalidationsByScope {
    /// One key. Putting a value by hand counts here too.
    pub key: u64,
    /// The whole function.
    pub function: u64,
    /// The keys that match a pattern.
    pub pattern: u64,
}

impl InvalidationsByScope {
    /// Returns the sum of all scopes.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            key,
            function,
            pattern,
        } = self;
        sum([*key, *function, *pattern])
    }
}

/// Number of expiries of a function that this instance made, by what was expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExpiriesByScope {
    /// One key.
    pub key: u64,
    /// The whole function.
    pub function: u64,
}

impl ExpiriesByScope {
    /// Returns the sum of all scopes.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { key, function } = self;
        sum([*key, *function])
    }
}

/// Number of calls whose body ran and whose result was not kept, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UncachedCalls {
    /// The load of the key waited for this call: a body calls its own function with its own key,
    /// directly or through others. Waiting would never have ended.
    pub recursive: u64,
    /// The call had waited for a load that failed, and its error could not be shared. It waited for
    /// no other load.
    pub impatient: u64,
    /// The function is not `async`, and a task loads the key, which the blocked thread may run.
    pub blocking: u64,
    /// The function is not `async`, and the Tokio runtime of its tiers has ended. This body is not
    /// one of the [loads](FunctionStats::loads).
    pub no_runtime: u64,
}

impl UncachedCalls {
    /// Returns the sum of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            recursive,
            impatient,
            blocking,
            no_runtime,
        } = self;
        sum([*recursive, *impatient, *blocking, *no_runtime])
    }
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
            tags,
        } = self;
        sum([*lease, *function, *history, *link, *queued, *guard, *tags])
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
            (sum([hits, one.hits()]), sum([loads, one.loads_of_calls()]))
        });
        rate(hits, loads)
    }
}

/// Returns the sum of counters, or the highest number. Another program may have published them, so
/// each of them can be any number.
pub(crate) fn sum(counters: impl IntoIterator<Item = u64>) -> u64 {
    counters.into_iter().fold(0, u64::saturating_add)
}

fn rate(hits: u64, loads: u64) -> Option<f64> {
    let calls = sum([hits, loads]);
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
        let tiers = self.tiers.iter();
        sum(tiers.flat_map(|tier| [tier.hits, tier.isolated_hits]))
    }

    /// Returns the share of hits among the calls that a tier or the body answered. Returns `None`
    /// before the first call. Calls that waited for the load of another call are not counted, and
    /// neither are loads in the background: the call that began one is a hit.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        rate(self.hits(), self.loads_of_calls())
    }

    /// Returns `true` if nothing was counted for the function yet.
    pub(super) fn is_unused(&self) -> bool {
        let is_zero = |count: u64| count == 0;
        let by_tier =
            |tier: &TierStats| [tier.hits, tier.misses, tier.isolated_hits, tier.tier_errors];
        let by_calls = [self.loads, self.waits, self.key_errors];
        let by_changes = [self.invalidations, self.expiries];
        let of_tiers = self.tiers.iter().flat_map(by_tier);
        of_tiers.chain(by_calls).chain(by_changes).all(is_zero)
    }

    /// Returns the number of loads whose body runs: those that began and have not ended.
    #[must_use]
    pub fn running_loads(&self) -> u64 {
        self.loads.saturating_sub(self.load_times.count())
    }

    /// Returns the number of loads that a call began for itself. Saturating, because the two
    /// counters are not read at one moment.
    fn loads_of_calls(&self) -> u64 {
        self.loads.saturating_sub(self.refreshes)
    }
}
