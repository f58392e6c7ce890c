mod age;
mod liveness;

use super::*;
use crate::history::{By, Life, Reached, Split, Window};
use crate::items::{SERVING, STRONG, Scope};
use crate::servers::SPLIT_NOTICED;

const BOUND: Micros = 500_000;
const HERE: Life = Life {
    instance: 0,
    number: 0,
};
const THERE: Life = Life {
    instance: 1,
    number: 0,
};

fn read(life: Life, item: Item, version: u64, start: Micros, end: Micros) -> Event {
    Event::Read {
        life,
        item,
        version,
        by: match item {
            STRONG => By::Strong,
            _ => By::Call,
        },
        start,
        end,
    }
}

fn commit(item: Item, version: u64, at: Micros) -> Event {
    Event::Commit { item, version, at }
}

fn invalidation(life: Life, scope: Scope, start: Micros, end: Micros, reached: Reached) -> Event {
    Event::Invalidation {
        life,
        scope,
        start,
        end,
        reached,
    }
}

/// Version 2 of item 7 is committed at 100, and its invalidation by `HERE` returns at 1,000.
fn changed(reached: Reached) -> Vec<Event> {
    vec![
        commit(7, 2, 100),
        invalidation(HERE, Scope::One(7), 200, 1_000, reached),
    ]
}

fn violations(mut events: Vec<Event>, more: &[Event]) -> Vec<Violation> {
    events.extend_from_slice(more);
    judge(&events, BOUND).violations
}

#[test]
fn panic_in_an_instance_is_a_violation() {
    let panic = Event::Panic {
        life: THERE,
        at: 2_000,
    };
    let [Violation::Panicked { life, at }] = violations(changed(Reached::Acked), &[panic])[..]
    else {
        panic!("the panic is the one violation")
    };
    assert_eq!((life, at), (THERE, 2_000));
}

#[test]
fn history_within_the_bound_has_no_violation() {
    let good = [
        read(THERE, 7, 1, 0, 50),
        read(THERE, 7, 1, 1_000 + BOUND - 1, 1_000 + BOUND),
        read(HERE, 7, 2, 1_001, 1_002),
        read(THERE, 7, 2, 1_000 + BOUND, 2_000 + BOUND),
    ];
    assert_eq!(violations(changed(Reached::Acked), &good), []);
    let mut events = changed(Reached::Acked);
    events.extend(good);
    let verdict = judge(&events, BOUND);
    assert_eq!((verdict.reads, verdict.invalidations), (4, 1));
    assert_eq!(verdict.worst_staleness, BOUND - 1);
}

#[test]
fn read_that_is_older_than_the_bound_is_a_violation() {
    let late = read(THERE, 7, 1, 1_000 + BOUND, 1_001 + BOUND);
    assert!(matches!(
        violations(changed(Reached::Acked), &[late])[..],
        [Violation::Read {
            fault: Fault::Stale,
            expected: 2,
            ..
        }]
    ));
    assert_eq!(violations(changed(Reached::Queued), &[late]), []);
    // An invalidation of the whole function has the same effect.
    let events = vec![
        commit(7, 2, 100),
        invalidation(HERE, Scope::FunctionOf(3), 200, 1_000, Reached::Acked),
    ];
    assert!(matches!(
        violations(events.clone(), &[late])[..],
        [Violation::Read {
            fault: Fault::Stale,
            ..
        }]
    ));
    let other_function = read(THERE, STRONG, 1, 2_000 + BOUND, 2_001 + BOUND);
    assert_eq!(violations(events, &[other_function]), []);
}

#[test]
fn commit_during_an_invalidation_is_not_covered_by_it() {
    let events = vec![
        commit(7, 2, 300),
        invalidation(HERE, Scope::One(7), 200, 1_000, Reached::Acked),
    ];
    assert_eq!(
        violations(events, &[read(THERE, 7, 1, 5 * BOUND, 6 * BOUND)]),
        []
    );
}

#[test]
fn own_invalidation_has_no_bound_even_if_it_is_queued() {
    for reached in [Reached::Acked, Reached::Queued] {
        assert!(matches!(
            violations(changed(reached), &[read(HERE, 7, 1, 1_000, 1_001)])[..],
            [Violation::Read {
                fault: Fault::OwnStale,
                ..
            }]
        ));
    }
    let other_life = Life { number: 1, ..HERE };
    let next = read(other_life, 7, 1, 1_000, 1_001);
    assert_eq!(violations(changed(Reached::Acked), &[next]), []);
}

#[test]
fn settled_invalidation_has_no_bound_on_any_instance() {
    assert!(matches!(
        violations(
            changed(Reached::Settled),
            &[read(THERE, 7, 1, 1_000, 1_001)]
        )[..],
        [Violation::Read {
            fault: Fault::Unsettled,
            ..
        }]
    ));
}

#[test]
fn strong_read_has_no_bound() {
    let events = vec![
        commit(STRONG, 2, 100),
        invalidation(HERE, Scope::One(STRONG), 200, 1_000, Reached::Acked),
    ];
    assert!(matches!(
        violations(events, &[read(THERE, STRONG, 1, 1_000, 1_001)])[..],
        [Violation::Read {
            fault: Fault::Stale,
            ..
        }]
    ));
}

#[test]
fn version_that_was_never_committed_is_a_violation() {
    assert!(matches!(
        violations(changed(Reached::Acked), &[read(THERE, 7, 2, 50, 99)])[..],
        [Violation::Read {
            fault: Fault::Invented,
            ..
        }]
    ));
}

#[test]
fn read_older_than_one_before_it_is_a_violation_only_without_faults() {
    let events = vec![commit(7, 2, 100)];
    let back = [read(THERE, 7, 2, 110, 120), read(THERE, 7, 1, 130, 140)];
    let calm = Event::Window {
        kind: Window::Calm,
        start: 0,
        end: 1_000,
    };
    assert!(matches!(
        violations(events.clone(), &[back[0], back[1], calm])[..],
        [Violation::Read {
            fault: Fault::Backwards,
            expected: 2,
            ..
        }]
    ));
    assert_eq!(violations(events.clone(), &back), []);
    // Neither of two concurrent reads is earlier.
    let beside = [
        read(THERE, 7, 2, 110, 140),
        read(THERE, 7, 1, 120, 130),
        calm,
    ];
    assert_eq!(violations(events.clone(), &beside), []);
    let mut all = events;
    all.extend(back);
    assert_eq!(judge(&all, BOUND).backwards_in_faults, 1);
    all.push(calm);
    let load = |life| Event::Load {
        life,
        item: 7,
        at: 105,
    };
    all.extend([load(HERE), load(HERE)]);
    assert_eq!(
        judge(&all, BOUND).violations.len(),
        1,
        "not of this instance"
    );
    all.push(load(THERE));
    let verdict = judge(&all, BOUND);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.backwards_beside_loads, 1);
}

#[test]
fn key_loaded_twice_without_a_fault_is_a_violation() {
    let load = |at| Event::Load {
        life: HERE,
        item: 7,
        at,
    };
    let calm = Event::Window {
        kind: Window::Calm,
        start: 0,
        end: 10_000_000,
    };
    let twice = [load(5_000_000), load(5_000_100)];
    assert!(matches!(
        violations(vec![calm], &twice)[..],
        [Violation::TwoLoads { .. }]
    ));
    assert_eq!(violations(Vec::new(), &twice), []);
    let between = invalidation(HERE, Scope::One(7), 5_000_010, 5_000_020, Reached::Acked);
    assert_eq!(violations(vec![calm, between], &twice), []);
}

/// Returns a split in which instance 0 stays with the old primary from 500 on, and instance 1 does
/// not.
fn split(united: Micros) -> Event {
    Event::Split(Split {
        start: 500,
        moved: 600,
        united,
        end: united + BOUND,
        stay: 1,
    })
}

fn noticed() -> Micros {
    u64::try_from(SPLIT_NOTICED.as_micros()).unwrap()
}

#[test]
fn invalidation_at_an_old_primary_is_required_on_its_side_alone() {
    let late = |life| read(life, 7, 1, 2 * BOUND, 2 * BOUND + 1);
    let elsewhere = late(THERE);
    assert_eq!(
        violations(changed(Reached::Acked), &[elsewhere, split(3 * BOUND)]),
        []
    );
    assert!(
        !violations(changed(Reached::Acked), &[elsewhere, split(BOUND / 2)]).is_empty(),
        "the split has ended before the read"
    );
    let acked = |life, start| {
        vec![
            commit(7, 2, 10),
            invalidation(life, Scope::One(7), start, start + 10, Reached::Acked),
        ]
    };
    let before = [late(THERE), split(3 * BOUND)];
    assert!(
        violations(acked(HERE, 20), &before).is_empty(),
        "the new primary may not have the invalidation"
    );
    let long_before = Event::Split(Split {
        start: 40 + BOUND,
        moved: 50 + BOUND,
        united: 8 * BOUND,
        end: 9 * BOUND,
        stay: 1,
    });
    assert!(matches!(
        violations(acked(HERE, 20), &[late(THERE), long_before])[..],
        [Violation::Read {
            fault: Fault::Stale,
            ..
        }]
    ));
    // Another life of the same instance is on the same side.
    let same_side = late(Life { number: 1, ..HERE });
    for (united, stale) in [(3 * BOUND, 1), (2 * BOUND, 0)] {
        let found = violations(acked(HERE, 700), &[same_side, split(united)]);
        assert_eq!(found.len(), stale, "{found:?}");
    }
}

#[test]
fn invalidation_at_a_new_primary_is_required_elsewhere_once_the_split_is_noticed() {
    let acked = [
        commit(7, 2, 10),
        invalidation(THERE, Scope::One(7), 700, 710, Reached::Acked),
    ];
    let at = |life, at| read(life, 7, 1, at, at + 1);
    let noticed = 500 + noticed() + BOUND;
    for (late, stale) in [
        (
            at(
                Life {
                    instance: 2,
                    ..HERE
                },
                710 + BOUND,
            ),
            1,
        ),
        (
            at(
                Life {
                    instance: 2,
                    ..HERE
                },
                709 + BOUND,
            ),
            0,
        ),
        (at(HERE, noticed - 1), 0),
        (at(HERE, noticed), 1),
    ] {
        let found = violations(acked.to_vec(), &[late, split(2 * noticed)]);
        assert_eq!(found.len(), stale, "{late:?}: {found:?}");
    }
}

#[test]
fn queued_invalidation_that_is_not_delivered_at_rest_is_a_violation() {
    let rest = Event::Window {
        kind: Window::Rest,
        start: 5_000,
        end: 6_000,
    };
    let late = read(THERE, 7, 1, 5_000, 5_100);
    for reached in [Reached::Queued, Reached::Dropped] {
        assert!(matches!(
            violations(changed(reached), &[late, rest])[..],
            [Violation::Read {
                fault: Fault::Undelivered,
                expected: 2,
                ..
            }]
        ));
    }
    // The instance that dropped the invalidation was killed.
    let next = read(Life { number: 1, ..HERE }, 7, 2, 2_000, 2_001);
    assert_eq!(
        violations(changed(Reached::Dropped), &[late, rest, next]),
        []
    );
    assert!(!violations(changed(Reached::Queued), &[late, rest, next]).is_empty());
}

#[test]
fn isolated_instance_may_serve_old_values_except_without_faults() {
    let events = |reached| {
        vec![
            commit(SERVING, 2, 100),
            invalidation(HERE, Scope::One(SERVING), 200, 1_000, reached),
        ]
    };
    let late = read(THERE, SERVING, 1, 3 * BOUND, 3 * BOUND + 1);
    assert_eq!(violations(events(Reached::Acked), &[late]), []);
    let calm = Event::Window {
        kind: Window::Calm,
        start: 2 * BOUND,
        end: 4 * BOUND,
    };
    assert!(!violations(events(Reached::Acked), &[late, calm]).is_empty());
    let own = read(HERE, SERVING, 1, 3 * BOUND, 3 * BOUND + 1);
    assert!(!violations(events(Reached::Queued), &[own]).is_empty());
}

#[test]
fn read_at_rest_that_is_not_the_newest_is_unconverged() {
    let events = [
        commit(7, 2, 100),
        read(THERE, 7, 1, 900, 901),
        read(THERE, 7, 2, 1_000, 1_001),
        read(THERE, 8, FIRST_VERSION, 1_000, 1_001),
    ];
    assert_eq!(unconverged(&events, 1_000), []);
    assert!(matches!(
        unconverged(&events, 900)[..],
        [Violation::Read {
            fault: Fault::Unconverged,
            version: 1,
            expected: 2,
            ..
        }]
    ));
}

#[test]
fn propagation_is_measured_from_the_return_to_the_first_call_with_the_new_version() {
    let calm = Event::Window {
        kind: Window::Calm,
        start: 0,
        end: 10_000,
    };
    let events = [
        calm,
        commit(PROBE, 2, 100),
        invalidation(HERE, Scope::One(PROBE), 200, 1_000, Reached::Acked),
        read(HERE, PROBE, 2, 1_000, 1_001),
        read(THERE, PROBE, 1, 1_000, 1_300),
        read(THERE, PROBE, 2, 1_400, 1_500),
        read(THERE, PROBE, 2, 1_600, 1_700),
    ];
    assert_eq!(judge(&events, BOUND).propagation, [400]);
}
