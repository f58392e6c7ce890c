use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::waiter::Waiter;
use super::*;
use crate::clock::Moment;
use crate::fence::Fences;
use crate::fence::{FunctionFence, Stripe};
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
                self.fences.is_current(start, Stripe::of(0), &self.function)
            })
    }

    #[track_caller]
    fn lead(&self) -> Leader {
        match self.join() {
            Join::Lead(leader) => leader,
            Join::Wait(_) => panic!("it was to lead"),
        }
    }

    #[track_caller]
    fn wait(&self) -> Waiter {
        match self.join() {
            Join::Wait(waiter) => waiter,
            Join::Lead(_) => panic!("it was to wait"),
        }
    }
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(waiter: &mut Waiter, bell: &Arc<Bell>) -> Poll<WaitOutcome> {
    Pin::new(waiter).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

fn landing_of(number: u32) -> LoadOutcome {
    LoadOutcome::Value(Arc::new(number))
}

fn number_in(outcome: &LoadOutcome) -> u32 {
    match outcome {
        LoadOutcome::Value(held) => *held.downcast_ref().expect("a number"),
        LoadOutcome::Absent | LoadOutcome::Failed(_) => panic!("there is no value"),
    }
}

#[track_caller]
fn landed(poll: Poll<WaitOutcome>) -> u32 {
    match poll {
        Poll::Ready(WaitOutcome::Completed(outcome)) => number_in(&outcome),
        Poll::Ready(WaitOutcome::Lead(_)) => panic!("it took the lead"),
        Poll::Ready(WaitOutcome::Failed) => panic!("the load failed"),
        Poll::Pending => panic!("it still waits"),
    }
}

#[test]
fn all_waiters_get_what_the_leader_landed() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let mut waiters: Vec<_> = (0..10).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &bell).is_pending());
    }
    leader.complete(landing_of(7));
    assert_eq!(bell.0.load(Ordering::SeqCst), 10);
    for waiter in &mut waiters {
        assert_eq!(landed(poll(waiter, &bell)), 7);
    }
    assert_eq!(table.flights.len(), 0);
    drop(table.lead());
}

#[track_caller]
fn led(poll: Poll<WaitOutcome>) -> Leader {
    match poll {
        Poll::Ready(WaitOutcome::Lead(leader)) => leader,
        Poll::Ready(WaitOutcome::Completed(_) | WaitOutcome::Failed) => {
            panic!("the load has ended")
        }
        Poll::Pending => panic!("it still waits"),
    }
}

#[test]
fn first_waiter_that_polls_becomes_leader_when_the_leader_is_dropped() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let (mut first, mut second, mut third) = (table.wait(), table.wait(), table.wait());
    for waiter in [&mut first, &mut second, &mut third] {
        assert!(poll(waiter, &bell).is_pending());
    }
    drop(leader);
    assert_eq!(bell.0.load(Ordering::SeqCst), 3, "all waiters are woken");
    let leader = led(poll(&mut second, &bell));
    assert!(leader.is_current());
    assert!(poll(&mut first, &bell).is_pending());
    leader.complete(landing_of(7));
    assert_eq!(bell.0.load(Ordering::SeqCst), 4, "the third was not polled");
    assert_eq!(landed(poll(&mut first, &bell)), 7);
    assert_eq!(landed(poll(&mut third, &bell)), 7);
}

/// The first waiter is kept without a poll, as in a branch of a `select!` that is not polled.
#[test]
fn waiter_that_is_not_polled_does_not_hold_the_key() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let (mut kept, mut polled) = (table.wait(), table.wait());
    assert!(poll(&mut kept, &bell).is_pending());
    assert!(poll(&mut polled, &bell).is_pending());
    drop(leader);
    let leader = led(poll(&mut polled, &bell));
    // A newcomer waits for the new leader, and takes the lead when that is dropped too.
    let mut newcomer = table.wait();
    assert!(poll(&mut newcomer, &bell).is_pending());
    drop(leader);
    led(poll(&mut newcomer, &bell)).complete(landing_of(7));
    assert_eq!(landed(poll(&mut kept, &bell)), 7);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn newcomer_becomes_leader_of_a_flight_whose_waiters_are_not_polled() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let (mut kept, unpolled) = (table.wait(), table.wait());
    assert!(poll(&mut kept, &bell).is_pending());
    drop(leader);
    let mut newcomer = table.wait();
    led(poll(&mut newcomer, &bell)).complete(landing_of(7));
    assert_eq!(landed(poll(&mut kept, &bell)), 7);
    drop(unpolled);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn all_waiters_go_on_at_once_when_the_load_fails() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let mut waiters: Vec<_> = (0..10).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &bell).is_pending());
    }
    leader.fail();
    assert_eq!(bell.0.load(Ordering::SeqCst), 10);
    for waiter in &mut waiters {
        assert!(matches!(
            poll(waiter, &bell),
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
    let bell = Arc::new(Bell::default());
    let mut early = table.wait();
    assert!(poll(&mut early, &bell).is_pending());
    leader.release_waiters();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    let mut late = table.wait();
    assert!(matches!(
        poll(&mut early, &bell),
        Poll::Ready(WaitOutcome::Failed)
    ));
    assert!(poll(&mut late, &bell).is_pending());
    leader.complete(landing_of(7));
    assert_eq!(landed(poll(&mut late, &bell)), 7);
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn all_waiters_go_on_at_once_when_the_leader_panics() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let mut waiters: Vec<_> = (0..3).map(|_| table.wait()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &bell).is_pending());
    }
    let body = std::panic::AssertUnwindSafe(|| {
        let _leader = leader;
        panic!("a body that panics, as the test wants");
    });
    assert!(std::panic::catch_unwind(body).is_err());
    for waiter in &mut waiters {
        assert!(matches!(
            poll(waiter, &bell),
            Poll::Ready(WaitOutcome::Failed)
        ));
    }
    assert_eq!(table.flights.len(), 0);
}

#[test]
fn waiter_that_leaves_a_flight_without_a_leader_leaves_the_lead_to_the_others() {
    let table = Table::new();
    let leader = table.lead();
    let bell = Arc::new(Bell::default());
    let (first, mut second) = (table.wait(), table.wait());
    assert!(poll(&mut second, &bell).is_pending());
    drop(leader);
    drop(first);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    drop(led(poll(&mut second, &bell)));
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
fn a_flight_that_everyone_left_is_gone() {
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
fn a_flight_begun_before_an_invalidation_is_not_joined_after_it() {
    let table = Table::new();
    let old = table.lead();
    let mut waiter = table.wait();
    table.fences.raise(Stripe::of(0));
    let new = table.lead();
    assert!(!old.is_current());
    old.complete(landing_of(1));
    assert_eq!(landed(poll(&mut waiter, &Arc::new(Bell::default()))), 1);
    let mut waiter = table.wait();
    new.complete(landing_of(2));
    assert_eq!(landed(poll(&mut waiter, &Arc::new(Bell::default()))), 2);
}

/// So that what the older one brings does not take the place of what the newer one does.
#[test]
fn a_flight_that_takes_the_place_of_another_has_a_larger_number() {
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
fn a_waiter_registers_its_newest_waker() {
    let table = Table::new();
    let leader = table.lead();
    let mut waiter = table.wait();
    let (old, new) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    assert!(poll(&mut waiter, &old).is_pending());
    assert!(poll(&mut waiter, &new).is_pending());
    leader.complete(landing_of(7));
    assert_eq!(
        (old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)),
        (0, 1)
    );
}

/// Rings the next one's bell even when it breaks.
struct BrokenBell;

impl Wake for BrokenBell {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_being_woken() {
    let table = Table::new();
    let leader = table.lead();
    let mut waiters: Vec<_> = (0..3).map(|_| table.wait()).collect();
    let bell = Arc::new(Bell::default());
    let broken = Waker::from(Arc::new(BrokenBell));
    assert!(
        Pin::new(&mut waiters[0])
            .poll(&mut Context::from_waker(&broken))
            .is_pending()
    );
    for waiter in &mut waiters[1..] {
        assert!(poll(waiter, &bell).is_pending());
    }
    let outcome = std::panic::AssertUnwindSafe(|| leader.complete(landing_of(7)));
    assert!(std::panic::catch_unwind(outcome).is_err());
    assert_eq!(bell.0.load(Ordering::SeqCst), 2);
    for waiter in &mut waiters {
        assert_eq!(landed(poll(waiter, &bell)), 7);
    }
    assert_eq!(table.flights.len(), 0);
}

/// The last to hold a task, which is itself a waiter of the same flight.
struct Task(#[expect(dead_code, reason = "held to be dropped")] Mutex<Option<Waiter>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// Runs `test` on a thread of its own: what this guards against is a lock that is taken twice, and
/// hangs.
fn must_end(test: impl FnOnce() + Send + 'static) {
    let (ended, end) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = ended.send(());
    });
    end.recv_timeout(std::time::Duration::from_secs(10))
        .expect("it ends, and not in a panic");
    thread.join().expect("it has ended");
}

#[test]
fn a_waker_that_drops_a_waiter_is_dropped_outside_the_lock() {
    must_end(|| {
        let bell = Arc::new(Bell::default());
        let task = |table: &Table| Waker::from(Arc::new(Task(Mutex::new(Some(table.wait())))));
        // Replaced by a newer one.
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
        assert!(poll(&mut waiter, &bell).is_pending());
        // With the waiter that leaves.
        let waker = task(&table);
        assert!(
            Pin::new(&mut waiter)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        drop(waiter);
        // With the waiter that takes the lead.
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
            poll(&mut waiter, &bell),
            Poll::Ready(WaitOutcome::Lead(_))
        ));
    });
}
