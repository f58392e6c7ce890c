//! Shards that lost their data begin no history beside another layout.

use std::collections::BTreeSet;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, ErrorKind, Memory, Redis};

use testbed::cluster::{self, Cluster};
use testbed::server::Server;
use testbed::{Instance, until, until_ok};

async fn build(redis: Redis) -> Result<CacheRuntime, multi_tier_cached::Error> {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    builder.l2(redis.required()).build().await
}

fn history_of(namespace: &str, shard: u8) -> String {
    format!("{{{namespace}:{shard}}}:#history")
}

/// Number of shards of the instance that are connected.
fn connected(instance: &Instance) -> usize {
    let tiers = instance.tiers();
    let shards = tiers[0].shards.iter();
    shards.filter(|shard| shard.health.connected).count()
}

#[tokio::test]
async fn layout_ends_when_the_histories_of_all_its_shards_are_deleted() {
    for other in [1, 4] {
        let server = Server::start();
        let redis = |shards| Redis::new(server.url()).shards(shards);
        build(redis(8)).await.unwrap().shutdown().await.unwrap();
        for shard in 0..8 {
            let error = build(redis(other)).await.unwrap_err();
            let text = format!("{error:?}");
            assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
            assert!(text.contains("laid out for 8 shards"), "{shard}: {text}");
            assert!(text.contains("to `{cache:7}:#history`"), "{text}");
            let deleted: u64 = server.command(&["DEL", &history_of("cache", shard)]);
            assert_eq!(deleted, 1);
        }
        let new = build(redis(other)).await.unwrap();
        assert!(new.health().await.is_well());
    }
}

/// A cluster whose nodes do not replace each other, with a namespace that has shard 0 on the first
/// node and these `others` on another one. The number of that node is the last part of the result.
async fn cluster_with(others: &[u8]) -> (Cluster, String, usize) {
    let options = cluster::Options {
        node_timeout: Duration::from_secs(100),
        ..cluster::Options::new(3)
    };
    let cluster = Cluster::start_with(&options).await;
    for number in 0..1_000 {
        let namespace = format!("n{number}");
        let mut nodes = BTreeSet::new();
        for shard in others {
            nodes.insert(cluster.primary_of(&history_of(&namespace, *shard)).await);
        }
        let of_first = cluster.primary_of(&history_of(&namespace, 0)).await;
        let node = nodes.pop_first().unwrap_or(0);
        if of_first == 0 && node != 0 && nodes.is_empty() {
            return (cluster, namespace, node);
        }
    }
    panic!("no such namespace");
}

/// If no shard shows the layout, another one may have begun in shard 0, which cannot be asked.
#[tokio::test]
async fn shard_that_lost_its_data_waits_until_a_shard_shows_the_layout() {
    let (cluster, namespace, node) = cluster_with(&[1]).await;
    let redis = Redis::cluster(cluster.urls()).namespace(&namespace);
    let here = Instance::with_redis(redis.shards(2)).await;
    until("both shards are connected", || connected(&here) == 2).await;
    cluster.freeze(0);
    let node = cluster.node(node);
    let _: () = node.command(&["FLUSHALL"]);
    until_ok("shard 1 looks for other layouts", async || {
        let health = here.health().await;
        let error = health.tiers[0].shards[1].last_error.clone();
        let error = error.unwrap_or_default();
        match error.contains("look for another number of shards") {
            true => Ok(()),
            false => Err(error),
        }
    })
    .await;
    assert!(!node.keys().contains(&history_of(&namespace, 1)));
    cluster.thaw(0);
    until("both shards are connected", || connected(&here) == 2).await;
}

#[tokio::test]
async fn shard_that_lost_its_data_is_used_without_shard_0_if_another_shows_the_layout() {
    let (cluster, namespace, node) = cluster_with(&[2, 3]).await;
    let redis = Redis::cluster(cluster.urls()).namespace(&namespace);
    let here = Instance::with_redis(redis.shards(4)).await;
    until("all shards are connected", || connected(&here) == 4).await;
    cluster.freeze(0);
    let node = cluster.node(node);
    let history: String = node.command(&["GET", &history_of(&namespace, 2)]);
    for key in node.keys() {
        if key.starts_with(&format!("{{{namespace}:2}}")) {
            let _: u64 = node.command(&["DEL", &key]);
        }
    }
    until("shard 2 begins another history", || {
        let begun: Option<String> = node.command(&["GET", &history_of(&namespace, 2)]);
        begun.is_some_and(|begun| begun != history)
    })
    .await;
    until("shard 2 is connected", || {
        let tiers = here.tiers();
        let mut shards = tiers[0].shards.iter();
        shards.any(|shard| shard.index == 2 && shard.health.connected)
    })
    .await;
    cluster.thaw(0);
    until("all shards are connected", || connected(&here) == 4).await;
}
