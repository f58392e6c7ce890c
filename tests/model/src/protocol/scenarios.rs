//! Searches that have to be exhausted, and searches that have to find a violation.

use super::config::{Guards, Protocol, Target};

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

/// Returns the searches that have to be exhausted without a violation. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Protocol, bool)> {
    let two_writes = Protocol { writes: 2, ..CALM };
    vec![
        ("1 write", CALM, false),
        ("1 write, of the function", FUNCTION, false),
        ("1 write, 1 broken link", BREAK, true),
        ("1 write, 1 lossy failover", FAILOVER, true),
        ("2 writes", two_writes, true),
        ("1 write, old primary lives", OLD_PRIMARY, false),
        ("2 writes, of the function", TWO_WRITES_OF_FUNCTION, true),
        ("2 writes, 1 broken link", TWO_WRITES_AND_BREAK, true),
        ("1 write, 2 broken links", TWO_BREAKS, true),
        ("2 keys, 1 write, of the function", TWO_KEYS, true),
        ("of the function, 1 eviction", EVICTION, false),
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

/// Returns the searches that lack a guard, and have to find a violation.
#[must_use]
pub fn without_a_guard() -> Vec<(&'static str, Protocol)> {
    let searches = WITHOUT_GUARD.into_iter();
    let without = searches.map(|(name, mut protocol, guard)| {
        *guard(&mut protocol.guards) = false;
        (name, protocol)
    });
    without.collect()
}
