//! A lost link to a server leaves nothing behind: no connection, no late message, no lease that still
//! fills, and no harm to the next link.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use multi_tier_cached::tier::{
    FillResult, FunctionKey, LeaseMode, LeaseResult, Peers, RecordKey, Refusal, TierBuilder,
    TierContext,
};
use multi_tier_cached::{CacheRuntime, Level, Memcached, Redis, invalidate, multi_tier_cached};

use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{build, poll_until, until};

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    LOADS.fetch_add(1, Ordering::SeqCst);
    key
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

fn isolations(runtime: &CacheRuntime) -> u64 {
    runtime.tiers()[0].health.isolations
}

async fn coherent(runtime: &CacheRuntime) {
    until("the tier is coherent", || {
        runtime.tiers()[0].health.coherent_for.is_some()
    })
    .await;
}

/// Flushes the server, and ends the connection for records alone, so that the link is lost while the channel's connection
/// works.
async fn lose_link(server: &Server, runtime: &CacheRuntime) {
    let before = isolations(runtime);
    let _: () = server.command(&["FLUSHALL"]);
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    until("the link is lost", || isolations(runtime) > before).await;
    coherent(runtime).await;
}

/// Five calls of a new key make one load, and health says that all is well.
async fn assert_caching(runtime: &CacheRuntime, key: u64) {
    let before = LOADS.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(on(runtime, read(key)).await, key);
    }
    assert_eq!(LOADS.load(Ordering::SeqCst) - before, 1, "of key {key}");
    let health = runtime.health().await;
    assert!(health.is_well(), "{health}");
}

fn connections(server: &Server) -> usize {
    let list: String = server.command(&["CLIENT", "LIST"]);
    list.lines().count()
}

/// One test, so that its loads are its own.
#[tokio::test]
async fn a_future_that_holds_a_lost_link_does_not_stop_caching() {
    let server = Server::start();
    // Long enough that nothing that is held times out by itself.
    let redis = Redis::new(server.url()).time_limit(Duration::from_secs(5));
    let runtime = build(redis).await;
    coherent(&runtime).await;
    let baseline = connections(&server);

    for round in 0..5_u64 {
        let invalidation = async { invalidate!(read, 1).await };
        let mut held = Box::pin(on(&runtime, invalidation));
        assert!(poll_until(&mut held, 1).await.is_pending());
        lose_link(&server, &runtime).await;
        assert_caching(&runtime, 10 + round).await;
        drop(held);
        assert_caching(&runtime, 20 + round).await;
    }

    for round in 0..3_u64 {
        let replicated = async { invalidate!(read, 1).replicated(1).await };
        let mut held = Box::pin(on(&runtime, replicated));
        // Until it waits for a replica that is not there.
        until("it has its own connection", || {
            assert!(poll_once(&mut held).is_pending());
            connections(&server) > baseline
        })
        .await;
        lose_link(&server, &runtime).await;
        assert_caching(&runtime, 30 + round).await;
        drop(held);
        assert_caching(&runtime, 40 + round).await;
    }

    let mut held = Vec::new();
    for _ in 0..3 {
        for key in 0..20 {
            let invalidation = async move { invalidate!(read, key).await };
            let mut future = Box::pin(on(&runtime, invalidation));
            assert!(poll_once(&mut future).is_pending());
            held.push(future);
        }
        lose_link(&server, &runtime).await;
    }
    until("no lost link keeps a connection", || {
        connections(&server) <= baseline
    })
    .await;
    assert_caching(&runtime, 50).await;
    let mut last = Box::pin(on(&runtime, async { invalidate!(read, 1).await }));
    assert!(poll_once(&mut last).is_pending());
    runtime.shutdown().await.unwrap();
    until("the end keeps no connection", || connections(&server) <= 1).await;
    drop((held, last));
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn messages_of_a_newer_version_cost_no_link() {
    static NEWER: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn known(key: u64) -> u64 {
        NEWER.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("newer");
    let (here, there) = (build(redis()).await, build(redis()).await);
    coherent(&here).await;
    on(&here, known(1)).await;
    let sequence = "{newer:0}:#sequence";
    for _ in 0..3 {
        let number: u64 = server.command(&["INCR", sequence]);
        let message = format!("{number}:tag:17:23");
        let heard: u64 = server.command(&["SPUBLISH", "{newer:0}:#channel:0", &message]);
        assert_eq!(heard, 2);
    }
    // A message that is understood comes after them.
    let before = NEWER.load(Ordering::SeqCst);
    on(&there, async { invalidate!(known, 1).await })
        .await
        .unwrap();
    let again = async {
        while NEWER.load(Ordering::SeqCst) == before {
            on(&here, known(1)).await;
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(5), again).await;
    again.expect("the invalidation is heard");
    for runtime in [&here, &there] {
        let health = &runtime.tiers()[0].health;
        assert_eq!((health.gaps, health.isolations), (0, 0));
        assert!(runtime.health().await.is_well());
    }
}

#[tokio::test]
async fn a_foreign_sequence_stops_neither_caching_nor_invalidation() {
    static FOREIGN: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn counted(key: u64) -> u64 {
        FOREIGN.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let runtime = build(Redis::new(server.url()).namespace("foreign")).await;
    for foreign in ["18446744073709551615", "9223372036854775807", "-1", "hello"] {
        let _: () = server.command(&["SET", "{foreign:0}:#sequence", foreign]);
        let invalidated = on(&runtime, async { invalidate!(counted, 1).await }).await;
        invalidated.unwrap();
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until("the link is made again", || {
            runtime.tiers()[0].health.coherent_for.is_some()
        })
        .await;
        let before = FOREIGN.load(Ordering::SeqCst);
        // The sequence may be noticed, and the link be made again, between two of the calls.
        until("a value is kept", || {
            runtime.tiers()[0].health.coherent_for.is_some()
        })
        .await;
        for _ in 0..5 {
            on(&runtime, counted(1)).await;
        }
        let loads = FOREIGN.load(Ordering::SeqCst) - before;
        assert!(loads <= 2, "{loads} loads after {foreign}");
    }
}

/// Takes a lease, restarts the server, and fills under the lease once the tier is connected again.
async fn fill_over_the_next_link(new: Box<dyn TierBuilder>, restart: impl FnOnce()) -> FillResult {
    let within = Duration::from_secs(10);
    let context = TierContext::new(Level::L2, Peers::none());
    let tier = new.build(&context).unwrap();
    tier.start().await.unwrap();
    let function = Arc::new(FunctionKey::new("f", 1));
    let key = RecordKey::new(function, "1".to_owned(), 1);
    let leased = tier
        .lease(&key, LeaseMode::Exclusive, &[], within)
        .await
        .unwrap();
    let LeaseResult::Granted(lease) = leased else {
        panic!("the lease is free: {leased:?}");
    };
    restart();
    until("another link is made", || {
        let health = tier.health();
        health.connected && health.isolations == 1
    })
    .await;
    let record = b"late".to_vec();
    let life = Duration::from_secs(60);
    let fill = tier.fill(&key, &lease, record, life, within).await;
    tier.shutdown().await.unwrap();
    fill.unwrap()
}

/// Statistics give one reason for it, whichever tier refuses.
#[tokio::test]
async fn fill_under_a_lease_of_a_lost_link_is_refused_for_the_link() {
    let mut server = Server::start();
    let redis = Redis::new(server.url()).required();
    let fill = fill_over_the_next_link(Box::new(redis), || server.restart()).await;
    assert_eq!(fill, FillResult::Refused(Refusal::Link), "Redis");
    let mut server = MemcachedServer::start();
    let memcached = Memcached::new(server.url()).required();
    let fill = fill_over_the_next_link(Box::new(memcached), || server.restart()).await;
    assert_eq!(fill, FillResult::Refused(Refusal::Link), "memcached");
}
