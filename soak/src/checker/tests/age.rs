//! Values of functions that return them stale.

use std::time::Duration;

use super::*;
use crate::items::{LONGEST_AGE, REVALIDATED, STALE_IF_ERROR};

#[test]
fn stale_value_is_a_violation_past_the_bound_if_it_was_invalidated() {
    for item in [REVALIDATED, STALE_IF_ERROR] {
        let mut events = vec![
            commit(item, 2, 100),
            invalidation(HERE, Scope::One(item), 200, 1_000, Reached::Acked),
        ];
        let within = read(THERE, item, 1, 999 + BOUND, 1_000 + BOUND);
        assert_eq!(violations(events.clone(), &[within]), []);
        let own = read(HERE, item, 1, 1_000, 1_001);
        assert!(matches!(
            violations(events.clone(), &[own])[..],
            [Violation::Read {
                fault: Fault::OwnStale,
                ..
            }]
        ));
        events.push(Event::Window {
            kind: Window::Calm,
            start: 0,
            end: 4 * BOUND,
        });
        let past = read(THERE, item, 1, 1_000 + BOUND, 1_001 + BOUND);
        assert!(matches!(
            violations(events, &[past])[..],
            [Violation::Read {
                fault: Fault::Stale,
                ..
            }]
        ));
    }
}

#[test]
fn stale_value_that_was_not_invalidated_is_a_violation_past_its_windows() {
    let age = LONGEST_AGE + Duration::from_secs(5);
    let end = 100 + u64::try_from(age.as_micros()).unwrap();
    for item in [REVALIDATED, STALE_IF_ERROR] {
        let in_time = read(THERE, item, 1, end, end + 10);
        assert_eq!(violations(vec![commit(item, 2, 100)], &[in_time]), []);
        let late = read(THERE, item, 1, end + 1, end + 10);
        assert!(matches!(
            violations(vec![commit(item, 2, 100)], &[late])[..],
            [Violation::Read {
                fault: Fault::TooOld,
                expected: 2,
                ..
            }]
        ));
    }
    // The values of other functions do not expire.
    let late = read(THERE, 7, 1, end + 1, end + 10);
    assert_eq!(violations(vec![commit(7, 2, 100)], &[late]), []);
}

#[test]
fn value_that_expires_may_be_loaded_again_without_a_fault() {
    let load = |at| Event::Load {
        life: HERE,
        item: REVALIDATED,
        at,
    };
    let calm = Event::Window {
        kind: Window::Calm,
        start: 0,
        end: 10_000_000,
    };
    let twice = [load(5_000_000), load(5_000_100)];
    assert_eq!(violations(vec![calm], &twice), []);
}
