//! What tests stand on: servers of their own, a network in their hand, and futures that stop where they are told.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod directory;
pub mod fake_tier;
pub mod log;
pub mod memcached;
pub mod proxy;
pub mod server;
mod watch;

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use multi_tier_cached::{CacheRuntime, Memory, Redis};

/// A runtime with memory alone.
pub async fn memory_alone() -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .build()
        .await
        .expect("a runtime")
}

/// A runtime with memory and the Redis at `url`.
pub async fn two_tiers(url: &str) -> CacheRuntime {
    build(Redis::new(url)).await
}

/// A runtime with memory and `redis`.
pub async fn build(redis: Redis) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .build()
        .await
        .expect("a runtime")
}

/// Polls a future until it has been pending `n` times: there it stands, at its n-th await point.
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

/// For what takes milliseconds, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets other tasks run until `reached`, for thirty seconds at most.
pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    until_ok(what, async || if reached() { Ok(()) } else { Err("no") }).await;
}

/// Tries until it succeeds, for thirty seconds at most.
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
