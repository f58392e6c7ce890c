//! Fixtures of the tests: servers of their own, instances, sources of truth, a network that the
//! test controls, and waits for events.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod ask;
pub mod clocked_tier;
pub mod cluster;
pub mod counts;
pub mod deployment;
pub mod directory;
pub mod fake_ledger;
pub mod fake_store;
pub mod fake_tier;
pub mod instance;
pub mod ledgered;
pub mod log;
pub mod memcached;
pub mod network;
pub mod proxy;
pub mod sentinel;
pub mod server;
pub mod spans;
pub mod truth;
mod watch;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use multi_tier_cached::{CacheRuntime, Memory, Redis};

pub use counts::{assert_count, assert_loads, assert_reads, assert_tier};
pub use instance::Instance;
pub use truth::{Gate, Truth};

/// Creates a runtime with memory only.
pub async fn memory_alone() -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .build()
        .await
        .expect("a runtime")
}

/// Creates a runtime with memory and the Redis at `url`.
pub async fn two_tiers(url: &str) -> CacheRuntime {
    build(Redis::new(url)).await
}

/// Creates a runtime with memory and `redis`.
pub async fn build(redis: Redis) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .build()
        .await
        .expect("a runtime")
}

/// Polls a future once, without a wake-up later.
pub fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut cx)
}

/// Polls a future until it has been pending `n` times, which brings it to its `n`th await point.
pub async fn poll_until<F: Future>(future: &mut Pin<Box<F>>, n: usize) -> Poll<F::Output> {
    let mut left = n;
    std::future::poll_fn(|cx: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(Poll::Pending);
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Poll::Ready(output)),
            Poll::Pending => {
                left -= 1;
                if left == 0 {
                    Poll::Ready(Poll::Pending)
                } else {
                    Poll::Pending
                }
            }
        }
    })
    .await
}

/// Longest wait for an event. Most take milliseconds; the rest is for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `reached` returns `true`, and panics with `what` after thirty seconds.
pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    until_ok(what, async || if reached() { Ok(()) } else { Err("no") }).await;
}

/// Repeats `attempt` until it succeeds, and panics with `what` and the last error after thirty
/// seconds.
pub async fn until_ok<T, E: Display>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut last = None;
    let tries = async {
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => last = Some(error),
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    let result = timeout(PATIENCE, tries).await;
    result.unwrap_or_else(|_| match last {
        Some(error) => panic!("not within {PATIENCE:?}: {what} ({error})"),
        None => panic!("not within {PATIENCE:?}: {what}"),
    })
}

/// Repeats `call` until it returns `expected`, and panics if it does not within `limit`.
pub async fn until_returns<T: PartialEq + Debug>(
    expected: T,
    limit: Duration,
    mut call: impl AsyncFnMut() -> T,
) {
    let began = Instant::now();
    loop {
        let found = call().await;
        if found == expected {
            return;
        }
        let elapsed = began.elapsed();
        assert!(
            elapsed < limit,
            "still {found:?} after {elapsed:?}, expected {expected:?}"
        );
        sleep(Duration::from_millis(1)).await;
    }
}
