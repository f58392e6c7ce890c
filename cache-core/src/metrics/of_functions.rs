//! Samples of functions.

use super::collect::Samples;
use super::families::{
    CALLS_STALE_ON_ERROR, CALLS_TIMED_OUT, CALLS_UNCACHED, EXPIRIES, FILLS_REFUSED, HITS_ISOLATED,
    HITS_NEGATIVE, HITS_STALE, INVALIDATIONS, LOAD_ACTIVE, LOAD_DURATION, LOADS_ABANDONED,
    LOADS_BACKED_OFF, LOADS_SHED, LOOKUPS, PROMOTIONS, RECORDS_UNUSABLE, REFRESH_FAILURES,
    REFRESH_LOADS, TIER_ERRORS, VALUES_UNSTORED, VALUES_UNTAGGABLE, WAITS,
};
use super::family::Family;
use super::sample::{SampleValue, Text};
use crate::level::Level;
use crate::stats::{FunctionStats, Stats, TierStats};

/// Adds the samples of a family for one function.
type Rule = fn(&mut Samples, &FunctionStats, &Text);

/// The rules, in the order of the families.
const RULES: &[Rule] = &[
    lookups,
    |samples, function, name| {
        of_tiers(samples, &HITS_STALE, (function, name), |tier| {
            tier.stale_hits
        });
    },
    hits_negative,
    hits_isolated,
    load_duration,
    |samples, function, name| {
        let running = SampleValue::up_down(function.running_loads());
        samples.push(&LOAD_ACTIVE, [name.clone()], running);
    },
    |samples, function, name| samples.count(&REFRESH_LOADS, name, function.refreshes),
    |samples, function, name| samples.count(&REFRESH_FAILURES, name, function.refresh_errors),
    |samples, function, name| samples.count(&LOADS_BACKED_OFF, name, function.backed_off),
    |samples, function, name| samples.count(&LOADS_ABANDONED, name, function.abandoned),
    |samples, function, name| samples.count(&LOADS_SHED, name, function.shed),
    |samples, function, name| samples.count(&CALLS_STALE_ON_ERROR, name, function.stale_on_error),
    |samples, function, name| samples.count(&CALLS_TIMED_OUT, name, function.timeouts),
    calls_uncached,
    waits,
];

/// The rules after the families that also have samples of no function.
const RULES_OF_TIERS: &[Rule] = &[
    fills_refused,
    values_unstored,
    |samples, function, name| samples.count(&VALUES_UNTAGGABLE, name, function.tag_errors),
    records_unusable,
    |samples, function, name| {
        of_lower_tiers(samples, &PROMOTIONS, (function, name), |tier| {
            tier.promotions
        });
    },
    |samples, function, name| {
        of_lower_tiers(samples, &TIER_ERRORS, (function, name), |tier| {
            tier.tier_errors
        });
    },
];

/// Adds the samples of all functions. `names` are those of the functions of `stats`.
pub(super) fn add(samples: &mut Samples, stats: &Stats, names: &[Text]) {
    let functions = || stats.functions.iter().zip(names);
    let add = |samples: &mut Samples, rules: &[Rule]| {
        for rule in rules {
            functions().for_each(|(function, name)| rule(samples, function, name));
        }
    };
    add(samples, RULES);
    functions().for_each(|(function, name)| invalidations(samples, function, name));
    let of_no_function = [
        ("tag", stats.tag_invalidations),
        ("all", stats.invalidations_of_all),
    ];
    samples.count_each(&INVALIDATIONS, &[Text::EMPTY], of_no_function);
    functions().for_each(|(function, name)| expiries(samples, function, name));
    samples.count_each(&EXPIRIES, &[Text::EMPTY], [("tag", stats.tag_expiries)]);
    add(samples, RULES_OF_TIERS);
}

fn lookups(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    for tier in &function.tiers {
        let of_tier = [name.clone(), tier.level.name().into()];
        samples.count_each(
            &LOOKUPS,
            &of_tier,
            [("hit", tier.hits), ("miss", tier.misses)],
        );
    }
}

fn hits_negative(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    let hits = [
        ("absent", function.absent_hits),
        ("error", function.error_hits),
    ];
    samples.count_each(&HITS_NEGATIVE, std::slice::from_ref(name), hits);
}

fn hits_isolated(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    // Only memory has such hits.
    if let Some(memory) = function.tier(Level::L1) {
        samples.count(&HITS_ISOLATED, name, memory.isolated_hits);
    }
}

fn load_duration(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    for (result, histogram) in function.load_times.named() {
        // The other results are seldom, and each has as many series as there are bounds.
        if result == "value" || histogram.count() > 0 {
            let attributes = [name.clone(), result.into()];
            samples.push_histogram(&LOAD_DURATION, attributes, histogram);
        }
    }
}

fn calls_uncached(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    let uncached = &function.uncached;
    let calls = [
        ("no_key", function.key_errors),
        ("recursive", uncached.recursive),
        ("impatient", uncached.impatient),
        ("blocking", uncached.blocking),
        ("no_runtime", uncached.no_runtime),
    ];
    samples.count_each(&CALLS_UNCACHED, std::slice::from_ref(name), calls);
}

fn waits(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    let for_leases = function.tiers.iter().map(|tier| tier.lease_waits).sum();
    let waits = [("flight", function.waits), ("lease", for_leases)];
    samples.count_each(&WAITS, std::slice::from_ref(name), waits);
}

fn invalidations(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    let scopes = &function.invalidations_by_scope;
    let invalidations = [
        ("key", scopes.key),
        ("function", scopes.function),
        ("pattern", scopes.pattern),
    ];
    samples.count_each(&INVALIDATIONS, std::slice::from_ref(name), invalidations);
}

fn expiries(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    let scopes = &function.expiries_by_scope;
    let expiries = [("key", scopes.key), ("function", scopes.function)];
    samples.count_each(&EXPIRIES, std::slice::from_ref(name), expiries);
}

fn fills_refused(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    for tier in lower_tiers(function) {
        let refused = &tier.refused_fills;
        let of_tier = [name.clone(), tier.level.name().into()];
        let reasons = [
            ("lease", refused.lease),
            ("function", refused.function),
            ("history", refused.history),
            ("link", refused.link),
            ("queued", refused.queued),
            ("guard", refused.guard),
            ("tags", refused.tags),
        ];
        samples.count_each(&FILLS_REFUSED, &of_tier, reasons);
    }
}

fn values_unstored(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    for tier in lower_tiers(function) {
        let of_tier = [name.clone(), tier.level.name().into()];
        let reasons = [
            ("too_large", tier.too_large),
            ("unwritable", tier.unwritable),
        ];
        samples.count_each(&VALUES_UNSTORED, &of_tier, reasons);
    }
}

fn records_unusable(samples: &mut Samples, function: &FunctionStats, name: &Text) {
    for tier in lower_tiers(function) {
        let of_tier = [name.clone(), tier.level.name().into()];
        let reasons = [
            ("damaged", tier.decode_errors),
            ("mismatch", tier.mismatches),
        ];
        samples.count_each(&RECORDS_UNUSABLE, &of_tier, reasons);
    }
}

fn of_tiers(
    samples: &mut Samples,
    family: &'static Family,
    (function, name): (&FunctionStats, &Text),
    number: fn(&TierStats) -> u64,
) {
    for tier in &function.tiers {
        let attributes = [name.clone(), tier.level.name().into()];
        samples.push(family, attributes, SampleValue::Counter(number(tier)));
    }
}

fn of_lower_tiers(
    samples: &mut Samples,
    family: &'static Family,
    (function, name): (&FunctionStats, &Text),
    number: fn(&TierStats) -> u64,
) {
    for tier in lower_tiers(function) {
        let attributes = [name.clone(), tier.level.name().into()];
        samples.push(family, attributes, SampleValue::Counter(number(tier)));
    }
}

/// The tiers that hold records: all but memory.
fn lower_tiers(function: &FunctionStats) -> impl Iterator<Item = &TierStats> {
    function.tiers.iter().filter(|tier| tier.level != Level::L1)
}
