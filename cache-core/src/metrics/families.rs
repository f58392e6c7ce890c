//! The table of families.
//!
//! An attribute is never the key of a call: the number of time series depends on the functions, the
//! tiers and the shards of a program alone.

use super::family::{Attribute, Family, Kind};

/// Declares the families, and the table of them in the order of their declaration.
macro_rules! families {
    ($($id:ident = $kind:ident $name:literal $prometheus:literal $unit:literal
        [$($attribute:expr),*] $help:literal;)*) => {
        $(pub(crate) static $id: Family = Family {
            name: concat!("multi_tier_cached.", $name),
            prometheus: concat!("multi_tier_cached_", $prometheus),
            kind: Kind::$kind,
            unit: $unit,
            help: $help,
            attributes: &[$($attribute),*],
        };)*

        /// All families, in the order in which [`samples`](crate::CacheRuntime::samples) has them.
        pub static FAMILIES: &[&Family] = &[$(&$id),*];
    };
}

const FUNCTION: Attribute = attribute("function", &[]);
const TIER: Attribute = attribute("tier", &[]);
const KIND: Attribute = attribute("kind", &[]);
const SHARD: Attribute = attribute("shard", &[]);

const fn attribute(name: &'static str, values: &'static [&'static str]) -> Attribute {
    Attribute { name, values }
}

const fn reason(values: &'static [&'static str]) -> Attribute {
    attribute("reason", values)
}

const fn result(values: &'static [&'static str]) -> Attribute {
    attribute("result", values)
}

const fn scope(values: &'static [&'static str]) -> Attribute {
    attribute("scope", values)
}

const fn state(values: &'static [&'static str]) -> Attribute {
    attribute("state", values)
}

families! {
    LOOKUPS = Counter "lookups" "lookups_total" "{lookup}"
        [FUNCTION, TIER, result(&["hit", "miss"])]
        "Look-ups in a tier, by whether it answered the call";
    HITS_STALE = Counter "hits.stale" "hits_stale_total" "{call}"
        [FUNCTION, TIER]
        "Calls that a tier answered with a stale value, which are hits as well";
    HITS_NEGATIVE = Counter "hits.negative" "hits_negative_total" "{call}"
        [FUNCTION, result(&["absent", "error"])]
        "Calls that got a kept result without a value, which are hits as well";
    HITS_ISOLATED = Counter "hits.isolated" "hits_isolated_total" "{call}"
        [FUNCTION]
        "Calls that memory answered because the tiers below could not be reached";
    LOAD_DURATION = Histogram "load.duration" "load_duration_seconds" "s"
        [FUNCTION, result(&["value", "absent", "error", "cancelled"])]
        "Time that the bodies ran which have ended";
    LOAD_ACTIVE = UpDownCounter "load.active" "load_active" "{load}"
        [FUNCTION]
        "Bodies that run";
    REFRESH_LOADS = Counter "refresh.loads" "refresh_loads_total" "{load}"
        [FUNCTION]
        "Loads in the background that began, to replace a stale value or one about to expire";
    REFRESH_FAILURES = Counter "refresh.failures" "refresh_failures_total" "{load}"
        [FUNCTION]
        "Loads in the background that brought no result";
    LOADS_BACKED_OFF = Counter "loads.backed_off" "loads_backed_off_total" "{load}"
        [FUNCTION]
        "Loads that did not begin because the last load of their key had failed";
    LOADS_ABANDONED = Counter "loads.abandoned" "loads_abandoned_total" "{load}"
        [FUNCTION]
        "Loads whose body was dropped at its limit";
    LOADS_SHED = Counter "loads.shed" "loads_shed_total" "{load}"
        [FUNCTION]
        "Loads in the background that were given up because too many run and wait";
    CALLS_STALE_ON_ERROR = Counter "calls.stale_on_error" "calls_stale_on_error_total" "{call}"
        [FUNCTION]
        "Calls that got a stale value because their load failed";
    CALLS_TIMED_OUT = Counter "calls.timed_out" "calls_timed_out_total" "{call}"
        [FUNCTION]
        "Calls that did not wait for the end of a load because of a timeout";
    CALLS_UNCACHED = Counter "calls.uncached" "calls_uncached_total" "{call}"
        [FUNCTION, reason(&["no_key", "recursive", "impatient", "blocking", "no_runtime"])]
        "Calls whose body ran and whose result was not kept, because they could not take part";
    WAITS = Counter "waits" "waits_total" "{wait}"
        [FUNCTION, attribute("for", &["flight", "lease"])]
        "Waits of calls for a load of another caller of this instance, or of another instance";
    INVALIDATIONS = Counter "invalidations" "invalidations_total" "{invalidation}"
        [FUNCTION, scope(&["key", "function", "pattern", "tag", "all"])]
        "Invalidations that this instance made";
    EXPIRIES = Counter "expiries" "expiries_total" "{expiry}"
        [FUNCTION, scope(&["key", "function", "tag"])]
        "Expiries that this instance made, after which values are stale";
    FILLS_REFUSED = Counter "fills.refused" "fills_refused_total" "{fill}"
        [FUNCTION, TIER, reason(&["lease", "function", "history", "link", "queued", "guard", "tags"])]
        "Values that a tier did not store because they may be out of date";
    VALUES_UNSTORED = Counter "values.unstored" "values_unstored_total" "{value}"
        [FUNCTION, TIER, reason(&["too_large", "unwritable"])]
        "Values that a tier cannot store";
    VALUES_UNTAGGABLE = Counter "values.untaggable" "values_untaggable_total" "{value}"
        [FUNCTION]
        "Values that were kept nowhere because of their tags";
    RECORDS_UNUSABLE = Counter "records.unusable" "records_unusable_total" "{record}"
        [FUNCTION, TIER, reason(&["damaged", "mismatch"])]
        "Records that were read from a tier and could not be used";
    PROMOTIONS = Counter "promotions" "promotions_total" "{record}"
        [FUNCTION, TIER]
        "Records that were copied into a tier from one below it";
    TIER_ERRORS = Counter "tier.errors" "tier_errors_total" "{error}"
        [FUNCTION, TIER]
        "Operations on a tier that failed or timed out";
    FLIGHT_ACTIVE = UpDownCounter "flight.active" "flight_active" "{load}"
        []
        "Loads that read tiers, wait for another instance, or run a body";
    BACKGROUND_LOADS = UpDownCounter "background.loads" "background_loads" "{load}"
        [state(&["running", "waiting"])]
        "Loads in the background";
    BACKGROUND_LIMIT = UpDownCounter "background.limit" "background_limit" "{load}"
        []
        "Loads that may run in the background at the same time";
    TIER_OPERATION_DURATION = Histogram "tier.operation.duration" "tier_operation_duration_seconds" "s"
        [
            TIER,
            KIND,
            attribute("operation", &["read", "lease", "fill", "invalidate"]),
            result(&["ok", "error", "timeout"])
        ]
        "Time that operations on a tier took";
    TIER_STATE = Gauge "tier.state" "tier_state" "1"
        [TIER, KIND, SHARD, state(&["connected", "coherent", "breaker_open"])]
        "1 if a shard of a tier is in the state, and 0 if it is not";
    TIER_BARRIER_AGE = Gauge "tier.barrier.age" "tier_barrier_age_seconds" "s"
        [TIER, SHARD]
        "Time since the last answered barrier was sent, up to which messages were applied";
    TIER_INVALIDATIONS = Counter "tier.invalidations" "tier_invalidations_total" "{invalidation}"
        [TIER, scope(&["key", "function", "tag", "all", "expiry"])]
        "Invalidations and expiries that arrived over the channel of a tier";
    INVALIDATION_QUEUED = UpDownCounter "invalidation.queued" "invalidation_queued" "{invalidation}"
        [TIER, SHARD]
        "Invalidations that wait to be sent to a tier";
    TIER_ISOLATIONS = Counter "tier.isolations" "tier_isolations_total" "{isolation}"
        [TIER, SHARD]
        "Times that the channel of a tier was lost or could not be trusted";
    TIER_GAPS = Counter "tier.gaps" "tier_gaps_total" "{message}"
        [TIER, SHARD]
        "Messages that were missing on the channel of a tier";
    TIER_HISTORY_CHANGES = Counter "tier.history_changes" "tier_history_changes_total" "{change}"
        [TIER, SHARD]
        "Times that the store of a tier was another one, or had lost data";
    TIER_REPLAYS = Counter "tier.replays" "tier_replays_total" "{invalidation}"
        [TIER, SHARD]
        "Invalidations that were sent again";
    TIER_FEATURES_UNUSABLE = UpDownCounter "tier.features.unusable" "tier_features_unusable" "{feature}"
        [TIER, SHARD]
        "Features of a tier that cannot be used, such as one for which a permission is missing";
    MEMORY_ENTRY_COUNT = UpDownCounter "memory.entry.count" "memory_entry_count" "{entry}"
        []
        "Entries in memory, also those that have expired and were not evicted yet";
    MEMORY_ENTRY_LIMIT = UpDownCounter "memory.entry.limit" "memory_entry_limit" "{entry}"
        []
        "Maximum of entries in memory";
    MEMORY_USAGE = UpDownCounter "memory.usage" "memory_usage_bytes" "By"
        []
        "Bytes of the keys and values in memory";
    MEMORY_LIMIT = UpDownCounter "memory.limit" "memory_limit_bytes" "By"
        []
        "Maximum of bytes in memory";
    MEMORY_EVICTIONS = Counter "memory.evictions" "memory_evictions_total" "{entry}"
        []
        "Entries that left memory, or were not admitted, because it is full";
    INFO = Gauge "info" "info" "1"
        [attribute("version", &[]), attribute("engine", &["moka", "quick_cache", "none"])]
        "Always 1; the attributes describe the cache";
}
