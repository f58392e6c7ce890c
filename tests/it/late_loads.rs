//! Loads that may continue in the background: who owns them, what they see, and when they end.

mod context;
mod forms;
mod leaders;
mod nested;
mod owner;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::{BackgroundLoads, CacheRuntime, FunctionStats};
use testbed::counts::function_stats;
use testbed::{Gate, Instance, poll_until, until};
use tokio::task::yield_now;

/// A body that the test holds, and which shows whether anything of it is left.
#[derive(Debug)]
struct Body {
    gate: Gate,
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
    fn held() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            alive: AtomicU64::new(0),
        })
    }

    fn open() -> Arc<Self> {
        let body = Self::held();
        body.gate.open();
        body
    }

    /// Runs the body, which has an await point before and after the gate. Returns its number.
    async fn run(&self) -> u64 {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let _alive = Alive(&self.alive);
        yield_now().await;
        let number = self.gate.pass().await;
        yield_now().await;
        number
    }

    /// The number of bodies that have begun to pass.
    fn began(&self) -> u64 {
        self.gate.entered()
    }

    /// The number of bodies of which something is left.
    fn alive(&self) -> u64 {
        self.alive.load(Ordering::SeqCst)
    }

    async fn until_began(&self, number: u64) {
        self.gate.until_entered(number).await;
    }
}

/// A late function without an error: it has a window, which these tests do not reach.
macro_rules! late_function {
    ($name:ident) => {
        #[multi_tier_cached::multi_tier_cached(
            ttl = "1h",
            stale_while_revalidate = "1h",
            skip(body)
        )]
        async fn $name(body: &std::sync::Arc<super::Body>, _key: u64) -> u64 {
            body.run().await
        }
    };
}
use late_function;

fn stats(runtime: &CacheRuntime, function: &str) -> FunctionStats {
    function_stats(runtime, function).expect("the function was called")
}

fn waits(runtime: &CacheRuntime, function: &str) -> u64 {
    function_stats(runtime, function).map_or(0, |stats| stats.waits)
}

/// Waits until no load runs, and none waits for a place.
async fn until_idle(here: &Instance) {
    until("no load is left", || {
        let BackgroundLoads {
            running, waiting, ..
        } = here.background_loads();
        here.loads_under_way() + running + waiting == 0
    })
    .await;
}

/// Leaves a load to the background: its caller is dropped while another waits, and then that one.
/// `call` makes one call of the key.
async fn leave<F: Future>(call: impl Fn() -> F) {
    let mut leader = Box::pin(call());
    // The await point in the body of a function in memory alone.
    assert!(poll_until(&mut leader, 1).await.is_pending());
    let mut waiter = Box::pin(call());
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    drop(leader);
    drop(waiter);
}
