//! Fence and flight under every schedule of two or three threads, by loom:
//! `RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc_with_schedules.sh \
//! cargo test -p cache-core --lib schedules`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::waiter::Waiter;
use super::*;
use crate::clock::Moment;
use crate::fence::{Fences, FunctionFence};
use crate::key::Key;
use crate::key::{Arguments, FunctionId};
use crate::outcome::LoadOutcome;

struct Fixture {
    flights: Arc<Flights>,
    fences: Fences,
    function: FunctionFence,
    /// The source of truth.
    database: AtomicU64,
    /// Memory: the value and the number of its load, in one word, zero for none.
    memory: AtomicU64,
    loads: AtomicU64,
}

fn key() -> Key {
    Arguments::encode(crate::key::Tuple(&()), 0)
        .expect("a key")
        .key(FunctionId(0))
        .to_owned()
}

fn landing_of(value: u64) -> LoadOutcome {
    LoadOutcome::Value(Arc::new(value))
}

fn number_in(outcome: &LoadOutcome) -> u64 {
    match outcome {
        LoadOutcome::Value(held) => *held.downcast_ref().expect("a number"),
        _ => panic!("there is no fresh value"),
    }
}

impl Fixture {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(),
            fences: Fences::new(),
            function: FunctionFence::at(0),
            database: AtomicU64::new(1),
            memory: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        })
    }

    /// Begins a flight whether or not there is one.
    fn lead(&self) -> Leader {
        let now = Moment::ZERO;
        self.flights.lead(&key(), &self.fences, now, true)
    }

    fn hit(&self) -> Option<u64> {
        let word = self.memory.load(Ordering::SeqCst);
        let (start, value) = (word >> 32, word & 0xFFFF_FFFF);
        (word != 0 && self.fences.is_current(start, 0, &self.function)).then_some(value)
    }

    fn load(&self, leader: Leader) -> u64 {
        if let Some(value) = self.hit() {
            leader.complete(landing_of(value));
            return value;
        }
        let start = leader.start();
        self.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.database.load(Ordering::SeqCst);
        self.memory.store(start << 32 | value, Ordering::SeqCst);
        leader.complete(landing_of(value));
        value
    }

    fn join(&self) -> Join {
        self.flights
            .join(&key(), &self.fences, Moment::ZERO, |start, _| {
                self.fences.is_current(start, 0, &self.function)
            })
    }

    /// A place in the flight that there is.
    fn wait(&self) -> Waiter {
        match self.join() {
            Join::Wait(waiter) => waiter,
            Join::Lead(_) => panic!("there is a flight"),
        }
    }

    /// Continues with what a waiter of the current flight got.
    fn arrive(&self, arrival: WaitOutcome) -> u64 {
        match arrival {
            WaitOutcome::Completed(outcome) => number_in(&outcome),
            WaitOutcome::Lead(leader) => {
                assert!(leader.is_current());
                self.load(leader)
            }
            WaitOutcome::Failed => panic!("no load failed"),
        }
    }

    fn call(&self) -> u64 {
        if let Some(value) = self.hit() {
            return value;
        }
        loop {
            match self.join() {
                Join::Lead(leader) => return self.load(leader),
                Join::Wait(waiter) => match block_on(waiter) {
                    WaitOutcome::Completed(outcome) => {
                        return number_in(&outcome);
                    }
                    WaitOutcome::Lead(leader) if leader.is_current() => {
                        leader.restart(&self.fences, Moment::ZERO);
                        return self.load(leader);
                    }
                    WaitOutcome::Lead(_) | WaitOutcome::Failed => {}
                },
            }
        }
    }

    fn invalidate(&self) {
        self.fences.raise(0);
    }
}

#[test]
fn call_after_an_invalidation_never_returns_a_value_from_before() {
    loom::model(|| {
        let fixture = Fixture::new();
        let caller = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || {
                fixture.call();
            }
        });
        fixture.database.store(2, Ordering::SeqCst);
        fixture.invalidate();
        assert_eq!(fixture.call(), 2);
        caller.join().expect("the caller");
        assert_eq!(fixture.call(), 2);
    });
}

#[test]
fn concurrent_callers_make_one_load() {
    loom::model(|| {
        let fixture = Fixture::new();
        let other = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.call()
        });
        assert_eq!(fixture.call(), 1);
        assert_eq!(other.join().expect("the caller"), 1);
        assert_eq!(fixture.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_waiter_hangs_when_the_leader_is_dropped() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let waiter = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.call()
        });
        drop(leader);
        assert_eq!(waiter.join().expect("the waiter"), 1);
        assert_eq!(fixture.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn lead_of_a_dropped_leader_is_not_lost_when_a_waiter_leaves() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let leaving = fixture.wait();
        let staying = fixture.wait();
        let leaver = thread::spawn(move || drop(leaving));
        drop(leader);
        match block_on(pin!(staying)) {
            WaitOutcome::Lead(leader) => drop(leader),
            WaitOutcome::Completed(_) | WaitOutcome::Failed => panic!("the load has not ended"),
        }
        leaver.join().expect("the leaver");
        assert_eq!(fixture.flights.len(), 0);
    });
}

/// The last waiter of a flight without a leader leaves while a newcomer joins that flight or begins
/// another.
#[test]
fn newcomer_leads_the_flight_that_the_last_waiter_leaves() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let leaving = fixture.wait();
        drop(leader);
        let leaver = thread::spawn(move || drop(leaving));
        let leader = match fixture.join() {
            Join::Lead(leader) => leader,
            Join::Wait(waiter) => match block_on(waiter) {
                WaitOutcome::Lead(leader) => leader,
                WaitOutcome::Completed(_) | WaitOutcome::Failed => panic!("the load has not ended"),
            },
        };
        leaver.join().expect("the leaver");
        // Other callers wait for it.
        drop(fixture.wait());
        assert_eq!(fixture.load(leader), 1);
        assert_eq!(fixture.flights.len(), 0);
    });
}

#[test]
fn first_waiter_that_polls_leads_and_the_other_waits_for_it() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let (first, second) = (fixture.wait(), fixture.wait());
        let other = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.arrive(block_on(first))
        });
        drop(leader);
        assert_eq!(fixture.arrive(block_on(second)), 1);
        assert_eq!(other.join().expect("the other waiter"), 1);
        assert_eq!(fixture.loads.load(Ordering::SeqCst), 1);
        assert_eq!(fixture.flights.len(), 0);
    });
}

/// The older waiter is polled once and then kept, as in a branch of a `select!` that is not polled.
#[test]
fn waiter_that_is_not_polled_does_not_hold_the_key() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let mut kept = fixture.wait();
        let polled = fixture.wait();
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut kept).poll(&mut context).is_pending());
        let dropper = thread::spawn(move || drop(leader));
        assert_eq!(fixture.arrive(block_on(polled)), 1);
        dropper.join().expect("the dropped leader");
        assert_eq!(fixture.arrive(block_on(kept)), 1);
        assert_eq!(fixture.loads.load(Ordering::SeqCst), 1);
        assert_eq!(fixture.flights.len(), 0);
    });
}

/// Two callers that waited for a failed load both continue, whatever they meet on the way.
#[test]
fn no_waiter_hangs_or_waits_again_when_the_load_fails() {
    loom::model(|| {
        let fixture = Fixture::new();
        let leader = fixture.lead();
        let waiter = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || {
                // If the flight has ended already, the caller leads a new one.
                if let Join::Wait(waiter) = fixture.join() {
                    let outcome = block_on(waiter);
                    assert!(matches!(outcome, WaitOutcome::Failed), "the load failed");
                }
            }
        });
        leader.fail();
        waiter.join().expect("the waiter");
        assert_eq!(fixture.flights.len(), 0);
    });
}
