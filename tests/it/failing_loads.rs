//! A load that fails delays a caller by one load of another caller at most.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, multi_tier_cached};
use tokio::time::{Instant, sleep};

use testbed::log::Log;
use testbed::server::Server;
use testbed::{memory_alone, two_tiers};

/// How long a body takes before it fails.
const LOAD: Duration = Duration::from_millis(100);

/// The promise: another caller's load, the call's own, and what a loaded machine adds.
const LONGEST: Duration = Duration::from_millis(2 * 100 + 50);

/// `io::Error` is neither `Clone` nor made of a `SharedError`, as most errors of databases.
#[multi_tier_cached(ttl = "1h")]
async fn fails(_key: &str) -> io::Result<u64> {
    sleep(LOAD).await;
    Err(io::Error::other("the database is down"))
}

/// Calls `key` and returns how long that took.
async fn failing_call(key: &'static str) -> Duration {
    let began = Instant::now();
    fails(key).await.expect_err("the body fails");
    began.elapsed()
}

fn in_runtime(
    runtime: &CacheRuntime,
    call: impl Future<Output = Duration> + Send + 'static,
) -> tokio::task::JoinHandle<Duration> {
    tokio::spawn(CacheRuntime::scope(runtime.clone(), call))
}

async fn slowest(calls: Vec<tokio::task::JoinHandle<Duration>>) -> Duration {
    let mut slowest = Duration::ZERO;
    for call in calls {
        slowest = slowest.max(call.await.unwrap());
    }
    slowest
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_failed_load_go_on_together() {
    let runtime = memory_alone().await;
    let calls = (0..1_000)
        .map(|_| in_runtime(&runtime, failing_call("at once")))
        .collect();
    let slowest = slowest(calls).await;
    assert!(slowest <= LONGEST, "a call took {slowest:?}");
    assert_eq!(runtime.stats().functions[0].loads, 1_000);
}

#[tokio::test(start_paused = true)]
async fn no_queue_grows_behind_a_body_that_fails() {
    let runtime = memory_alone().await;
    let mut calls = Vec::new();
    for _ in 0..30 * 100 {
        calls.push(in_runtime(&runtime, failing_call("steadily")));
        sleep(Duration::from_millis(10)).await;
    }
    let slowest = slowest(calls).await;
    assert!(slowest <= LONGEST, "a call took {slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn later_callers_join_the_load_that_follows_a_failed_one() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn fails_once() -> io::Result<u64> {
        let load = LOADS.fetch_add(1, Ordering::SeqCst);
        sleep(LOAD).await;
        match load {
            0 => Err(io::Error::other("the database is down")),
            _ => Ok(load),
        }
    }

    let runtime = memory_alone().await;
    let call = || {
        tokio::spawn(CacheRuntime::scope(runtime.clone(), async {
            fails_once().await.ok()
        }))
    };
    let (leader, waiter) = (call(), call());
    assert_eq!(leader.await.unwrap(), None);
    sleep(LOAD / 2).await;
    let later = [call(), call()];
    assert_eq!(waiter.await.unwrap(), Some(1));
    for call in later {
        assert_eq!(call.await.unwrap(), Some(1));
    }
    assert_eq!(call().await.unwrap(), Some(1), "the value is kept");
    assert_eq!(LOADS.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_load_that_panics_go_on_together() {
    #[multi_tier_cached(ttl = "1h")]
    async fn panics() -> u64 {
        sleep(LOAD).await;
        panic!("a body that panics, as the test wants")
    }

    let runtime = memory_alone().await;
    let began = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(CacheRuntime::scope(runtime.clone(), async {
                panics().await
            }))
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap_err().is_panic());
    }
    assert!(began.elapsed() <= LONGEST, "{:?}", began.elapsed());
}

/// The time is real here, so the slack is larger: two servers' worth of round trips on a machine that is busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_fails_on_one_instance_delays_the_others_by_one_load() {
    let server = Server::start();
    let instances = [(); 4];
    let mut runtimes = Vec::new();
    for () in instances {
        runtimes.push(two_tiers(&server.url()).await);
    }
    let calls = (0..100)
        .map(|call| {
            in_runtime(
                &runtimes[call % runtimes.len()],
                failing_call("in a cluster"),
            )
        })
        .collect();
    let slowest = slowest(calls).await;
    assert!(
        slowest <= LONGEST + Duration::from_millis(250),
        "a call took {slowest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_behind_a_flight_that_waits_for_another_instance_wait_for_one_failed_load() {
    const LONG: Duration = Duration::from_millis(600);

    #[multi_tier_cached(ttl = "1h")]
    async fn fails_slowly() -> io::Result<u64> {
        sleep(LONG).await;
        Err(io::Error::other("the database is down"))
    }

    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    let call = |runtime: &CacheRuntime| {
        in_runtime(runtime, async {
            let began = Instant::now();
            fails_slowly().await.expect_err("the body fails");
            began.elapsed()
        })
    };
    let mut calls = vec![call(&here)];
    testbed::until("the first instance loads", || {
        server.keys().iter().any(|key| key.ends_with("#lease"))
    })
    .await;
    calls.extend((0..20).map(|_| call(&there)));
    let slowest = slowest(calls).await;
    assert!(slowest < LONG * 5 / 2, "a call took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_loaded_after_a_failed_load_is_stored_in_redis() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn every_other_fails(key: u64) -> io::Result<u64> {
        let load = LOADS.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
        match load % 2 {
            0 => Err(io::Error::other("the database is down")),
            _ => Ok(key),
        }
    }

    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    for key in 0..10 {
        LOADS.store(0, Ordering::SeqCst);
        let call = || {
            let call = async move { every_other_fails(key).await.is_ok() };
            tokio::spawn(CacheRuntime::scope(runtime.clone(), call))
        };
        let (first, second) = (call(), call());
        assert!(
            first.await.unwrap() != second.await.unwrap(),
            "one of them fails"
        );
    }
    testbed::until("all are stored", || server.records().len() == 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_calls_of_a_failing_key_do_not_queue() {
    #[multi_tier_cached(ttl = "1h", consistency = "strong")]
    async fn fails_strongly() -> io::Result<u64> {
        sleep(LOAD).await;
        Err(io::Error::other("the database is down"))
    }

    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    let calls = (0..50)
        .map(|_| {
            in_runtime(&runtime, async {
                let began = Instant::now();
                fails_strongly().await.expect_err("the body fails");
                began.elapsed()
            })
        })
        .collect();
    let slowest = slowest(calls).await;
    assert!(
        slowest <= LONGEST + Duration::from_millis(250),
        "a call took {slowest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_says_once_that_errors_cannot_be_shared() {
    let log = Log::default();
    let _captured = log.capture();
    let runtime = memory_alone().await;
    CacheRuntime::scope(runtime, async {
        for _ in 0..3 {
            let _ = tokio::join!(fails("logged"), fails("logged"), fails("logged"));
        }
    })
    .await;
    let lines = log.lines_with("cannot be shared");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("share_error") && lines[0].contains("fails"),
        "{lines:?}"
    );
}

#[derive(Clone, Debug)]
struct Shared(#[expect(dead_code, reason = "shown by `Debug`")] Arc<io::Error>);

#[tokio::test(start_paused = true)]
async fn errors_that_can_be_cloned_make_one_load_and_no_note_in_the_log() {
    #[multi_tier_cached(ttl = "1h")]
    async fn fails_for_all() -> Result<u64, Shared> {
        sleep(LOAD).await;
        Err(Shared(Arc::new(io::Error::other("the database is down"))))
    }

    let log = Log::default();
    let _captured = log.capture();
    let runtime = memory_alone().await;
    CacheRuntime::scope(runtime.clone(), async {
        let results = tokio::join!(fails_for_all(), fails_for_all(), fails_for_all());
        assert!(results.0.is_err() && results.1.is_err() && results.2.is_err());
    })
    .await;
    assert_eq!(runtime.stats().functions[0].loads, 1);
    assert!(log.lines_with("cannot be shared").is_empty());
}
