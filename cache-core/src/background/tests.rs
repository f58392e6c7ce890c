use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use super::queue::CAPACITY;
use super::*;

/// Work that holds a token until it is dropped, and ends when the gate has permits.
struct Gate {
    permits: Semaphore,
    done: AtomicUsize,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(0),
            done: AtomicUsize::new(0),
        })
    }

    fn work(self: &Arc<Self>) -> Work {
        let gate = Arc::clone(self);
        Box::pin(async move {
            let _permit = gate.permits.acquire().await;
            gate.done.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Adds work until some is refused. Returns how much was accepted.
    async fn fill(self: &Arc<Self>, background: &Background) -> usize {
        let mut accepted = 0;
        while background.run(self.work()) {
            accepted += 1;
            tokio::task::yield_now().await;
        }
        accepted
    }
}

#[tokio::test]
async fn work_beyond_the_limits_is_refused_and_no_work_outlives_the_task() {
    let background = Background::of_promotions();
    assert!(
        !background.run(Box::pin(async {})),
        "the task is not started"
    );
    background.start();
    let gate = Gate::new();
    let accepted = gate.fill(&background).await;
    assert_eq!(accepted, CAPACITY + 16);
    gate.permits.add_permits(1);
    while gate.done() < accepted {
        tokio::task::yield_now().await;
    }
    background.end();
    background.ended().await;
    assert_eq!(Arc::strong_count(&gate), 1, "work outlives the task");
    assert!(!background.run(Box::pin(async {})));
}

#[tokio::test]
async fn all_loads_are_dropped_when_the_end_is_awaited() {
    let background = Background::of_loads(64);
    let gate = Gate::new();
    assert_eq!(gate.fill(&background).await, CAPACITY + 64);
    background.end();
    background.ended().await;
    assert_eq!(Arc::strong_count(&gate), 1, "a load outlives the end");
    assert!(
        !background.run(gate.work()),
        "work is accepted after the end"
    );
    background.start();
    assert!(!background.run(gate.work()), "the end is not final");
    background.ended().await;
}

#[tokio::test]
async fn background_that_never_began_ends_at_once() {
    let background = Background::of_loads(64);
    background.end();
    background.ended().await;
    assert!(!background.run(Box::pin(async {})));
}

#[test]
fn loads_begin_in_the_runtime_of_the_caller_and_again_when_it_has_ended() {
    let background = Background::of_loads(1);
    let gate = Gate::new();
    assert!(!background.run(gate.work()), "there is no Tokio runtime");
    let runtime = || Builder::new_current_thread().build().unwrap();
    let first = runtime();
    first.block_on(async {
        for _ in 0..3 {
            assert!(background.run(gate.work()));
        }
        tokio::task::yield_now().await;
    });
    drop(first);
    assert_eq!(
        Arc::strong_count(&gate),
        1,
        "work outlives its Tokio runtime"
    );
    assert!(!background.run(gate.work()), "the Tokio runtime has ended");
    runtime().block_on(async {
        assert!(background.run(gate.work()));
        gate.permits.add_permits(1);
        while gate.done() < 1 {
            tokio::task::yield_now().await;
        }
    });
}

/// Promotions use the connections of the runtime in which the tiers were started.
#[test]
fn promotions_do_not_begin_in_another_runtime() {
    let background = Background::of_promotions();
    let runtime = || Builder::new_current_thread().build().unwrap();
    runtime().block_on(async {
        background.start();
        assert!(background.run(Box::pin(async {})));
    });
    runtime().block_on(async { assert!(!background.run(Box::pin(async {}))) });
}

/// Work that never returns to its runtime cannot be dropped.
#[test]
fn end_is_awaited_for_a_limited_time_if_work_blocks_its_thread() {
    let background = Background::of_loads(1);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (blocks, blocked) = std::sync::mpsc::channel();
    let work = async move {
        blocks.send(()).unwrap();
        let _ = released.recv();
    };
    runtime.block_on(async { assert!(background.run(Box::pin(work))) });
    blocked.recv().unwrap();
    background.end();
    crate::blocking::wait(background.ended());
    drop(release);
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("a destructor that panics, as the test wants");
    }
}

#[tokio::test]
async fn work_that_panics_harms_no_other_work() {
    let background = Background::of_loads(2);
    let gate = Gate::new();
    gate.permits.add_permits(1);
    for _ in 0..8 {
        assert!(background.run(Box::pin(async {
            panic!("work that panics, as the test wants")
        })));
    }
    assert!(background.run(gate.work()));
    while gate.done() < 1 {
        tokio::task::yield_now().await;
    }
    // One that is queued, and one that runs, panic when they are dropped.
    let gate = Gate::new();
    for _ in 0..3 {
        let held = PanicsOnDrop;
        let work = gate.work();
        assert!(background.run(Box::pin(async move {
            let _held = held;
            work.await;
        })));
        assert!(background.run(gate.work()));
    }
    tokio::task::yield_now().await;
    background.end();
    background.ended().await;
    assert_eq!(Arc::strong_count(&gate), 1, "a load outlives the end");
}

/// A lock that is held while work is dropped would be taken twice by this thread.
#[test]
fn work_may_add_work_when_it_runs_and_when_it_is_dropped() {
    struct AddsOnDrop(Arc<Background>);

    impl Drop for AddsOnDrop {
        fn drop(&mut self) {
            self.0.run(Box::pin(async {}));
        }
    }

    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let gate = Gate::new();
        let background = Arc::new(Background::of_loads(1));
        let fill = || {
            for _ in 0..3 {
                let adds = AddsOnDrop(Arc::clone(&background));
                let work = gate.work();
                assert!(background.run(Box::pin(async move {
                    adds.0.run(Box::pin(async {}));
                    work.await;
                    drop(adds);
                })));
            }
        };
        let runtime = || Builder::new_current_thread().build().unwrap();
        // The Tokio runtime ends, and with it the work; then the background does.
        runtime().block_on(async {
            fill();
            tokio::task::yield_now().await;
        });
        runtime().block_on(async {
            fill();
            tokio::task::yield_now().await;
            background.end();
            background.ended().await;
        });
        ended.send(Arc::strong_count(&gate))
    });
    let left = end.recv_timeout(Duration::from_secs(10));
    assert_eq!(left, Ok(1), "a load is left, or a lock is held");
}

#[tokio::test]
async fn numbers_are_those_of_the_work_that_runs_and_that_waits() {
    const PLACES: usize = 2;
    let background = Background::of_loads(PLACES);
    let numbers = |running, waiting| BackgroundLoads {
        running,
        waiting,
        places: PLACES,
    };
    assert_eq!(background.numbers(), numbers(0, 0));
    let gate = Gate::new();
    for _ in 0..5 {
        assert!(background.run(gate.work()));
    }
    while background.numbers() != numbers(2, 3) {
        tokio::task::yield_now().await;
    }
    // Each work returns its permit when it ends, so one is enough for all.
    gate.permits.add_permits(1);
    while background.numbers() != numbers(0, 0) {
        tokio::task::yield_now().await;
    }
}
