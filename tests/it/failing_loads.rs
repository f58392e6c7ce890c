//! A load that fails delays a caller by at most one load of another caller.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::multi_tier_cached;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use testbed::log::Log;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_loads, assert_reads, until};

/// Time that a body takes before it fails.
const LOAD: Duration = Duration::from_millis(100);

/// Longest time of a call: another caller's load, its own, and what a loaded machine may add.
const LONGEST: Duration = Duration::from_millis(2 * 100 + 50);

/// Further time for tests that do not pause the clock: round trips to a server on a busy machine.
const SLACK: Duration = Duration::from_millis(250);

/// `io::Error` is neither `Clone` nor made of a `SharedError`, as most errors of databases.
#[multi_tier_cached(ttl = "1h")]
async fn fails() -> io::Result<u64> {
    sleep(LOAD).await;
    Err(database_is_down())
}

fn database_is_down() -> io::Error {
    io::Error::other("the database is down")
}

/// Returns how long a call took that fails.
async fn time_of(call: impl Future<Output = io::Result<u64>>) -> Duration {
    let began = Instant::now();
    call.await.expect_err("the body fails");
    began.elapsed()
}

/// Asserts that none of these calls took longer than `limit`.
async fn assert_fast(calls: Vec<JoinHandle<Duration>>, limit: Duration) {
    for call in calls {
        let took = call.await.unwrap();
        assert!(took <= limit, "a call took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_failed_load_continue_at_the_same_time() {
    let here = Instance::with_memory().await;
    let calls = (0..1_000).map(|_| here.spawn(time_of(fails()))).collect();
    assert_fast(calls, LONGEST).await;
    assert_loads(&here, "fails", 1_000).await;
}

#[tokio::test(start_paused = true)]
async fn steady_calls_of_a_failing_body_build_no_queue() {
    let here = Instance::with_memory().await;
    let mut calls = Vec::new();
    for _ in 0..30 * 100 {
        calls.push(here.spawn(time_of(fails())));
        sleep(Duration::from_millis(10)).await;
    }
    assert_fast(calls, LONGEST).await;
}

#[tokio::test(start_paused = true)]
async fn later_callers_join_the_load_that_follows_a_failed_one() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn fails_once(truth: &Truth) -> io::Result<u64> {
        truth.read();
        let load = truth.reads();
        sleep(LOAD).await;
        match load {
            1 => Err(database_is_down()),
            _ => Ok(load),
        }
    }

    let (here, truth) = (Instance::with_memory().await, Arc::new(Truth::new()));
    let call = || {
        let truth = Arc::clone(&truth);
        here.spawn(async move { fails_once(&truth).await.ok() })
    };
    let (leader, waiter) = (call(), call());
    assert_eq!(leader.await.unwrap(), None);
    sleep(LOAD / 2).await;
    let later = [call(), call()];
    assert_eq!(waiter.await.unwrap(), Some(2));
    for call in later {
        assert_eq!(call.await.unwrap(), Some(2));
    }
    assert_eq!(call().await.unwrap(), Some(2), "the value is kept");
    assert_reads(&truth, 2, &[&here]).await;
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_load_that_panics_continue_at_the_same_time() {
    #[multi_tier_cached(ttl = "1h")]
    async fn panics() -> u64 {
        sleep(LOAD).await;
        panic!("a body that panics, as the test wants")
    }

    let here = Instance::with_memory().await;
    let began = Instant::now();
    let calls: Vec<_> = (0..20).map(|_| here.spawn(panics())).collect();
    for call in calls {
        assert!(call.await.unwrap_err().is_panic());
    }
    assert!(began.elapsed() <= LONGEST, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_load_delays_other_instances_by_one_load() {
    let server = Server::start();
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(Instance::with_redis_at(&server.url()).await);
    }
    let calls = instances.iter().cycle().take(100);
    let calls = calls.map(|here| here.spawn(time_of(fails()))).collect();
    assert_fast(calls, LONGEST + SLACK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_a_flight_that_waits_for_another_instance_wait_for_one_failed_load() {
    const LONG: Duration = Duration::from_millis(600);

    #[multi_tier_cached(ttl = "1h")]
    async fn fails_slowly() -> io::Result<u64> {
        sleep(LONG).await;
        Err(database_is_down())
    }

    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    let mut calls = vec![here.spawn(time_of(fails_slowly()))];
    until("the first instance loads", || server.has_lease()).await;
    calls.extend((0..20).map(|_| there.spawn(time_of(fails_slowly()))));
    assert_fast(calls, LONG * 5 / 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_is_loaded_after_a_failed_load_is_stored_in_redis() {
    #[multi_tier_cached(ttl = "1h", skip(truth))]
    async fn fails_once(truth: &Truth, _key: u64) -> io::Result<u64> {
        truth.read();
        let load = truth.reads();
        sleep(Duration::from_millis(20)).await;
        match load {
            1 => Err(database_is_down()),
            _ => Ok(load),
        }
    }

    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    for key in 0..10 {
        let truth = Arc::new(Truth::new());
        let call = || {
            let truth = Arc::clone(&truth);
            here.spawn(async move { fails_once(&truth, key).await.is_ok() })
        };
        let (first, second) = (call(), call());
        let results = (first.await.unwrap(), second.await.unwrap());
        assert!(results.0 != results.1, "one of them fails: {results:?}");
    }
    server.until_records(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_calls_of_a_failing_key_do_not_queue() {
    #[multi_tier_cached(ttl = "1h", consistency = "strong")]
    async fn fails_strongly() -> io::Result<u64> {
        sleep(LOAD).await;
        Err(database_is_down())
    }

    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let calls = (0..50).map(|_| here.spawn(time_of(fails_strongly())));
    // A queue would take five seconds.
    assert_fast(calls.collect(), LONGEST + 4 * SLACK).await;
}

#[tokio::test(start_paused = true)]
async fn error_type_that_cannot_be_shared_is_logged_once() {
    let log = Log::default();
    let _captured = log.capture();
    let here = Instance::with_memory().await;
    for _ in 0..3 {
        let _ = here
            .call(async { tokio::join!(fails(), fails(), fails()) })
            .await;
    }
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
async fn error_type_that_can_be_cloned_makes_one_load_and_is_not_logged() {
    #[multi_tier_cached(ttl = "1h")]
    async fn fails_for_all() -> Result<u64, Shared> {
        sleep(LOAD).await;
        Err(Shared(Arc::new(database_is_down())))
    }

    let log = Log::default();
    let _captured = log.capture();
    let here = Instance::with_memory().await;
    let calls = async { tokio::join!(fails_for_all(), fails_for_all(), fails_for_all()) };
    let results = here.call(calls).await;
    assert!(results.0.is_err() && results.1.is_err() && results.2.is_err());
    assert_loads(&here, "fails_for_all", 1).await;
    assert_eq!(log.lines_with("cannot be shared"), [""; 0]);
}
