//! Calls and invalidations while the server cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::tier::{
    FunctionKey, Peers, Receipt, RecordKey, Target, TierBuilder, TierContext,
};
use multi_tier_cached::{CacheRuntime, ErrorKind, Level, Memcached, Memory, Redis, invalidate};
use testbed::memcached::Memcached as Server;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::{Instance, Truth, until};
use tokio::time::Instant;

use super::{instance, read, url};

#[tokio::test]
async fn invalidation_during_an_outage_is_sent_after_it() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(url(proxy.port()))).await;
    let there = instance(Memcached::new(server.url())).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    proxy.set(NetworkFault::Cut);
    here.until_disconnected().await;
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Queued);
    assert_eq!(
        here.call(read(&truth, 1)).await,
        2,
        "an instance applies its own invalidations at once"
    );
    assert_eq!(
        there.call(read(&truth, 1)).await,
        1,
        "the other instance cannot know of it"
    );
    proxy.set(NetworkFault::Fair);
    let settled = here.call(async { invalidate!(read, &truth, 1).settled().await });
    settled.await.expect("the invalidations are done");
    let health = here.tier_health();
    assert!(health.queued == 0 && health.replays > 0, "{health:?}");
    assert_eq!(there.call(read(&truth, 1)).await, 2);
}

#[tokio::test]
async fn instance_drops_its_values_after_an_outage_because_it_missed_invalidations() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(server.url())).await;
    let there = instance(Memcached::new(url(proxy.port()))).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    proxy.set(NetworkFault::Cut);
    there.until_disconnected().await;
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    proxy.set(NetworkFault::Fair);
    there.until_connected().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
}

#[tokio::test]
async fn silent_server_delays_a_call_by_its_time_limit_at_most() {
    let server = Server::start();
    let limit = Duration::from_millis(100);
    let here = instance(Memcached::new(server.url()).time_limit(limit)).await;
    let truth = Truth::new();
    server.freeze();
    let began = Instant::now();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    let took = began.elapsed();
    assert!(took < limit + Duration::from_millis(500), "{took:?}");
    here.until_disconnected().await;
    let began = Instant::now();
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Queued);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
    let took = began.elapsed();
    assert!(took < limit, "calls wait for a lost link: {took:?}");
    server.thaw();
    here.until_connected().await;
    here.until_queue_is_empty().await;
}

#[tokio::test]
async fn shutdown_with_unsent_invalidations_is_an_error() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(url(proxy.port()))).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    proxy.set(NetworkFault::Cut);
    here.until_disconnected().await;
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Queued);
    let error = here.shutdown().await.expect_err("an invalidation is lost");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.ends_with("before the shutdown: 1"), "{text}");
}

/// The server is silent while more invalidations are made than its connections accept.
#[tokio::test]
async fn invalidations_that_no_connection_accepts_are_sent_later() {
    let server = Server::start();
    let memcached = Memcached::new(server.url()).staleness_bound(Duration::from_secs(5));
    let context = TierContext::new(Level::L2, Peers::none());
    let tier = Box::new(memcached.required()).build(&context).unwrap();
    tier.start().await.unwrap();
    server.freeze();
    let function = Arc::new(FunctionKey::new("f", 1));
    for number in 0..8_000 {
        let key = RecordKey::new(Arc::clone(&function), number.to_string(), number);
        tier.invalidate_later(Target::Key(&key));
    }
    assert_eq!(tier.health().queued, 8_000);
    server.thaw();
    until("all invalidations are sent", || tier.health().queued == 0).await;
    tier.shutdown().await.unwrap();
}

/// An invalidation that arrives late deletes a record which another call may have copied up after
/// the tier above had deleted its own.
#[tokio::test]
async fn late_invalidation_is_repeated_in_the_tier_above() {
    let (redis, server) = (testbed::server::Server::start(), Server::start());
    let proxy = Proxy::to(server.port()).await;
    let instance = async |port: u16| {
        let memcached = Memcached::new(url(port))
            .staleness_bound(Duration::from_secs(5))
            .required();
        let redis = Redis::new(redis.url()).required();
        let builder = CacheRuntime::builder().l1(Memory::builder()).l2(redis);
        Instance::build(builder.l3(memcached)).await
    };
    let here = instance(proxy.port()).await;
    let there = instance(server.port()).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    until("the record is in Redis", || redis.records().len() == 1).await;
    proxy.set(NetworkFault::Delay(Duration::from_secs(1)));
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Queued);
    // memcached still has the old record, so this call copies it up.
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    until("the record is copied up", || redis.records().len() == 1).await;
    until("nothing is queued", || {
        here.tiers().iter().all(|tier| tier.health.queued == 0)
    })
    .await;
    until("Redis has deleted the copy", || redis.records().is_empty()).await;
    assert_eq!(here.call(read(&truth, 1)).await, 2);
}
