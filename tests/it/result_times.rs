//! Times from the result: how long a value, its absence or an error is kept, and what the body
//! decides about that.

mod absence;
mod copies;
mod decisions;
mod errors;
mod jitter;
mod replaced_values;
mod strong_absence;
mod ttl_of_values;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, FunctionStats, ManualClock, Memory, Redis, TierConfig};
use testbed::Instance;
use testbed::counts::function_stats;
use testbed::server::Server;

const MOMENT: Duration = Duration::from_millis(1);
/// Longer than a machine that is busy lets an instance wait for its channel.
const STALENESS_BOUND: Duration = Duration::from_secs(60);

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A source whose answer the test sets, which counts how often it is asked.
#[derive(Debug)]
struct Source<R> {
    answer: Mutex<R>,
    asked: AtomicU64,
}

impl<R: Clone> Source<R> {
    const fn new(answer: R) -> Self {
        Self {
            answer: Mutex::new(answer),
            asked: AtomicU64::new(0),
        }
    }

    fn answers(&self, answer: R) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Returns the answer, as the body of a cached function does.
    fn ask(&self) -> R {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone()
    }

    /// The number of bodies that have asked.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Creates an instance with memory alone, whose time is this clock.
async fn in_memory(clock: &ManualClock) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.clock(clock)).await
}

fn redis(server: &Server) -> Redis {
    let redis = Redis::new(server.url()).required();
    redis
        .time_limit(seconds(10))
        .staleness_bound(STALENESS_BOUND)
}

/// Creates an instance with memory and a Redis that scales times by `scale`. Only the time in
/// memory is this clock.
async fn with_redis(server: &Server, scale: f64, clock: &ManualClock) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let tier = TierConfig::as_l2().ttl_scale(scale);
    let instance = Instance::build(builder.tier(redis(server), tier).clock(clock)).await;
    instance.until_coherent().await;
    instance
}

fn stats(instance: &Instance, function: &str) -> FunctionStats {
    function_stats(instance, function).expect("the function was called")
}

/// Asserts that calls find what is kept for `life` from now on, and not any longer. `asked` returns
/// the number of bodies. The last call runs one.
async fn assert_life(
    what: &str,
    life: Duration,
    clock: &ManualClock,
    asked: impl Fn() -> u64,
    mut call: impl AsyncFnMut(),
) {
    let before = asked();
    call().await;
    assert_eq!(asked(), before, "{what}: it is not kept");
    clock.advance(life - MOMENT);
    call().await;
    assert_eq!(asked(), before, "{what}: kept for less than {life:?}");
    clock.advance(MOMENT);
    call().await;
    assert_eq!(asked(), before + 1, "{what}: kept for more than {life:?}");
}

/// The remaining life of the only record on `server`.
fn life_of_record(server: &Server) -> Duration {
    let records = server.records();
    assert_eq!(records.len(), 1, "{records:?}");
    Duration::from_millis(server.command(&["PTTL", &records[0]]))
}

/// Asserts that the only record on `server` was stored a moment ago with this life.
#[track_caller]
fn assert_life_of_record(server: &Server, expected: Duration) {
    // The rest is for a machine that is busy.
    let least = expected.saturating_sub(seconds(5));
    let found = life_of_record(server);
    assert!(
        least < found && found <= expected,
        "{found:?}, expected {expected:?}"
    );
}
