//! Searches that have to be exhausted, and searches that have to find a violation.

use super::config::{Guards, Protocol, Target, Windows};
use super::steps::Wrong;

/// One write, and nothing else.
const CALM: Protocol = Protocol {
    keys: 1,
    writes: 1,
    targets: &[Target::Key],
    breaks: 0,
    failovers: 0,
    old_primary_lives: false,
    evictions: 0,
    given_up: true,
    calls: &[0, 1],
    windows: None,
    bound: 1,
    time: 2,
    guards: Guards::ALL,
};

const FUNCTION: Protocol = Protocol {
    targets: &[Target::Key, Target::Function],
    ..CALM
};

const BREAK: Protocol = Protocol { breaks: 1, ..CALM };

const FAILOVER: Protocol = Protocol {
    failovers: 1,
    ..CALM
};

/// One write, while leases do not expire and loads are not dropped: `CALM` covers that.
const STEADY: Protocol = Protocol {
    given_up: false,
    ..CALM
};

const OLD_PRIMARY: Protocol = Protocol {
    failovers: 1,
    old_primary_lives: true,
    bound: 0,
    ..STEADY
};

const TWO_WRITES_OF_FUNCTION: Protocol = Protocol {
    writes: 2,
    targets: &[Target::Key, Target::Function],
    ..STEADY
};

const TWO_WRITES_AND_BREAK: Protocol = Protocol {
    writes: 2,
    breaks: 1,
    ..STEADY
};

const TWO_BREAKS: Protocol = Protocol {
    breaks: 2,
    ..STEADY
};

const TWO_KEYS: Protocol = Protocol {
    keys: 2,
    targets: &[Target::Key, Target::Function],
    ..STEADY
};

/// One write, which invalidates the function, and one control key that is evicted.
const EVICTION: Protocol = Protocol {
    targets: &[Target::Function],
    evictions: 1,
    bound: 0,
    time: 1,
    ..STEADY
};

const NAMESPACE_EVICTIONS: Protocol = Protocol {
    targets: &[Target::Namespace],
    evictions: 3,
    ..EVICTION
};

const fn evictions(evictions: u8) -> Protocol {
    Protocol {
        evictions,
        ..EVICTION
    }
}

/// Values in place of failed loads, and calls that wait for a load.
const IF_ERROR: Windows = Windows {
    revalidates: false,
    if_error: true,
    joins: true,
    serves_isolated: false,
    other_modes: false,
};

/// One write by an instance that is not called. Another one has stale values.
const STALE: Protocol = Protocol {
    calls: &[1],
    windows: Some(IF_ERROR),
    ..STEADY
};

/// Loads run in the background as well.
const REVALIDATED: Protocol = stale(Windows {
    revalidates: true,
    ..IF_ERROR
});

const STALE_ISOLATED: Protocol = Protocol {
    breaks: 1,
    ..stale(Windows {
        serves_isolated: true,
        ..IF_ERROR
    })
};

const ISOLATED_REVALIDATED: Protocol = Protocol {
    breaks: 1,
    ..stale(Windows {
        revalidates: true,
        serves_isolated: true,
        ..IF_ERROR
    })
};

/// No value is returned in place of a failed load.
const ONLY_REVALIDATED: Protocol = stale(Windows {
    revalidates: true,
    if_error: false,
    ..IF_ERROR
});

/// One instance, whose loads all run in the background.
const ONE_FLIGHT: Protocol = Protocol {
    calls: &[0],
    bound: 0,
    time: 0,
    ..ONLY_REVALIDATED
};

/// The instance that invalidates has stale values itself.
const STALE_HERE: Protocol = Protocol {
    calls: &[0],
    ..REVALIDATED
};

/// Two instances that load the same key. Time does not pass, so messages arrive within the bound.
const TWO_INSTANCES: Protocol = Protocol {
    calls: &[0, 1],
    bound: 0,
    time: 0,
    ..stale(Windows {
        revalidates: true,
        joins: false,
        ..IF_ERROR
    })
};

const LEASE_MODES: Protocol = Protocol {
    windows: Some(Windows {
        joins: false,
        other_modes: true,
        ..IF_ERROR
    }),
    ..TWO_INSTANCES
};

const fn stale(windows: Windows) -> Protocol {
    Protocol {
        windows: Some(windows),
        ..STALE
    }
}

/// Returns the searches that have to be exhausted without a violation. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Protocol, bool)> {
    let two_writes = Protocol { writes: 2, ..CALM };
    vec![
        ("1 write", CALM, false),
        ("1 write, of the function", FUNCTION, true),
        ("1 write, 1 broken link", BREAK, true),
        ("1 write, 1 lossy failover", FAILOVER, true),
        ("2 writes", two_writes, true),
        ("1 write, old primary lives", OLD_PRIMARY, true),
        ("2 writes, of the function", TWO_WRITES_OF_FUNCTION, true),
        ("2 writes, 1 broken link", TWO_WRITES_AND_BREAK, true),
        ("1 write, 2 broken links", TWO_BREAKS, true),
        ("2 keys, 1 write, of the function", TWO_KEYS, true),
        ("of the function, 1 eviction", EVICTION, true),
        ("stale values", STALE, false),
        ("stale values, isolated", STALE_ISOLATED, false),
        ("stale values, revalidated", REVALIDATED, false),
        ("stale values here, revalidated", STALE_HERE, false),
        ("stale values, 2 instances", TWO_INSTANCES, true),
        ("stale values, all modes of leases", LEASE_MODES, false),
        (
            "stale values, of the function",
            Protocol {
                targets: &[Target::Key, Target::Function],
                ..LEASE_MODES
            },
            false,
        ),
        (
            "stale values here, 2 writes",
            Protocol {
                writes: 2,
                ..STALE_HERE
            },
            true,
        ),
        (
            "stale values, 1 broken link",
            Protocol {
                breaks: 1,
                ..REVALIDATED
            },
            true,
        ),
        (
            "stale values, isolated, revalidated",
            ISOLATED_REVALIDATED,
            true,
        ),
        (
            "stale values, 1 lossy failover",
            Protocol {
                failovers: 1,
                ..STALE
            },
            true,
        ),
        (
            "stale values, 2 instances, given up",
            Protocol {
                given_up: true,
                ..TWO_INSTANCES
            },
            true,
        ),
        ("of the function, 2 evictions", evictions(2), true),
        ("of the namespace, 3 evictions", NAMESPACE_EVICTIONS, true),
        ("of the function, 3 evictions", evictions(3), true),
    ]
}

/// A search whose guards all are in place, and the guard to remove from it.
type WithoutGuard = (&'static str, Protocol, fn(&mut Guards) -> &mut bool);

const WITHOUT_GUARD: [WithoutGuard; 16] = [
    ("lease", CALM, |all| &mut all.lease),
    ("fence", CALM, |all| &mut all.fence),
    ("second fence", CALM, |all| &mut all.second_fence),
    ("barrier", CALM, |all| &mut all.barrier),
    (
        "barrier from when it was sent",
        Protocol { time: 3, ..CALM },
        |all| &mut all.barrier_from_sent,
    ),
    ("ordered channel", BREAK, |all| &mut all.ordered_channel),
    ("one script", CALM, |all| &mut all.one_script),
    ("fence on attach", BREAK, |all| &mut all.fence_on_attach),
    ("history", FAILOVER, |all| &mut all.history),
    ("lease on its link", FAILOVER, |all| &mut all.lease_on_link),
    ("epoch", FUNCTION, |all| &mut all.epoch),
    ("epoch forgotten with the message", FUNCTION, |all| {
        &mut all.epoch_forgotten
    }),
    ("restored if all was received", EVICTION, |all| {
        &mut all.restored_if_all_received
    }),
    ("sequence restored alone", NAMESPACE_EVICTIONS, |all| {
        &mut all.sequence_restored_alone
    }),
    ("sequence begins above", evictions(4), |all| {
        &mut all.sequence_begins_above
    }),
    ("heartbeat", OLD_PRIMARY, |all| &mut all.heartbeat),
];

/// Guards of stale values and of loads in the background, with the violation that each prevents.
const WITHOUT_GUARD_OF_STALE: [(WithoutGuard, Wrong); 11] = [
    (
        ("fence of a stale value", STALE, |all| &mut all.stale_fence),
        Wrong::StaleOnError,
    ),
    (
        ("coherence of a stale value", STALE, |all| {
            &mut all.stale_coherence
        }),
        Wrong::StaleOnError,
    ),
    (
        (
            "coherence of a stale value, revalidated",
            ONLY_REVALIDATED,
            |all| &mut all.stale_coherence,
        ),
        Wrong::StaleFromMemory,
    ),
    (
        ("check by the waiter", STALE, |all| &mut all.waiter_checks),
        Wrong::StaleOnError,
    ),
    (
        ("fence on attach, isolated", STALE_ISOLATED, |all| {
            &mut all.fence_on_attach
        }),
        Wrong::StaleFromMemory,
    ),
    (
        ("lease of a background load", ONE_FLIGHT, |all| {
            &mut all.refresh_leased
        }),
        Wrong::StoredAfterInvalidation,
    ),
    (
        (
            "lease of a background load, 2 instances",
            TWO_INSTANCES,
            |all| &mut all.refresh_leased,
        ),
        Wrong::TwoRefreshes,
    ),
    (
        ("one refresh at a time", TWO_INSTANCES, |all| {
            &mut all.one_refresh
        }),
        Wrong::TwoRefreshes,
    ),
    (
        ("back-off is no lease", LEASE_MODES, |all| {
            &mut all.back_off_is_no_lease
        }),
        Wrong::StoredUnderBackOff,
    ),
    (
        ("number of a background load", STALE_HERE, |all| {
            &mut all.number_of_load
        }),
        Wrong::StaleFromMemory,
    ),
    (
        ("only a current load is joined", REVALIDATED, |all| {
            &mut all.join_current
        }),
        Wrong::StaleFromLoad,
    ),
];

/// Returns the searches that lack a guard, and have to find a violation: the given one, if there is
/// one.
#[must_use]
pub fn without_a_guard() -> Vec<(&'static str, Protocol, Option<Wrong>)> {
    let of_stale = WITHOUT_GUARD_OF_STALE.into_iter();
    let of_stale = of_stale.map(|(search, expected)| (search, Some(expected)));
    let searches = WITHOUT_GUARD.into_iter().map(|search| (search, None));
    let without = searches.chain(of_stale);
    let without = without.map(|((name, mut protocol, guard), expected)| {
        *guard(&mut protocol.guards) = false;
        (name, protocol, expected)
    });
    without.collect()
}
