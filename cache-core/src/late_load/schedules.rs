//! The hand-over of a load under way, under every schedule of two or three threads, by loom:
//! `RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc_with_schedules.sh \
//! cargo test -p cache-core --lib schedules`.

use std::future::poll_fn;
use std::task::Waker;

use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::{self, JoinHandle};

use super::*;
use crate::background::Queue;
use crate::clock::Moment;
use crate::fence::{Fences, FunctionFence};
use crate::flight::{Flights, Join, Leader, WaitOutcome, Waiter};
use crate::key::{Arguments, FunctionId, Key};
use crate::outcome::LoadOutcome;

const VALUE: u64 = 7;

struct Fixture {
    flights: Arc<Flights>,
    fences: Fences,
    function: FunctionFence,
    queue: Queue,
    /// The value, or zero.
    memory: AtomicU64,
    /// Bodies that run now.
    running: AtomicU64,
    /// Bodies that have begun.
    begun: AtomicU64,
    /// Bodies that have returned.
    returned: AtomicU64,
}

impl LoadOwner for Fixture {
    fn accept(&self, load: Work, _caller: Caller) -> bool {
        self.queue.add(load).is_ok()
    }
}

/// A body that runs. At no time do two of them.
struct Body(Arc<Fixture>);

impl Body {
    fn begin(fixture: &Arc<Fixture>) -> Self {
        fixture.begun.fetch_add(1, Ordering::SeqCst);
        let others = fixture.running.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two bodies run at the same time");
        Self(Arc::clone(fixture))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn key() -> Key {
    Arguments::encode(crate::key::Tuple(&()), 0)
        .expect("a key")
        .key(FunctionId(0))
        .to_owned()
}

/// Is ready at the second poll.
async fn pause() {
    let mut has_paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs the body, keeps the value, and answers the waiters.
async fn load(fixture: Arc<Fixture>, leader: Leader) -> u64 {
    // The body ends before the lead passes on, as in a call.
    let body = Body::begin(&fixture);
    pause().await;
    drop(body);
    fixture.returned.fetch_add(1, Ordering::SeqCst);
    fixture.memory.store(VALUE, Ordering::SeqCst);
    leader.complete(LoadOutcome::Value(Arc::new(VALUE)));
    VALUE
}

impl Fixture {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(),
            fences: Fences::new(),
            function: FunctionFence::at(0),
            queue: Queue::default(),
            memory: AtomicU64::new(0),
            running: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        })
    }

    fn join(&self) -> Join {
        let may_join = |start, _| self.fences.is_current(start, 0, &self.function);
        self.flights
            .join(&key(), &self.fences, Moment::ZERO, may_join)
    }

    fn wait(&self) -> Waiter {
        match self.join() {
            Join::Wait(waiter) => waiter,
            Join::Lead(_) => panic!("there is a flight"),
        }
    }

    /// A load whose body has begun and not yet returned.
    fn under_way(self: &Arc<Self>) -> LateLoad {
        let Join::Lead(leader) = self.join() else {
            panic!("there is no flight")
        };
        let view = leader.view();
        let fixture = Arc::clone(self);
        let load: Work = Box::pin(async move {
            load(fixture, leader).await;
        });
        let owner: Arc<dyn LoadOwner> = Arc::<Self>::clone(self);
        let mut late = LateLoad::new(load, Some(view), Detached::default(), owner);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut late).poll(&mut context).is_pending());
        late
    }

    /// Runs the loads that were handed over, until the queue is closed.
    fn run_queue(&self) {
        block_on(async {
            while let Some(work) = self.queue.next().await {
                work.await;
            }
        });
    }

    /// Begins a thread that runs the loads that were handed over.
    fn runner(self: &Arc<Self>) -> JoinHandle<()> {
        let fixture = Arc::clone(self);
        thread::spawn(move || fixture.run_queue())
    }

    fn arrive(self: &Arc<Self>, outcome: WaitOutcome) -> u64 {
        match outcome {
            WaitOutcome::Completed(LoadOutcome::Value(held)) => {
                *held.downcast_ref().expect("a number")
            }
            WaitOutcome::Lead(leader) => block_on(load(Arc::clone(self), leader)),
            WaitOutcome::Completed(_) | WaitOutcome::Failed => panic!("no load failed"),
        }
    }

    fn call(self: &Arc<Self>) -> u64 {
        match self.join() {
            Join::Wait(waiter) => self.arrive(block_on(waiter)),
            Join::Lead(leader) => match self.memory.load(Ordering::SeqCst) {
                0 => block_on(load(Arc::clone(self), leader)),
                value => {
                    leader.complete(LoadOutcome::Value(Arc::new(value)));
                    value
                }
            },
        }
    }

    /// Checks the state after all threads have ended.
    #[track_caller]
    fn check(&self, begun: u64, returned: u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        assert_eq!(self.flights.len(), 0, "a flight is left in the table");
        assert_eq!(count(&self.running), 0, "a body still runs");
        assert_eq!(
            (count(&self.begun), count(&self.returned)),
            (begun, returned)
        );
    }
}

/// One thread drops the leader and then runs loads, as a runtime with one thread does. A third
/// thread would take loom a minute.
#[test]
fn waiter_of_a_dropped_leader_gets_the_value_of_the_load_that_continues() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let waiter = fixture.wait();
        let runner = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || {
                drop(late);
                fixture.run_queue();
            }
        });
        assert_eq!(fixture.arrive(block_on(waiter)), VALUE);
        fixture.queue.close();
        runner.join().expect("the runner");
        fixture.check(1, 1);
    });
}

/// The caller joins before the leader decides, and the load continues, or after it, and takes the
/// lead or begins a flight of its own.
#[test]
fn caller_that_joins_while_the_leader_is_dropped_gets_the_value_of_one_body() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let caller = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.call()
        });
        let runner = fixture.runner();
        drop(late);
        assert_eq!(caller.join().expect("the caller"), VALUE);
        fixture.queue.close();
        runner.join().expect("the runner");
        // If the load was dropped, its body did not return.
        let begun = fixture.begun.load(Ordering::SeqCst);
        assert!(begun == 1 || begun == 2, "{begun} bodies have begun");
        fixture.check(begun, 1);
    });
}

/// The last waiter leaves before the leader decides, and the load is dropped, or after it, and the
/// load continues for later callers.
#[test]
fn no_flight_is_left_when_the_last_waiter_leaves_while_the_leader_is_dropped() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let waiter = fixture.wait();
        let leaver = thread::spawn(move || drop(waiter));
        drop(late);
        // The owner ends, and drops the load, before or after the waiter leaves.
        fixture.queue.close();
        leaver.join().expect("the leaver");
        fixture.check(1, 0);
    });
}

#[test]
fn caller_that_comes_while_the_leader_times_out_begins_no_second_body() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let runner = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || {
                assert!(late.detach(), "the queue is open");
                fixture.run_queue();
            }
        });
        assert_eq!(fixture.call(), VALUE);
        // A caller that begins a flight after the load has ended finds its value.
        assert_eq!(fixture.call(), VALUE);
        fixture.queue.close();
        runner.join().expect("the runner");
        fixture.check(1, 1);
    });
}

/// The owner refuses the load, or drops it while it is queued.
#[test]
fn no_waiter_hangs_when_the_owner_ends_while_it_gets_the_load() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let waiter = fixture.wait();
        let closer = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.queue.close()
        });
        drop(late);
        assert_eq!(fixture.arrive(block_on(waiter)), VALUE);
        closer.join().expect("the closer");
        fixture.check(2, 1);
    });
}

/// The runner may take the load just before the owner ends, and then completes it. Schedules with
/// at most three preemptions are searched: all of them take a minute.
#[test]
fn no_waiter_hangs_when_the_owner_ends_while_it_runs_loads() {
    let mut search = loom::model::Builder::new();
    search.preemption_bound = Some(3);
    search.check(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let waiter = fixture.wait();
        let runner = fixture.runner();
        let waiter = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || fixture.arrive(block_on(waiter))
        });
        assert!(late.detach(), "the queue is open");
        fixture.queue.close();
        assert_eq!(waiter.join().expect("the waiter"), VALUE);
        runner.join().expect("the runner");
        let begun = fixture.begun.load(Ordering::SeqCst);
        fixture.check(begun, 1);
    });
}

/// The load continues for the waiter that stays, whichever of the two the leader sees.
#[test]
fn waiter_that_stays_gets_the_value_when_another_leaves_while_the_leader_is_dropped() {
    loom::model(|| {
        let fixture = Fixture::new();
        let late = fixture.under_way();
        let (leaving, staying) = (fixture.wait(), fixture.wait());
        // One thread leaves and then runs loads: a thread for each would take loom minutes.
        let runner = thread::spawn({
            let fixture = Arc::clone(&fixture);
            move || {
                drop(leaving);
                fixture.run_queue();
            }
        });
        drop(late);
        assert_eq!(fixture.arrive(block_on(staying)), VALUE);
        fixture.queue.close();
        runner.join().expect("the runner");
        fixture.check(1, 1);
    });
}
