use super::*;
use crate::instance::{FAILING_LOAD, NESTED_LOAD};
use crate::items::{FAILING, MEMORY, NESTED, UNCHANGED};

const ELSEWHERE: Life = Life {
    instance: 2,
    number: 0,
};

fn window(kind: Window, start: Micros, end: Micros) -> Event {
    Event::Window { kind, start, end }
}

fn load(life: Life, item: Item, at: Micros) -> Event {
    Event::Load { life, item, at }
}

fn health(life: Life, well: bool, isolations: u64, start: Micros) -> Event {
    Event::Health {
        life,
        well,
        isolations,
        start,
        end: start + 10,
    }
}

fn call(item: Item, took: Micros) -> Event {
    Event::Call {
        life: HERE,
        item,
        start: 100,
        end: 100 + took,
    }
}

fn micros(time: std::time::Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap()
}

#[track_caller]
fn check(events: &[Event], wanted: &[Violation]) {
    assert_eq!(judge(events, BOUND).violations, wanted);
}

#[test]
fn key_loaded_twice_in_a_quiet_time_is_a_violation() {
    let quiet = window(Window::Quiet, 1_000, 9_000);
    let twice = |item| Violation::TwoLoads {
        item,
        first: 2_000,
        second: 3_000,
    };
    for item in [UNCHANGED, UNCHANGED + 7, NESTED] {
        // By the same instance, and by another one.
        for life in [HERE, THERE] {
            check(
                &[load(HERE, item, 2_000), load(life, item, 3_000), quiet],
                &[twice(item)],
            );
        }
        check(
            &[load(HERE, item, 2_000), load(HERE, item + 1, 3_000), quiet],
            &[],
        );
        check(
            &[load(HERE, item, 500), load(HERE, item, 2_000), quiet],
            &[],
        );
    }
}

#[test]
fn each_further_load_of_a_key_in_a_quiet_time_is_a_violation() {
    let mut events: Vec<_> = (0..5).map(|n| load(HERE, UNCHANGED, 2_000 + n)).collect();
    events.push(window(Window::Quiet, 1_000, 9_000));
    assert_eq!(judge(&events, BOUND).violations.len(), 4);
}

#[test]
fn slow_nested_load_that_runs_twice_at_once_is_a_violation() {
    let loads = [load(HERE, NESTED, 2_000), load(THERE, NESTED, 5_000_000)];
    let [first, second] = [loads[0], loads[1]];
    let calm = window(Window::Calm, 1_000, 9_000_000);
    check(
        &[first, second, calm],
        &[Violation::TwoLoads {
            item: NESTED,
            first: 2_000,
            second: 5_000_000,
        }],
    );
    check(&[first, second], &[]);
}

#[test]
fn memory_that_loads_again_without_its_own_invalidation_is_a_violation() {
    let item = MEMORY + 1;
    let loads = [load(HERE, item, 2_000_000), load(HERE, item, 9_000_000)];
    let again = [Violation::TwoLoads {
        item,
        first: 2_000_000,
        second: 9_000_000,
    }];
    check(&loads, &again);
    let invalidated =
        |life, start| invalidation(life, Scope::One(item), start, start + 10, Reached::Acked);
    let with = |more| [loads[0], loads[1], more];
    check(&with(invalidated(HERE, 5_000_000)), &[]);
    // Neither an invalidation of another instance, nor one before or after both loads explains it.
    check(&with(invalidated(THERE, 5_000_000)), &again);
    check(&with(invalidated(HERE, 500_000)), &again);
    check(&with(invalidated(HERE, 9_500_000)), &again);
    // Another instance, and another life of the same one, have a memory of their own.
    for life in [THERE, Life { number: 1, ..HERE }] {
        check(&[loads[0], load(life, item, 9_000_000)], &[]);
    }
}

#[test]
fn memory_that_answers_what_its_instance_invalidated_is_a_violation() {
    let item = MEMORY + 1;
    let events = |reader| {
        [
            commit(item, 2, 100),
            invalidation(HERE, Scope::One(item), 200, 1_000, Reached::Acked),
            read(reader, item, 1, 5 * BOUND, 5 * BOUND + 1),
        ]
    };
    assert!(matches!(
        judge(&events(HERE), BOUND).violations[..],
        [Violation::Read {
            fault: Fault::OwnStale,
            ..
        }]
    ));
    check(&events(THERE), &[]);
}

#[test]
fn call_that_takes_longer_than_its_loads_is_a_violation() {
    for (item, limit) in [
        (UNCHANGED, 1_000_000),
        (FAILING, 2 * micros(FAILING_LOAD) + 300_000),
        (NESTED, micros(NESTED_LOAD) + 2_000_000),
    ] {
        check(&[call(item, limit)], &[]);
        check(
            &[call(item, limit + 1)],
            &[Violation::Slow {
                life: HERE,
                item,
                start: 100,
                took: limit + 1,
                limit,
            }],
        );
    }
}

#[test]
fn failing_calls_that_are_served_one_after_another_are_a_violation() {
    let load = micros(FAILING_LOAD);
    let calls: Vec<_> = (1..=20).map(|n| call(FAILING, n * load)).collect();
    let found = judge(&calls, BOUND).violations;
    assert_eq!(found.len(), 15, "all but the first five: {found:?}");
}

#[test]
fn instance_that_never_recovers_is_a_violation() {
    let end = LONGEST_RECOVERY + 9_000;
    let quiet = window(Window::Quiet, 1_000, end);
    let unwell = |start| [Violation::Unwell { life: HERE, start }];
    check(&[health(HERE, false, 1, 2_000), quiet], &unwell(2_000));
    let late = LONGEST_RECOVERY + 5_000;
    check(
        &[
            health(HERE, false, 1, 2_000),
            health(HERE, true, 1, late),
            quiet,
        ],
        &unwell(2_000),
    );
    let events = [
        health(HERE, false, 1, 2_000),
        health(HERE, true, 1, 8_000),
        quiet,
    ];
    check(&events, &[]);
    assert_eq!(judge(&events, BOUND).longest_recovery, 7_010);
}

#[test]
fn instance_that_is_unwell_again_in_a_quiet_time_is_a_violation() {
    let quiet = window(Window::Quiet, 1_000, 9_000);
    let well = health(HERE, true, 1, 2_000);
    check(
        &[well, health(HERE, false, 1, 3_000), quiet],
        &[Violation::Unwell {
            life: HERE,
            start: 3_000,
        }],
    );
    check(
        &[well, health(HERE, true, 2, 3_000), quiet],
        &[Violation::Isolated {
            life: HERE,
            start: 3_000,
        }],
    );
    check(&[well, health(HERE, false, 2, 10_000), quiet], &[]);
}

#[test]
fn instance_that_is_unwell_while_calm_is_a_violation() {
    let calm = window(Window::Calm, 1_000, 9_000);
    check(
        &[
            health(HERE, false, 0, 2_000),
            health(HERE, true, 0, 3_000),
            calm,
        ],
        &[Violation::Unwell {
            life: HERE,
            start: 2_000,
        }],
    );
}

#[test]
fn instance_that_says_well_without_a_server_is_a_violation() {
    let end = 5_000_000;
    let unreachable = window(Window::Unreachable, 1_000, end);
    let noticed = 1_000 + 2 * BOUND;
    let reports = |well| [health(HERE, well, 0, noticed), unreachable];
    check(
        &reports(true),
        &[Violation::WronglyWell {
            life: HERE,
            start: noticed,
        }],
    );
    check(&reports(false), &[]);
    // It may not have noticed yet, and the server is back before it answers.
    let unwell = health(HERE, false, 0, noticed);
    for start in [noticed - 1, end - 9] {
        check(&[unwell, health(HERE, true, 0, start), unreachable], &[]);
    }
}

#[test]
fn instance_that_does_not_report_its_health_is_a_violation() {
    let elsewhere = health(ELSEWHERE, true, 0, 20_000_000);
    for kind in [Window::Calm, Window::Quiet, Window::Unreachable] {
        check(
            &[elsewhere, window(kind, 1_000, 9_000)],
            &[Violation::NoHealth {
                instance: 2,
                start: 1_000,
            }],
        );
    }
    check(&[elsewhere, window(Window::Rest, 1_000, 9_000)], &[]);
}

#[test]
fn key_loaded_twice_is_no_violation_where_its_record_may_be_evicted() {
    let loads = [load(HERE, 7, 5_000_000), load(THERE, 7, 6_000_000)];
    let [first, second] = loads;
    let calm = window(Window::Calm, 0, 10_000_000);
    let evicting = window(Window::Evicting, 0, 10_000_000);
    check(
        &[first, second, calm],
        &[Violation::TwoLoads {
            item: 7,
            first: 5_000_000,
            second: 6_000_000,
        }],
    );
    check(&[first, second, calm, evicting], &[]);
    // All instances keep these in memory.
    let [first, second] = [
        load(HERE, UNCHANGED, 5_000_000),
        load(THERE, UNCHANGED, 6_000_000),
    ];
    assert_eq!(
        judge(&[first, second, calm, evicting], BOUND)
            .violations
            .len(),
        1
    );
}
