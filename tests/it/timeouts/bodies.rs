//! Bodies that take as long as a test says, and calls whose time is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, FunctionStats, LoadTimeout, Memory};
use testbed::Instance;
use testbed::clocked_tier::{ClockedTier, TestClock};
use testbed::counts::function_stats;
use testbed::fake_tier::FakeTier;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How much later than its timeout a call may return.
const SLACK: Duration = Duration::from_millis(50);

/// An error that can say that a load took too long, as `thiserror` makes it of `#[from]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Timeout(LoadTimeout),
    Down,
}

impl From<LoadTimeout> for Failed {
    fn from(timeout: LoadTimeout) -> Self {
        Self::Timeout(timeout)
    }
}

/// A body, which returns its number, counted from 1. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Body(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// How long the next bodies take. `None`: they never end.
    takes: Mutex<Option<Duration>>,
    began: AtomicU64,
    alive: AtomicU64,
}

/// Counts a body until it has ended or was dropped.
struct Alive<'a>(&'a AtomicU64);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Body {
    pub(crate) fn endless() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn taking(time: Duration) -> Self {
        let body = Self::endless();
        body.takes(Some(time));
        body
    }

    /// Changes how long bodies take that begin from now on.
    pub(crate) fn takes(&self, time: Option<Duration>) {
        *self.0.takes.lock().unwrap() = time;
    }

    /// The number of bodies that have begun.
    pub(crate) fn began(&self) -> u64 {
        self.0.began.load(Ordering::SeqCst)
    }

    /// The number of bodies that have begun, and neither ended nor been dropped.
    pub(crate) fn alive(&self) -> u64 {
        self.0.alive.load(Ordering::SeqCst)
    }

    pub(crate) async fn run(self) -> u64 {
        let number = self.0.began.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.alive.fetch_add(1, Ordering::SeqCst);
        let _alive = Alive(&self.0.alive);
        let takes = *self.0.takes.lock().unwrap();
        match takes {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
        number
    }

    /// Fails at the end of a body.
    pub(crate) async fn fail(self) -> Result<u64, Failed> {
        self.run().await;
        Err(Failed::Down)
    }
}

/// Instances with one private tier below memory, which needs no server: nothing waits in real time.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(crate) clock: TestClock,
    pub(crate) fake: FakeTier,
    pub(crate) tier: ClockedTier,
}

impl Tiers {
    pub(crate) fn new() -> Self {
        let (clock, fake) = (TestClock::new(), FakeTier::new());
        let tier = ClockedTier::new(fake.clone(), &clock);
        Self { clock, fake, tier }
    }

    /// Creates an instance with memory and the tier.
    pub(crate) async fn instance(&self) -> Instance {
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(self.tier.clone());
        Instance::build(builder.clock(self.clock.of_runtimes())).await
    }

    /// Creates an instance with memory alone.
    pub(crate) async fn memory(&self) -> Instance {
        let builder = CacheRuntime::builder().l1(Memory::builder());
        Instance::build(builder.clock(self.clock.of_runtimes())).await
    }
}

/// A call with its time.
pub(crate) type Timed<R> = JoinHandle<(R, Duration)>;

/// Begins a call, and measures how long it takes.
pub(crate) fn timed<R, F>(instance: &Instance, call: F) -> Timed<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    instance.spawn(async move {
        let began = Instant::now();
        (call.await, began.elapsed())
    })
}

/// Returns the result of a call and its time. A call that never returns is a failure at once,
/// because the clock of these tests is paused.
pub(crate) async fn returned<R>(call: Timed<R>) -> (R, Duration) {
    let day = Duration::from_secs(86_400);
    let returned = timeout(day, call).await.expect("the call returns");
    returned.expect("no panic")
}

/// Returns the result of a call that takes this long.
pub(crate) async fn result_after<R>(expected: Duration, call: Timed<R>) -> R {
    let (result, took) = returned(call).await;
    assert!(
        expected <= took && took <= expected + SLACK,
        "a call took {took:?}, expected {expected:?}"
    );
    result
}

/// Asserts that a call returns after this time that the load took too long.
pub(crate) async fn assert_timeout(limit: Duration, call: Timed<Result<u64, Failed>>) {
    match result_after(limit, call).await {
        Err(Failed::Timeout(timeout)) => assert_eq!(timeout.after(), limit),
        other => panic!("expected a timeout, found {other:?}"),
    }
}

/// The statistics of a function that was called in an instance.
pub(crate) fn stats(instance: &Instance, function: &str) -> FunctionStats {
    function_stats(instance, function).expect("the function was called")
}
