//! What tests stand on: servers of their own, a network in their hand, and futures that stop where they are told.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

pub mod directory;
pub mod proxy;
pub mod server;
pub mod shelf;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

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

/// Lets other tasks run until `reached`, for five seconds at most.
pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let tries = async {
        while !reached() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), tries)
        .await
        .unwrap_or_else(|_| panic!("not within five seconds: {what}"));
}
