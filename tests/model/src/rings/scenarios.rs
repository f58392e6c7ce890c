//! Searches: calls, bodies, and callers that are dropped.

use super::config::{RingGuards, Rings, Wrong};

/// Two keys whose bodies call each other, called on two instances.
const RING: Rings = Rings {
    calls: &[(0, 0), (1, 1)],
    bodies: &[&[1], &[0]],
    drops: 0,
    has_ring: true,
    guards: RingGuards::ALL,
};

/// Like `RING`, but on one instance another caller leads the flight that the ring goes through.
const JOINED_RING: Rings = Rings {
    calls: &[(0, 0), (0, 1), (1, 1)],
    ..RING
};

/// Two bodies that call a third key, on two instances.
const NESTED: Rings = Rings {
    calls: &[(0, 0), (0, 2), (1, 1), (1, 2)],
    bodies: &[&[2], &[2], &[]],
    drops: 0,
    has_ring: false,
    guards: RingGuards::ALL,
};

/// Returns the scenarios whose calls must all end. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Rings, bool)> {
    vec![
        ("a ring of 2 keys over 2 instances", RING, false),
        (
            "a ring of 3 keys over 3 instances",
            Rings {
                calls: &[(0, 0), (1, 1), (2, 2)],
                bodies: &[&[1], &[2], &[0]],
                ..RING
            },
            false,
        ),
        ("a ring through another caller's flight", JOINED_RING, false),
        (
            "a ring through other callers' flights twice",
            Rings {
                calls: &[(0, 0), (0, 1), (1, 1), (1, 0)],
                ..RING
            },
            false,
        ),
        (
            "a ring, 1 caller dropped",
            Rings {
                drops: 1,
                ..JOINED_RING
            },
            false,
        ),
        ("a nested load", NESTED, false),
        (
            "a nested load, 1 caller dropped",
            Rings { drops: 1, ..NESTED },
            false,
        ),
        (
            "a nested load over 3 instances",
            Rings {
                calls: &[(0, 0), (1, 1), (2, 0), (2, 2)],
                drops: 1,
                ..NESTED
            },
            true,
        ),
        (
            "loads nested twice over 3 instances",
            Rings {
                calls: &[(0, 0), (1, 1), (1, 2), (2, 0)],
                bodies: &[&[1, 2], &[2], &[]],
                ..NESTED
            },
            true,
        ),
    ]
}

/// Returns the scenarios that lack a guard, each with the violation that must be found.
#[must_use]
pub fn without_a_guard() -> Vec<(&'static str, Rings, Wrong)> {
    let without = |guards, rings| Rings { guards, ..rings };
    let all = RingGuards::ALL;
    vec![
        (
            "edges",
            without(
                RingGuards {
                    edges: false,
                    ..all
                },
                RING,
            ),
            Wrong::Deadlock,
        ),
        (
            "edges added, searched, removed in one step",
            without(
                RingGuards {
                    one_step: false,
                    ..all
                },
                RING,
            ),
            Wrong::SeveralContinue,
        ),
        (
            "a waiting leader asks again",
            without(
                RingGuards {
                    asks_again: false,
                    ..all
                },
                JOINED_RING,
            ),
            Wrong::Deadlock,
        ),
        (
            "no caller gives up",
            without(
                RingGuards {
                    waits_without_limit: false,
                    ..all
                },
                NESTED,
            ),
            Wrong::LoadedTwice,
        ),
    ]
}
