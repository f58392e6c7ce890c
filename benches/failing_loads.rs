//! Callers of one key whose load fails: our crate beside `cached` and moka, in one process.
//!
//! `cargo bench -p benches --bench failing_loads` prints the table of `docs/errors.md`. The body
//! takes 100 ms and fails with `std::io::Error`, which cannot be cloned. The clock is tokio's
//! paused clock, which does not advance while a task can run. So the durations are those of the
//! waits alone, and each run of the program prints the same.
//!
//! The program fails if a call of ours takes longer than another caller's load, its own load, and
//! 50 ms.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cached::macros::cached;
use multi_tier_cached::{CacheRuntime, Memory, multi_tier_cached};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

const LOAD: Duration = Duration::from_millis(100);

/// Longest allowed call: two loads, and some time for a busy machine.
const LONGEST: Duration = Duration::from_millis(2 * 100 + 50);

static BODIES: AtomicU64 = AtomicU64::new(0);

async fn body() -> io::Result<u64> {
    BODIES.fetch_add(1, Ordering::Relaxed);
    sleep(LOAD).await;
    Err(io::Error::other("the database is down"))
}

fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn unshared(_key: u64) -> io::Result<u64> {
    body().await
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", share_error = again)]
async fn shared(_key: u64) -> io::Result<u64> {
    body().await
}

// The macro recognizes a `Result` by this literal name only.
#[cached(max_size = 1_000, ttl_secs = 3600, sync_writes = "by_key")]
async fn cached_by_key(_key: u64) -> Result<u64, io::Error> {
    body().await
}

/// A call that returns an error.
type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Contender {
    name: &'static str,
    is_ours: bool,
    call: Box<dyn Fn(u64) -> Call>,
}

fn contender<T: 'static, E: 'static, F>(
    name: &'static str,
    is_ours: bool,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Contender
where
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let call = move |key| -> Call {
        let call = call(key);
        Box::pin(async move { assert!(call.await.is_err(), "the body fails") })
    };
    Contender {
        name,
        is_ours,
        call: Box::new(call),
    }
}

fn contenders() -> Vec<Contender> {
    let moka = moka::future::Cache::<u64, u64>::new(1_000);
    let moka_by_hand = moka::future::Cache::<u64, u64>::new(1_000);
    vec![
        contender("ours, the error is not shared", true, unshared),
        contender("ours, `share_error`", true, shared),
        contender("moka, `try_get_with`", false, move |key| {
            let moka = moka.clone();
            async move { moka.try_get_with(key, body()).await }
        }),
        contender("moka, `get` and `insert`", false, move |key| {
            let moka = moka_by_hand.clone();
            async move {
                if let Some(value) = moka.get(&key).await {
                    return Ok(value);
                }
                let value = body().await?;
                moka.insert(key, value).await;
                io::Result::Ok(value)
            }
        }),
        contender("`cached`, `sync_writes = \"by_key\"`", false, cached_by_key),
    ]
}

/// Makes `calls` calls of a key, one each `every`, and returns how long each took.
async fn measure(contender: &Contender, key: u64, calls: u32, every: Duration) -> Vec<Duration> {
    BODIES.store(0, Ordering::Relaxed);
    let start = Instant::now();
    let calls: Vec<JoinHandle<Duration>> = (0..calls)
        .map(|at| {
            let call = (contender.call)(key);
            tokio::spawn(async move {
                let due = start + every * at;
                sleep_until(due).await;
                call.await;
                due.elapsed()
            })
        })
        .collect();
    let mut times = Vec::new();
    for call in calls {
        times.push(call.await.expect("a call"));
    }
    times.sort_unstable();
    times
}

async fn print_table(title: &str, contenders: &[Contender], key: u64, calls: u32, every: Duration) {
    println!("\n| {title} | slowest call | p99 | bodies run |\n| --- | --- | --- | --- |");
    for contender in contenders {
        let times = measure(contender, key, calls, every).await;
        let slowest = times[times.len() - 1];
        let p99 = times[times.len() * 99 / 100 - 1];
        println!(
            "| {} | {:.2} s | {:.2} s | {} |",
            contender.name,
            slowest.as_secs_f64(),
            p99.as_secs_f64(),
            BODIES.load(Ordering::Relaxed)
        );
        assert!(
            !contender.is_ours || slowest <= LONGEST,
            "a call took {slowest:?}, longer than {LONGEST:?}"
        );
    }
}

fn main() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a tokio runtime");
    tokio.block_on(async {
        let runtime = CacheRuntime::builder().l1(Memory::builder()).install();
        runtime.await.expect("a runtime");
        let contenders = contenders();
        print_table("1,000 calls at once", &contenders, 1, 1_000, Duration::ZERO).await;
        let every = Duration::from_millis(10);
        print_table("100 calls a second for 30 s", &contenders, 2, 3_000, every).await;
    });
}
