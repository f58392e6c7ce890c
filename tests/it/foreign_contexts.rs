//! Calls outside of the Tokio runtime in which the cache was installed: in another one, in one
//! without timers, or on a thread without Tokio.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use testbed::log::Log;
use testbed::server::Server;
use testbed::{Truth, assert_reads, build};

#[multi_tier_cached(ttl = "1h", consistency = "strong", skip(truth))]
async fn strong(truth: &Truth, key: u64) -> u64 {
    truth.read();
    key
}

#[multi_tier_cached(ttl = "1h")]
async fn body_runs(key: u64) -> u64 {
    key
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread without Tokio.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn driven() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Calls, invalidates and calls again. The calls are strong, so every step reaches Redis.
async fn use_redis(runtime: CacheRuntime, key: u64) {
    let truth = Truth::new();
    CacheRuntime::scope(runtime.clone(), async {
        assert_eq!(strong(&truth, key).await, key);
        assert_eq!(strong(&truth, key).await, key);
        assert_reads(&truth, 1, &[&runtime]).await;
        let receipt = invalidate!(strong, &truth, key).await;
        assert_eq!(receipt.unwrap(), Receipt::Acked);
        assert_eq!(strong(&truth, key).await, key);
        assert_reads(&truth, 2, &[&runtime]).await;
    })
    .await;
    assert!(runtime.health().await.is_well());
}

#[test]
fn calls_outside_of_the_tokio_runtime_of_the_cache_use_redis() {
    let server = Server::start();
    let home = driven();
    let runtime = home.block_on(build(Redis::new(server.url())));
    block_on(use_redis(runtime.clone(), 1));
    let without_timers = Builder::new_current_thread().build().unwrap();
    without_timers.block_on(use_redis(runtime.clone(), 2));
    let other = Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(use_redis(runtime.clone(), 3));
    block_on(runtime.shutdown()).unwrap();
}

#[test]
fn call_runs_its_body_and_health_says_why_when_the_tokio_runtime_of_the_cache_has_ended() {
    let log = Log::default();
    let _captured = log.capture();
    let server = Server::start();
    let home = driven();
    let runtime = home.block_on(build(Redis::new(server.url())));
    drop(home);
    let call = |key| CacheRuntime::scope(runtime.clone(), body_runs(key));
    assert_eq!(block_on(call(1)), 1);
    let other = driven();
    assert_eq!(other.block_on(call(2)), 2);
    let health = block_on(runtime.health());
    assert!(!health.is_well());
    assert!(
        health
            .to_string()
            .contains("runtime that the cache was installed in has ended"),
        "{health}"
    );
    let errors = log.lines_with("has ended");
    let errors = errors.iter().filter(|line| line.contains("ERROR"));
    assert_eq!(errors.count(), 1, "the error is logged once");
}

#[test]
fn call_takes_no_longer_than_its_time_limit_when_the_tokio_runtime_of_the_cache_is_not_driven() {
    let server = Server::start();
    let idle = Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_millis(100);
    let runtime = idle.block_on(build(Redis::new(server.url()).time_limit(limit)));
    let began = Instant::now();
    let call = CacheRuntime::scope(runtime.clone(), body_runs(3));
    assert_eq!(block_on(call), 3);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(runtime);
}
