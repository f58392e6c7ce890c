mod context;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use super::*;
use crate::background::Background;
use crate::clock::Moment;
use crate::fence::Fences;
use crate::flight::{Flights, Join, Leader, WaitOutcome};
use crate::key::{Arguments, FunctionId, Key};
use crate::outcome::LoadOutcome;

const VALUE: u32 = 7;

/// A table of flights, and an owner of loads.
struct Fixture {
    flights: Arc<Flights>,
    fences: Fences,
    owner: Arc<Owner>,
    bodies: Arc<Bodies>,
}

struct Owner(Background);

impl LoadOwner for Owner {
    fn accept(&self, load: Work, caller: Caller) -> bool {
        self.0.run(caller.continue_in_background("f", load))
    }
}

/// Counters of bodies.
#[derive(Default)]
struct Bodies {
    begun: AtomicUsize,
    returned: AtomicUsize,
    dropped: AtomicUsize,
}

struct Body(Arc<Bodies>);

impl Body {
    fn begin(bodies: &Arc<Bodies>) -> Self {
        bodies.begun.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(bodies))
    }

    fn returned(&self) {
        self.0.returned.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
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

fn poll_once(future: &mut (impl Future + Unpin)) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(future).poll(&mut context).is_ready()
}

impl Fixture {
    fn new() -> Self {
        Self {
            flights: Flights::new(),
            fences: Fences::new(),
            owner: Arc::new(Owner(Background::of_loads(4))),
            bodies: Arc::default(),
        }
    }

    fn join(&self) -> Join {
        self.flights
            .join(&key(), &self.fences, Moment::ZERO, |_, _| true)
    }

    #[track_caller]
    fn lead(&self) -> Leader {
        match self.join() {
            Join::Lead(leader) => leader,
            Join::Wait(_) => panic!("the caller must lead, and waits"),
        }
    }

    #[track_caller]
    fn wait(&self) -> impl Future<Output = WaitOutcome> + use<> {
        match self.join() {
            Join::Wait(waiter) => waiter,
            Join::Lead(_) => panic!("the caller must wait, and leads"),
        }
    }

    /// A load that leads the flight of the key.
    #[track_caller]
    fn late<F>(&self, load: impl FnOnce(Leader) -> F) -> LateLoad
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let leader = self.lead();
        let view = leader.view();
        let owner: Arc<dyn LoadOwner> = Arc::<Owner>::clone(&self.owner);
        LateLoad::new(
            Box::pin(load(leader)),
            Some(view),
            Detached::default(),
            owner,
        )
    }

    /// A load whose body pauses `pauses` times.
    #[track_caller]
    fn pausing(&self, pauses: usize) -> LateLoad {
        let bodies = Arc::clone(&self.bodies);
        self.late(move |leader| async move {
            let body = Body::begin(&bodies);
            for _ in 0..pauses {
                pause().await;
            }
            body.returned();
            drop(body);
            leader.complete(LoadOutcome::Value(Arc::new(VALUE)));
        })
    }

    #[track_caller]
    fn check(&self, begun: usize, returned: usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let bodies = &*self.bodies;
        assert_eq!(self.flights.len(), 0, "a flight is left in the table");
        assert_eq!(
            (count(&bodies.begun), count(&bodies.returned)),
            (begun, returned)
        );
        assert_eq!(count(&bodies.dropped), begun, "a body is left");
    }
}

#[track_caller]
fn value_of(outcome: WaitOutcome) -> u32 {
    match outcome {
        WaitOutcome::Completed(LoadOutcome::Value(held)) => *held.downcast_ref().expect("a number"),
        WaitOutcome::Completed(_) => panic!("the outcome has no value"),
        WaitOutcome::Failed => panic!("the load failed"),
        WaitOutcome::Lead(_) => panic!("the waiter has become the leader"),
    }
}

#[tokio::test]
async fn load_that_ends_while_its_caller_polls_it_leaves_its_result_in_the_slot() {
    let fixture = Fixture::new();
    let slot = ResultSlot::new();
    let late = fixture.late(|leader| {
        let slot = slot.clone();
        async move {
            pause().await;
            leader.complete(LoadOutcome::Absent);
            slot.put(VALUE);
        }
    });
    assert_eq!(slot.take(), None);
    late.await;
    assert_eq!(slot.take(), Some(VALUE));
    assert_eq!(fixture.flights.len(), 0);
}

/// The leader is dropped at each point of its load.
#[tokio::test]
async fn load_of_a_dropped_leader_continues_for_its_waiters_and_runs_one_body() {
    const PAUSES: usize = 4;
    for polls in 0..=PAUSES {
        let fixture = Fixture::new();
        let mut late = fixture.pausing(PAUSES);
        let waiters = [(); 10].map(|()| tokio::spawn(fixture.wait()));
        for _ in 0..polls {
            assert!(!poll_once(&mut late));
        }
        drop(late);
        for waiter in waiters {
            assert_eq!(value_of(waiter.await.unwrap()), VALUE, "{polls} polls");
        }
        fixture.check(1, 1);
    }
}

#[tokio::test]
async fn load_of_a_dropped_leader_without_waiters_is_dropped() {
    const PAUSES: usize = 4;
    for polls in 0..=PAUSES {
        let fixture = Fixture::new();
        let mut late = fixture.pausing(PAUSES);
        for _ in 0..polls {
            assert!(!poll_once(&mut late));
        }
        // A waiter that has left is none.
        drop(fixture.wait());
        drop(late);
        fixture.check(polls.min(1), 0);
        assert_eq!(Arc::strong_count(&fixture.bodies), 1, "the load is left");
    }
}

#[tokio::test]
async fn detached_load_continues_without_waiters_and_answers_later_ones() {
    let fixture = Fixture::new();
    let mut late = fixture.pausing(2);
    assert!(!poll_once(&mut late));
    assert!(late.detach());
    assert_eq!(value_of(fixture.wait().await), VALUE);
    fixture.check(1, 1);
}

/// Otherwise its body would seem to run inside the load that its caller runs.
#[tokio::test]
async fn load_is_marked_as_detached_before_it_runs_in_the_background() {
    let fixture = Fixture::new();
    let detached = Detached::default();
    let (seen, flag) = (ResultSlot::new(), detached.clone());
    let load = {
        let seen = seen.clone();
        Box::pin(async move { seen.put(flag.is_set()) })
    };
    let leader = fixture.lead();
    let owner: Arc<dyn LoadOwner> = Arc::<Owner>::clone(&fixture.owner);
    let late = LateLoad::new(load, Some(leader.view()), detached.clone(), owner);
    assert!(!detached.is_set());
    assert!(late.detach());
    let is_set = loop {
        match seen.take() {
            Some(is_set) => break is_set,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(is_set);
}

#[tokio::test]
async fn waiter_becomes_leader_when_the_owner_refuses_the_load() {
    for is_detached in [false, true] {
        let fixture = Fixture::new();
        fixture.owner.0.end();
        let mut late = fixture.pausing(2);
        let waiter = fixture.wait();
        assert!(!poll_once(&mut late));
        match is_detached {
            true => assert!(!late.detach(), "the owner has ended"),
            false => drop(late),
        }
        assert!(matches!(waiter.await, WaitOutcome::Lead(_)));
        fixture.check(1, 0);
    }
}

#[test]
fn load_is_dropped_outside_of_tokio() {
    let fixture = Fixture::new();
    let mut late = fixture.pausing(2);
    assert!(!poll_once(&mut late));
    assert!(!late.detach(), "there is no Tokio runtime");
    fixture.check(1, 0);
}

#[tokio::test]
async fn waiter_becomes_leader_when_the_owner_ends_with_the_load() {
    let fixture = Fixture::new();
    let late = fixture.late(|leader| async move {
        let _leader = leader;
        std::future::pending::<()>().await;
    });
    let waiter = fixture.wait();
    drop(late);
    tokio::task::yield_now().await;
    fixture.owner.0.end();
    fixture.owner.0.ended().await;
    assert!(matches!(waiter.await, WaitOutcome::Lead(_)));
    assert_eq!(fixture.flights.len(), 0);
}

/// A load that panics once `pauses` have passed.
fn panicking(fixture: &Fixture, pauses: usize) -> LateLoad {
    fixture.late(move |leader| async move {
        let _leader = leader;
        for _ in 0..pauses {
            pause().await;
        }
        panic!("a body that panics, as the test wants");
    })
}

#[tokio::test]
async fn panic_reaches_the_caller_that_polls_the_load_and_fails_its_flight() {
    let fixture = Fixture::new();
    let mut late = panicking(&fixture, 1);
    let waiter = fixture.wait();
    assert!(!poll_once(&mut late));
    let polled = catch_unwind(AssertUnwindSafe(|| poll_once(&mut late)));
    assert!(polled.is_err(), "the panic did not reach the caller");
    assert!(matches!(waiter.await, WaitOutcome::Failed));
    assert!(!late.detach(), "a load that panicked is polled again");
    assert_eq!(fixture.flights.len(), 0);
}

#[tokio::test]
async fn panic_in_the_background_fails_the_flight_and_no_other_load() {
    let fixture = Fixture::new();
    let late = panicking(&fixture, 1);
    let waiter = fixture.wait();
    assert!(late.detach());
    assert!(matches!(waiter.await, WaitOutcome::Failed));
    assert_eq!(fixture.flights.len(), 0);
    assert!(fixture.pausing(1).detach());
    assert_eq!(value_of(fixture.wait().await), VALUE);
}

/// The caller panics outside of the load, which is not at fault.
#[tokio::test]
async fn load_continues_for_its_waiters_when_its_caller_panics() {
    let fixture = Fixture::new();
    let late = fixture.pausing(2);
    let waiter = fixture.wait();
    let caller = AssertUnwindSafe(|| {
        let _late = late;
        panic!("a caller that panics, as the test wants");
    });
    assert!(catch_unwind(caller).is_err());
    assert_eq!(value_of(waiter.await), VALUE);
    fixture.check(1, 1);
}
