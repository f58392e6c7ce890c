//! The stale value and the soft deadline that a leader sets for all callers of its flight.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::entry::Held;
use crate::fence::TagStripes;
use crate::stale::StaleValue;

fn stale_of(value: Held) -> StaleValue {
    StaleValue {
        value,
        start: 0,
        dated: 0,
        fresh_until: Moment::ZERO,
        is_expired: false,
        tags: TagStripes::default(),
    }
}

fn number_of(stale: Option<StaleValue>) -> Option<u32> {
    stale.map(|stale| *stale.value.downcast_ref().expect("a number"))
}

#[test]
fn waiter_is_woken_by_an_offer_and_a_deadline_and_still_waits() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let mut waiter = table.wait();
    assert!(poll(&mut waiter, &wakes).is_pending());
    assert_eq!(number_of(waiter.stale()), None);
    assert_eq!(waiter.soft_deadline(), None);

    leader.offer_stale(stale_of(Arc::new(1u32)));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut waiter, &wakes).is_pending());
    let deadline = Instant::now() + Duration::from_secs(1);
    leader.set_soft_deadline(deadline);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    assert!(poll(&mut waiter, &wakes).is_pending());

    // A caller that comes later sees both at once.
    let newcomer = table.wait();
    for waiter in [&waiter, &newcomer] {
        assert_eq!(number_of(waiter.stale()), Some(1));
        assert_eq!(waiter.soft_deadline(), Some(deadline));
    }
    leader.complete(outcome_of(7));
    assert_eq!(completed_number(poll(&mut waiter, &wakes)), 7);
}

#[test]
fn stale_value_can_be_read_after_the_load_failed() {
    let table = Table::new();
    let leader = table.lead();
    let view = leader.view();
    let mut waiter = table.wait();
    leader.offer_stale(stale_of(Arc::new(1u32)));
    leader.fail();
    let polled = poll(&mut waiter, &Arc::new(WakeCounter::default()));
    assert!(matches!(polled, Poll::Ready(WaitOutcome::Failed)));
    assert_eq!(number_of(waiter.stale()), Some(1));
    assert_eq!(number_of(view.stale()), Some(1));
}

#[test]
fn stale_value_is_withdrawn_when_the_load_restarts() {
    let table = Table::new();
    let leader = table.lead();
    let waiter = table.wait();
    leader.offer_stale(stale_of(Arc::new(1u32)));
    leader.restart(&table.fences, Moment::ZERO);
    assert_eq!(number_of(waiter.stale()), None);
}

#[test]
fn view_says_whether_callers_wait_for_the_load() {
    let table = Table::new();
    let leader = table.lead();
    let view = leader.view();
    assert!(!view.has_waiters());
    let waiter = table.wait();
    assert!(view.has_waiters(), "a waiter that was not polled is one");
    drop(waiter);
    assert!(!view.has_waiters());
    let mut waiter = table.wait();
    drop(leader);
    assert!(!view.has_waiters(), "there is no load to wait for");
    let leader = leader_of(poll(&mut waiter, &Arc::new(WakeCounter::default())));
    assert!(!view.has_waiters(), "the new leader is not a waiter");
    let waiter = table.wait();
    leader.complete(outcome_of(7));
    assert!(!view.has_waiters(), "the waiters are answered");
    drop(waiter);
}

/// A value whose destructor takes the lock of the flight, as that of a task does that waits for it.
struct DropsWaiter(#[expect(dead_code, reason = "held to be dropped")] Waiter);

#[test]
fn stale_value_that_drops_a_waiter_is_dropped_outside_the_lock() {
    must_end(|| {
        let table = Table::new();
        let leader = table.lead();
        let held = || -> Held { Arc::new(DropsWaiter(table.wait())) };
        leader.offer_stale(stale_of(held()));
        leader.offer_stale(stale_of(held()));
        leader.restart(&table.fences, Moment::ZERO);
        leader.complete(outcome_of(7));
    });
}
