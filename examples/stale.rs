//! A database dies and comes back: what callers get with stale values and timeouts, and without.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Error, LoadTimeout, Memory, multi_tier_cached};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

static IS_DOWN: AtomicBool = AtomicBool::new(false);

/// The error of a query. With `hard_timeout` it must be made from a [`LoadTimeout`].
#[derive(Clone, Debug)]
struct QueryFailed;

impl From<LoadTimeout> for QueryFailed {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// Answers in 50 ms with the time. While the database is down, a query fails after 500 ms.
async fn query(queries: &AtomicU64) -> Result<Instant, QueryFailed> {
    queries.fetch_add(1, SeqCst);
    if IS_DOWN.load(SeqCst) {
        sleep(Duration::from_millis(500)).await;
        return Err(QueryFailed);
    }
    sleep(Duration::from_millis(50)).await;
    Ok(Instant::now())
}

static PLAIN: AtomicU64 = AtomicU64::new(0);
static PROTECTED: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "200ms", tiers = "l1")]
async fn plain(_id: u64) -> Result<Instant, QueryFailed> {
    query(&PLAIN).await
}

/// For one second after its ttl, a value answers calls at once while a load in the background
/// replaces it. For an hour, it answers the calls whose load fails or takes more than 100 ms.
#[multi_tier_cached(
    ttl = "200ms",
    tiers = "l1",
    stale_while_revalidate = "1s",
    stale_if_error = "1h",
    hard_timeout = "100ms"
)]
async fn protected(_id: u64) -> Result<Instant, QueryFailed> {
    query(&PROTECTED).await
}

/// Answers to the callers of a phase: how long each waited, and the age of its value.
struct Answers {
    waits: Vec<Duration>,
    ages: Vec<Duration>,
    queries: u64,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let wait = |percent| millis(self.waits[(self.waits.len() - 1) * percent / 100]);
        let (calls, p50, p99) = (self.waits.len(), wait(50), wait(99));
        let oldest = millis(self.ages.iter().max().copied().unwrap_or_default());
        write!(f, "{calls:>6} {:>7} {p50:>7.1} ms", calls - self.ages.len())?;
        write!(f, "{p99:>8.1} ms {oldest:>9.0} ms {:>8}", self.queries)
    }
}

/// Twenty callers call a function every 5 ms, until the phase ends.
async fn phase<F>(time: Duration, function: fn(u64) -> F, queries: &AtomicU64) -> Answers
where
    F: Future<Output = Result<Instant, QueryFailed>> + Send + 'static,
{
    let (before, end) = (queries.load(SeqCst), Instant::now() + time);
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        callers.spawn(async move {
            let mut answers = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                let loaded = function(7).await.ok();
                answers.push((began.elapsed(), loaded.map(|loaded| loaded.elapsed())));
                sleep(Duration::from_millis(5)).await;
            }
            answers
        });
    }
    let mut answers = callers.join_all().await.concat();
    answers.sort_unstable();
    Answers {
        waits: answers.iter().map(|(wait, _)| *wait).collect(),
        ages: answers.iter().filter_map(|(_, age)| *age).collect(),
        queries: queries.load(SeqCst) - before,
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let memory = Memory::builder();
    let runtime = CacheRuntime::builder().l1(memory).install().await?;
    println!("database, function    calls  failed        p50        p99 oldest value  queries");
    for (database, seconds) in [("healthy", 1), ("down", 3), ("back", 3)] {
        IS_DOWN.store(database == "down", SeqCst);
        let time = Duration::from_secs(seconds);
        let without = phase(time, plain, &PLAIN);
        let (without, with) = tokio::join!(without, phase(time, protected, &PROTECTED));
        println!("{database:>8}, plain     {without}\n{database:>8}, protected {with}");
        assert_eq!(with.ages.len(), with.waits.len(), "no call fails");
        assert_eq!(without.ages.len() < without.waits.len(), database == "down");
    }
    let loaded = protected(7).await.expect("no call fails");
    assert!(loaded.elapsed() < Duration::from_secs(2), "it is old");
    runtime.shutdown().await
}
