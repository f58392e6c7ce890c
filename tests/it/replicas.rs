//! An invalidation can wait until replicas of the server have it.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Disk, Error, ErrorKind, Redis, invalidate, multi_tier_cached,
};

use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

/// Invalidates a key, and waits until so many replicas have the invalidation.
async fn replicated(instance: &Instance, replicas: u32) -> Result<Receipt, Error> {
    let invalidation = async { invalidate!(read, 1).replicated(replicas).await };
    instance.call(invalidation).await
}

fn server_that_replicates_at_once() -> Server {
    Server::start_with(&["--repl-diskless-sync-delay", "0"])
}

/// Starts a replica of the server, and returns it once it is in sync.
async fn replica_of(server: &Server) -> Server {
    let port = server.port().to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    until("the replica is in sync", || {
        let info: String = server.command(&["INFO", "replication"]);
        info.contains("state=online")
    })
    .await;
    replica
}

#[tokio::test]
async fn replicated_invalidation_returns_once_the_replicas_have_it() {
    let server = server_that_replicates_at_once();
    let replica = replica_of(&server).await;
    let here = Instance::with_redis_at(&server.url()).await;
    // A new replica acknowledges nothing in its first second.
    let acknowledged = async || replicated(&here, 1).await;
    let receipt = until_ok("the replica acknowledges", acknowledged).await;
    assert_eq!(receipt, Receipt::Acked);
    let error = replicated(&here, 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("1 of 2"), "{error}");
    replica.freeze();
    let error = replicated(&here, 1).await.unwrap_err();
    replica.thaw();
    assert!(error.to_string().contains("0 of 1"), "{error}");
}

/// A private tier has no replicas, so only the shared tiers count.
#[tokio::test]
async fn replicated_invalidation_asks_shared_tiers_only_and_needs_one() {
    let server = server_that_replicates_at_once();
    let _replica = replica_of(&server).await;
    let directory = Directory::new("replicated");
    let tiers = CacheRuntime::builder()
        .l2(Redis::new(server.url()).required())
        .l3(Disk::new(directory.path().join("disk")));
    let here = Instance::build(tiers).await;
    let acknowledged = async || replicated(&here, 1).await;
    let receipt = until_ok("the replica acknowledges", acknowledged).await;
    assert_eq!(receipt, Receipt::Acked);
    let error = replicated(&Instance::with_memory().await, 1).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

/// After a reconnect, the server that acknowledged may have been replaced by another one.
#[tokio::test]
async fn replicated_invalidation_fails_if_the_link_is_lost_during_the_wait() {
    let server = server_that_replicates_at_once();
    let redis = Redis::new(server.url()).time_limit(Duration::from_secs(10));
    let here = Instance::with_redis(redis).await;
    // The replication id of a server changes with its first replica, so the link is made again.
    let replica = replica_of(&server).await;
    let acknowledged = async || match replicated(&here, 1).await {
        Ok(Receipt::Queued) => Err("queued".to_owned()),
        result => result.map_err(|error| error.to_string()),
    };
    until_ok("the replica has it", acknowledged).await;
    replica.freeze();
    let isolations = here.tier_health().isolations;
    let lose_link = async {
        // The wait for replicas blocks a connection of its own.
        until("the invalidation waits for the replica", || {
            let clients: String = server.command(&["CLIENT", "LIST"]);
            clients.contains("flags=b")
        })
        .await;
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        here.until_isolated_since(isolations).await;
        replica.thaw();
    };
    let (result, ()) = tokio::join!(replicated(&here, 1), lose_link);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    here.until_connected().await;
    until_ok("the replica has it again", acknowledged).await;
}
