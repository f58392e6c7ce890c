//! `share_error`: an error that is not `Clone` is rebuilt for each waiter.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, multi_tier_cached};
use testbed::{memory_alone, until};
use tokio::sync::Semaphore;

fn rebuild(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no row 7")
}

/// Number of calls that wait for a load of `function`, or have waited.
fn waits(runtime: &CacheRuntime, function: &str) -> u64 {
    runtime
        .stats()
        .function(function)
        .map_or(0, |function| function.waits)
}

static LOADS: AtomicUsize = AtomicUsize::new(0);
static GATE: Semaphore = Semaphore::const_new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1", name = "share_error::row", share_error = rebuild)]
async fn row(_id: u64) -> Result<u64, io::Error> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    GATE.acquire().await.unwrap().forget();
    Err(not_found())
}

#[tokio::test]
async fn error_that_is_not_clone_reaches_every_waiter_when_it_can_be_rebuilt() {
    let runtime = memory_alone().await;
    let calls: Vec<_> = (0..50)
        .map(|_| tokio::spawn(CacheRuntime::scope(runtime.clone(), row(7))))
        .collect();
    until("49 calls wait", || {
        waits(&runtime, "share_error::row") == 49
    })
    .await;
    // One permit for each call, so that a second load would end as well, and be counted.
    GATE.add_permits(50);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "no row 7");
    }
    assert_eq!(LOADS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn built_function_rebuilds_its_error_for_every_waiter() {
    let runtime = memory_alone().await;
    let rows = Function::<u64>::in_memory("share_error::rows")
        .ttl(Duration::from_secs(60))
        .share_error(rebuild)
        .build()
        .unwrap();
    let (loads, gate) = (AtomicUsize::new(0), Semaphore::new(0));
    let call = async || {
        let load = || async {
            loads.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Err::<u64, _>(not_found())
        };
        CacheRuntime::scope(runtime.clone(), rows.get_or_load((7,), load)).await
    };
    let release = async {
        until("two calls wait", || {
            waits(&runtime, "share_error::rows") == 2
        })
        .await;
        gate.add_permits(3);
    };
    let (first, second, third, ()) = tokio::join!(call(), call(), call(), release);
    for result in [first, second, third] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}
