//! A lost link to a server leaves nothing behind: no connection, no late message, no lease that can
//! still fill, and no harm to the next link.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::tier::{
    FillResult, FunctionKey, LeaseMode, LeaseResult, Peers, RecordKey, Refusal, TierBuilder,
    TierContext,
};
use multi_tier_cached::{Level, Memcached, Redis, invalidate, multi_tier_cached};

use testbed::deployment::Deployment;
use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_reads, poll_once, poll_until, until, until_ok};

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Flushes the servers and ends the connections for records only, so that the links are lost while
/// the channels' connections work.
async fn lose_links(servers: &Deployment, instance: &Instance) {
    let before = instance.tier_health().isolations;
    servers.on_primaries(&["FLUSHALL"]);
    servers.on_primaries(&["CLIENT", "KILL", "TYPE", "normal"]);
    let all = before + servers.links() - 1;
    instance.until_isolated_since(all).await;
    instance.until_coherent().await;
}

/// Asserts that five calls of a new key make one load, and that the tier is well.
async fn assert_caching(instance: &Instance, key: u64) {
    let truth = Truth::new();
    for _ in 0..5 {
        instance.call(read(&truth, key)).await;
    }
    assert_reads(&truth, 1, &[instance]).await;
    let health = instance.health().await;
    assert!(health.is_well(), "{health}");
}

/// An instance whose operations do not time out while a test holds them.
async fn patient_instance(servers: &Deployment) -> Instance {
    let redis = servers.redis().time_limit(Duration::from_secs(5));
    let instance = Instance::with_redis(redis).await;
    instance.until_coherent().await;
    instance
}

#[tokio::test]
async fn invalidation_that_holds_a_lost_link_does_not_stop_caching() {
    let servers = Deployment::start().await;
    let (here, truth) = (patient_instance(&servers).await, Truth::new());
    for round in 0..5 {
        let invalidation = invalidate!(read, &truth, 1);
        let mut held = Box::pin(here.call(invalidation));
        assert!(poll_until(&mut held, 1).await.is_pending());
        lose_links(&servers, &here).await;
        assert_caching(&here, 10 + round).await;
        drop(held);
        assert_caching(&here, 20 + round).await;
    }
}

#[tokio::test]
async fn wait_for_replicas_that_holds_a_lost_link_does_not_stop_caching() {
    let servers = Deployment::start().await;
    let (here, truth) = (patient_instance(&servers).await, Truth::new());
    let baseline = servers.connections();
    for round in 0..3 {
        let replicated = async { invalidate!(read, &truth, 1).replicated(1).await };
        let mut held = Box::pin(here.call(replicated));
        // It waits on a connection of its own for a replica that does not exist.
        until("it has its own connection", || {
            assert!(poll_once(&mut held).is_pending());
            servers.connections() > baseline
        })
        .await;
        lose_links(&servers, &here).await;
        assert_caching(&here, 30 + round).await;
        drop(held);
        assert_caching(&here, 40 + round).await;
    }
}

#[tokio::test]
async fn futures_that_hold_lost_links_keep_no_connection() {
    let servers = Deployment::start().await;
    let (here, truth) = (patient_instance(&servers).await, Truth::new());
    let baseline = servers.connections();
    let begin = |key| {
        let mut held = Box::pin(here.call(invalidate!(read, &truth, key)));
        assert!(poll_once(&mut held).is_pending());
        held
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.extend((0..20).map(begin));
        lose_links(&servers, &here).await;
    }
    until("no lost link keeps a connection", || {
        servers.connections() <= baseline
    })
    .await;
    assert_caching(&here, 50).await;
    held.push(begin(1));
    here.shutdown().await.unwrap();
    until("no connection is left after the shutdown", || {
        servers.connections() == 0
    })
    .await;
    drop(held);
}

#[tokio::test]
async fn messages_of_a_newer_version_cost_no_link() {
    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("newer");
    let here = Instance::with_redis(redis()).await;
    let there = Instance::with_redis(redis()).await;
    let truth = Truth::new();
    here.until_coherent().await;
    here.call(read(&truth, 1)).await;
    let sequence = "{newer:0}:#sequence";
    for _ in 0..3 {
        let number: u64 = server.command(&["INCR", sequence]);
        let message = format!("{number}:tag:17:23");
        let receivers: u64 = server.command(&["SPUBLISH", "{newer:0}:#channel:0", &message]);
        assert_eq!(receivers, 2);
    }
    // A message of a known kind follows them.
    truth.commit();
    there.invalidate(invalidate!(read, &truth, 1)).await;
    until_ok("the invalidation has arrived", async || {
        let found = here.call(read(&truth, 1)).await;
        if found == 2 { Ok(()) } else { Err(found) }
    })
    .await;
    for instance in [&here, &there] {
        let health = instance.tier_health();
        assert_eq!((health.gaps, health.isolations), (0, 0));
        assert!(instance.health().await.is_well());
    }
}

#[tokio::test]
async fn foreign_sequence_stops_neither_caching_nor_invalidation() {
    let server = Server::start();
    let redis = Redis::new(server.url()).namespace("foreign");
    let here = Instance::with_redis(redis).await;
    for foreign in ["18446744073709551615", "9223372036854775807", "-1", "hello"] {
        let truth = Truth::new();
        let _: () = server.command(&["SET", "{foreign:0}:#sequence", foreign]);
        here.invalidate(invalidate!(read, &truth, 1)).await;
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        here.until_coherent().await;
        for _ in 0..5 {
            here.call(read(&truth, 1)).await;
        }
        // The instance may notice the sequence, and make its link again, between two of the calls.
        let loads = truth.reads();
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

/// Statistics give the same reason for it in each tier.
#[tokio::test]
async fn fill_under_a_lease_of_a_lost_link_is_refused_because_of_the_link() {
    let mut server = Server::start();
    let redis = Redis::new(server.url()).required();
    let fill = fill_over_the_next_link(Box::new(redis), || server.restart()).await;
    assert_eq!(fill, FillResult::Refused(Refusal::Link), "Redis");
    let mut server = MemcachedServer::start();
    let memcached = Memcached::new(server.url()).required();
    let fill = fill_over_the_next_link(Box::new(memcached), || server.restart()).await;
    assert_eq!(fill, FillResult::Refused(Refusal::Link), "memcached");
}
