//! Fence and flight under every schedule of two or three threads, by loom:
//! `RUSTFLAGS="--cfg schedules" cargo test --release -p cache-core --lib schedules`.

use std::pin::pin;
use std::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::*;
use crate::fence::{FunctionFence, Stripe};
use crate::key::{Arguments, FunctionId};

struct World {
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

impl World {
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

    fn hit(&self) -> Option<u64> {
        let word = self.memory.load(Ordering::SeqCst);
        let (start, value) = (word >> 32, word & 0xFFFF_FFFF);
        (word != 0 && self.fences.admits(start, Stripe::of(0), &self.function)).then_some(value)
    }

    fn load(&self, leader: Leader) -> u64 {
        if let Some(value) = self.hit() {
            leader.land(Arc::new(value));
            return value;
        }
        let start = leader.start();
        self.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.database.load(Ordering::SeqCst);
        self.memory.store(start << 32 | value, Ordering::SeqCst);
        leader.land(Arc::new(value));
        value
    }

    fn join(&self) -> Place {
        self.flights
            .join(&key(), &self.fences, Moment::ZERO, |start, _| {
                self.fences.admits(start, Stripe::of(0), &self.function)
            })
    }

    fn call(&self) -> u64 {
        if let Some(value) = self.hit() {
            return value;
        }
        loop {
            match self.join() {
                Place::Lead(leader) => return self.load(leader),
                Place::Wait(waiter) => match block_on(waiter) {
                    Arrival::Landed(landing) => {
                        return *landing.downcast_ref::<u64>().expect("a value");
                    }
                    Arrival::Lead(leader) if leader.is_current() => {
                        leader.restart(&self.fences, Moment::ZERO);
                        return self.load(leader);
                    }
                    Arrival::Lead(_) | Arrival::Failed => {}
                },
            }
        }
    }

    fn invalidate(&self) {
        self.fences.raise(Stripe::of(0));
    }
}

#[test]
fn a_call_after_an_invalidation_never_sees_what_was_loaded_before() {
    loom::model(|| {
        let world = World::new();
        let caller = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                world.call();
            }
        });
        world.database.store(2, Ordering::SeqCst);
        world.invalidate();
        assert_eq!(world.call(), 2);
        caller.join().expect("the caller");
        assert_eq!(world.call(), 2);
    });
}

#[test]
fn callers_at_once_make_one_load() {
    loom::model(|| {
        let world = World::new();
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || world.call()
        });
        assert_eq!(world.call(), 1);
        assert_eq!(other.join().expect("the caller"), 1);
        assert_eq!(world.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_waiter_hangs_when_the_leader_goes_away() {
    loom::model(|| {
        let world = World::new();
        let leader = world.flights.lead(&key(), &world.fences, Moment::ZERO);
        let waiter = thread::spawn({
            let world = Arc::clone(&world);
            move || world.call()
        });
        drop(leader);
        assert_eq!(waiter.join().expect("the waiter"), 1);
        assert_eq!(world.loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_lead_is_handed_on_by_a_waiter_that_goes_away() {
    loom::model(|| {
        let world = World::new();
        let leader = world.flights.lead(&key(), &world.fences, Moment::ZERO);
        let Place::Wait(leaving) = world.join() else {
            panic!("there is a flight")
        };
        let Place::Wait(staying) = world.join() else {
            panic!("there is a flight")
        };
        let leaver = thread::spawn(move || drop(leaving));
        drop(leader);
        match block_on(pin!(staying)) {
            Arrival::Lead(leader) => drop(leader),
            Arrival::Landed(_) | Arrival::Failed => panic!("the load has not ended"),
        }
        leaver.join().expect("the leaver");
    });
}

/// Of two callers that waited for a failed load, both go on, whatever they meet on the way.
#[test]
fn no_waiter_hangs_or_waits_again_when_the_load_fails() {
    loom::model(|| {
        let world = World::new();
        let leader = world.flights.lead(&key(), &world.fences, Moment::ZERO);
        let waiter = thread::spawn({
            let world = Arc::clone(&world);
            move || match world.join() {
                // The flight had ended before.
                Place::Lead(leader) => drop(leader),
                Place::Wait(waiter) => match block_on(waiter) {
                    Arrival::Failed => {}
                    Arrival::Landed(_) | Arrival::Lead(_) => panic!("the load failed"),
                },
            }
        });
        leader.fail();
        waiter.join().expect("the waiter");
        assert_eq!(world.flights.len(), 0);
    });
}
