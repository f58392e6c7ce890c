mod offers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::waiter::Waiter;
use super::*;
use crate::clock::Moment;
use crate::fence::{Fences, FunctionFence};
use crate::key::Key;
use crate::key::{Arguments, FunctionId};
use crate::outcome::LoadOutcome;
use crate::sync::Mutex;

fn key(name: &str) -> Key {
    Arguments::encode(crate::key::Tuple(&(name,)), 0)
        .expect("a key")
        .key(FunctionId(0))
        .to_owned()
}

struct Table {
    flights: Arc<Flights>,
    fences: Fences,
    function: FunctionFence,
}

impl Table {
    fn new() -> Self {
        Self {
            flights: Flights::new(),
            fences: Fences::new(),
            function: FunctionFence::at(0),
        }
    }

    fn join(&self) -> Join {
        self.flights
            .join(&key("k"), &self.fences, Moment::ZERO, |start, _| {
                self.fences.is_current(start, 0, &self.function)
            })
    }

    #[track_caller]
    fn lead(&self) -> Leader {
        match self.join() {
            Join::Lead(leader) => leader,
            Join::Wait(_) => panic!("the caller must lead, and waits"),
        }
    }

    #[track_caller]
    fn wait(&self) -> Waiter {
        match self.join() {
            Join::Wait(waiter) => waiter,
            Join::Lead(_) => panic!("the caller must wait, and leads"),
        }
    }
}

#[derive(Default)]
struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(waiter: &mut Waiter, wakes: &Arc<WakeCounter>) -> Poll<WaitOutcome> {
    Pin::new(waiter).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

fn outcome_of(number: u32) -> LoadOutcome {
    LoadOutcome::Value(Arc::new(number))
}

fn number_in(outcome: &LoadOutcome) -> u32 {
    match outcome {
        LoadOutcome::Value(held) => *held.downcast_ref().expect("a number"),
        LoadOutcome::Absent
        | LoadOutcome::Failed(_)
        | LoadOutcome::TimedOut(_)
        | LoadOutcome::Stale(_) => {
            panic!("the outcome has no value")
        }
    }
}

#[track_caller]
fn completed_number(poll: Poll<WaitOutcome>) -> u32 {
    match poll {
        Poll::Ready(WaitOutcome::Completed(outcome)) => number_in(&outcome),
        Poll::Ready(WaitOutcome::Lead(_)) => panic!("the waiter has become the leader"),
        Poll::Ready(WaitOutcome::Failed) => panic!("the load failed"),
        Poll::Pending => panic!("the waiter still waits"),
    }
}

#[test]
fn all_waiters_get_the_value_when_the_leader_completes() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let mut waiters: Vec<_> = (0..10).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &wakes).is_pending());
    }
    leader.complete(outcome_of(7));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 10);
    for waiter in &mut waiters {
        assert_eq!(completed_number(poll(waiter, &wakes)), 7);
    }
    assert_eq!(table.flights.len(), 0);
    drop(table.lead());
}

#[track_caller]
fn leader_of(poll: Poll<WaitOutcome>) -> Leader {
    match poll {
        Poll::Ready(WaitOutcome::Lead(leader)) => leader,
        Poll::Ready(WaitOutcome::Completed(_) | WaitOutcome::Failed) => {
            panic!("the load has ended")
        }
        Poll::Pending => panic!("the waiter still waits"),
    }
}

#[test]
fn first_waiter_that_polls_becomes_leader_when_the_leader_is_dropped() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let (mut first, mut second, mut third) = (table.wait(), table.wait(), table.wait());
    for waiter in [&mut first, &mut second, &mut third] {
        assert!(poll(waiter, &wakes).is_pending());
    }
    drop(leader);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 3, "all waiters are woken");
    let leader = leader_of(poll(&mut second, &wakes));
    assert!(leader.is_current());
    assert!(poll(&mut first, &wakes).is_pending());
    leader.complete(outcome_of(7));
    assert_eq!(
        wakes.0.load(Ordering::SeqCst),
        4,
        "the third was not polled"
    );
    assert_eq!(completed_number(poll(&mut first, &wakes)), 7);
    assert_eq!(completed_number(poll(&mut third, &wakes)), 7);
}

/// The first waiter is kept but not polled, as in a branch of a `select!` that is not polled.
#[test]
fn waiter_that_is_not_polled_does_not_hold_the_key() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let (mut kept, mut polled) = (table.wait(), table.wait());
    assert!(poll(&mut kept, &wakes).is_pending());
    assert!(poll(&mut polled, &wakes).is_pending());
    drop(leader);
    let leader = leader_of(poll(&mut polled, &wakes));
    // A newcomer waits for the new leader, and becomes the leader when that one is dropped as well.
    let mut newcomer = table.wait();
    assert!(poll(&mut newcomer, &wakes).is_pending());
    drop(leader);
    leader_of(poll(&mut newcomer, &wakes)).complete(outcome_of(7));
    assert_eq!(completed_number(poll(&mut kept, &wakes)), 7);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn newcomer_becomes_leader_of_a_flight_whose_waiters_are_not_polled() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let (mut kept, unpolled) = (table.wait(), table.wait());
    assert!(poll(&mut kept, &wakes).is_pending());
    drop(leader);
    let mut newcomer = table.wait();
    leader_of(poll(&mut newcomer, &wakes)).complete(outcome_of(7));
    assert_eq!(completed_number(poll(&mut kept, &wakes)), 7);
    drop(unpolled);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn all_waiters_go_on_at_once_when_the_load_fails() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let mut waiters: Vec<_> = (0..10).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &wakes).is_pending());
    }
    leader.fail();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 10);
    for waiter in &mut waiters {
        assert!(matches!(
            poll(waiter, &wakes),
            Poll::Ready(WaitOutcome::Failed)
        ));
    }
    assert_eq!(table.flights.len(), 0);
    drop(table.lead());
}

#[test]
fn released_waiters_go_on_and_later_ones_wait_for_the_leader() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let mut early = table.wait();
    assert!(poll(&mut early, &wakes).is_pending());
    leader.release_waiters();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    let mut late = table.wait();
    assert!(matches!(
        poll(&mut early, &wakes),
        Poll::Ready(WaitOutcome::Failed)
    ));
    assert!(poll(&mut late, &wakes).is_pending());
    leader.complete(outcome_of(7));
    assert_eq!(completed_number(poll(&mut late, &wakes)), 7);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn all_waiters_go_on_at_once_when_the_leader_panics() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let mut waiters: Vec<_> = (0..3).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &wakes).is_pending());
    }
    let body = std::panic::AssertUnwindSafe(|| {
        let _leader = leader;
        panic!("a body that panics, as the test wants");
    });
    assert!(std::panic::catch_unwind(body).is_err());
    for waiter in &mut waiters {
        assert!(matches!(
            poll(waiter, &wakes),
            Poll::Ready(WaitOutcome::Failed)
        ));
    }
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn waiter_that_leaves_a_flight_without_a_leader_leaves_the_lead_to_the_others() {
    let table = Table::new();
    let leader = table.lead();
    let wakes = Arc::new(WakeCounter::default());
    let (first, mut second) = (table.wait(), table.wait());
    assert!(poll(&mut second, &wakes).is_pending());
    drop(leader);
    drop(first);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    drop(leader_of(poll(&mut second, &wakes)));
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn flight_without_a_leader_is_removed_with_its_last_waiter() {
    let table = Table::new();
    let leader = table.lead();
    let (first, last) = (table.wait(), table.wait());
    drop(leader);
    drop(first);
    assert_eq!(table.flights.len(), 1);
    drop(last);
    assert_eq!(table.flights.len(), 0);
    drop(table.lead());
}

#[test]
fn flight_is_removed_when_its_leader_and_waiters_are_dropped() {
    let table = Table::new();
    let leader = table.lead();
    let waiter = table.wait();
    drop(waiter);
    drop(leader);
    assert_eq!(table.flights.len(), 0);
    drop(table.lead());
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn flight_from_before_an_invalidation_is_not_joined_after_it() {
    let table = Table::new();
    let old = table.lead();
    let mut waiter = table.wait();
    table.fences.raise(0);
    let new = table.lead();
    assert!(!old.is_current());
    old.complete(outcome_of(1));
    assert_eq!(
        completed_number(poll(&mut waiter, &Arc::new(WakeCounter::default()))),
        1
    );
    let mut waiter = table.wait();
    new.complete(outcome_of(2));
    assert_eq!(
        completed_number(poll(&mut waiter, &Arc::new(WakeCounter::default()))),
        2
    );
}

/// Memory compares the numbers, so that the value of the older flight does not replace that of the
/// newer one.
#[test]
fn flight_that_replaces_another_has_a_larger_number() {
    let table = Table::new();
    let old = table.lead();
    let take_over = || {
        table
            .flights
            .lead(&key("k"), &table.fences, Moment::ZERO, true)
    };
    let (new, newest) = (take_over(), take_over());
    assert!(old.start() < new.start() && new.start() < newest.start());
    assert!(!old.is_current() && !new.is_current() && newest.is_current());
}

#[test]
fn waiter_is_woken_by_its_newest_waker_only() {
    let table = Table::new();
    let leader = table.lead();
    let mut waiter = table.wait();
    let (old, new) = (
        Arc::new(WakeCounter::default()),
        Arc::new(WakeCounter::default()),
    );
    assert!(poll(&mut waiter, &old).is_pending());
    assert!(poll(&mut waiter, &new).is_pending());
    leader.complete(outcome_of(7));
    assert_eq!(
        (old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)),
        (0, 1)
    );
}

/// Panics when it is woken.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn other_waiters_are_woken_when_a_waker_panics() {
    let table = Table::new();
    let leader = table.lead();
    let mut waiters: Vec<_> = (0..3).map(|_| table.wait()).collect();
    let wakes = Arc::new(WakeCounter::default());
    let panicking = Waker::from(Arc::new(PanickingWaker));
    assert!(
        Pin::new(&mut waiters[0])
            .poll(&mut Context::from_waker(&panicking))
            .is_pending()
    );
    for waiter in &mut waiters[1..] {
        assert!(poll(waiter, &wakes).is_pending());
    }
    let outcome = std::panic::AssertUnwindSafe(|| leader.complete(outcome_of(7)));
    assert!(std::panic::catch_unwind(outcome).is_err());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    for waiter in &mut waiters {
        assert_eq!(completed_number(poll(waiter, &wakes)), 7);
    }
    assert_eq!(table.flights.len(), 0);
}

/// A waker that owns a waiter of the same flight, as the waker of a task does that waits for it. If
/// the waker is the last owner, dropping it drops the waiter.
struct Task(#[expect(dead_code, reason = "held to be dropped")] Mutex<Option<Waiter>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// Runs `test` on a thread of its own and fails if it does not end, which is how a lock that is
/// taken twice on one thread shows.
fn must_end(test: impl FnOnce() + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = ended.send(());
    });
    end.recv_timeout(std::time::Duration::from_secs(10))
        .expect("the test ends without a panic");
    thread.join().expect("the thread has ended");
}

#[test]
fn waker_that_drops_a_waiter_is_dropped_outside_the_lock() {
    must_end(|| {
        let wakes = Arc::new(WakeCounter::default());
        let task = |table: &Table| Waker::from(Arc::new(Task(Mutex::new(Some(table.wait())))));
        // The waker is replaced by a newer one.
        let table = Table::new();
        let leader = table.lead();
        let mut waiter = table.wait();
        let waker = task(&table);
        assert!(
            Pin::new(&mut waiter)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        assert!(poll(&mut waiter, &wakes).is_pending());
        // The waker is dropped with its waiter.
        let waker = task(&table);
        assert!(
            Pin::new(&mut waiter)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        drop(waiter);
        // The waker is dropped when its waiter becomes the leader.
        let mut waiter = table.wait();
        let waker = task(&table);
        assert!(
            Pin::new(&mut waiter)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        drop(leader);
        assert!(matches!(
            poll(&mut waiter, &wakes),
            Poll::Ready(WaitOutcome::Lead(_))
        ));
    });
}
