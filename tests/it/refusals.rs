//! Refusals of a server that are of its role or of its place in a cluster: the link is given up or
//! kept, as the table in `cache-redis/src/errors.rs` says, and is used again when that is over.

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Redis, invalidate, multi_tier_cached};

use testbed::cluster::{self, Cluster, slot_of};
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

/// Waits until the tier is not used for a reason that has `code` in it.
async fn until_refused(instance: &Instance, code: &str) {
    until_ok("the refusal is in the health", async || {
        let health = instance.health().await;
        let error = health.tiers[0].last_error.clone().unwrap_or_default();
        match !health.tiers[0].health.connected && error.contains(code) {
            true => Ok(()),
            false => Err(health.to_string()),
        }
    })
    .await;
    assert_eq!(instance.call(read(7)).await, 7, "calls continue");
    let receipt = instance.invalidate(invalidate!(read, 7)).await;
    assert_eq!(receipt, Receipt::Queued);
}

async fn until_used(instance: &Instance) {
    until("the server is used again", || {
        let health = instance.tier_health();
        health.connected && health.coherent_for.is_some() && health.queued == 0
    })
    .await;
    assert_eq!(instance.invalidate(invalidate!(read)).await, Receipt::Acked);
}

#[tokio::test]
async fn primary_that_becomes_a_replica_is_left() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let of_nobody: (&str, &str) = ("127.0.0.1", "1");
    let _: () = server.command(&["REPLICAOF", of_nobody.0, of_nobody.1]);
    until_refused(&here, "replica").await;
    // MASTERDOWN: it does not even answer reads.
    let _: () = server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    until_refused(&here, "replica").await;
    let _: () = server.command(&["REPLICAOF", "NO", "ONE"]);
    until_used(&here).await;
}

#[tokio::test]
async fn primary_without_its_replicas_is_left() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let _: () = server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    until_refused(&here, "NOREPLICAS").await;
    let _: () = server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    until_used(&here).await;
}

#[tokio::test]
async fn server_that_is_still_loading_is_waited_for() {
    let mut server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    for key in 0..20 {
        here.call(read(key)).await;
    }
    server.until_records(20).await;
    let _: () = server.command(&["SAVE"]);
    server.kill();
    here.until_disconnected().await;
    let restarting = tokio::task::spawn_blocking(move || {
        let delay = ["--key-load-delay", "100000"];
        let interval = ["--loading-process-events-interval-bytes", "1024"];
        server.restart_with(&[delay, interval].concat());
        server
    });
    until_refused(&here, "loading").await;
    let _server = restarting.await.unwrap();
    until_used(&here).await;
}

/// With `cluster-require-full-coverage`, no node serves while a slot has none.
#[tokio::test]
async fn node_of_a_cluster_that_is_down_is_left() {
    let options = cluster::Options {
        arguments: ["--cluster-require-full-coverage", "yes"]
            .map(str::to_owned)
            .to_vec(),
        ..cluster::Options::new(2)
    };
    let cluster = Cluster::start_with(&options).await;
    let here = Instance::with_redis(Redis::new(cluster.node(0).url())).await;
    let of_namespace = cluster.primary_of("{cache:0}").await;
    let slot = usize::from(slot_of("{cache:0}"));
    let other = (0..16384).find(|other| (*other < 8192) == (of_namespace == 0) && *other != slot);
    let other = other.expect("another slot of the node").to_string();
    let _: () = cluster
        .node(of_namespace)
        .command(&["CLUSTER", "DELSLOTS", &other]);
    until_refused(&here, "CLUSTERDOWN").await;
    let _: () = cluster
        .node(of_namespace)
        .command(&["CLUSTER", "ADDSLOTS", &other]);
    until_used(&here).await;
}
