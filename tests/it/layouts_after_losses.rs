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
        match error.contains("shard 0 (`{") && error.contains("has a history") {
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

/// Whichever shards have found the other layout, and although nothing of the own one is left.
#[tokio::test]
async fn running_instance_comes_back_when_the_other_layout_has_ended() {
    for hit in [&[0][..], &[1], &[2, 3], &[0, 1, 2, 3]] {
        let server = Server::start();
        let here = Instance::with_redis(Redis::new(server.url()).shards(4)).await;
        until("all shards are connected", || connected(&here) == 4).await;
        let mut command = vec!["MSET".to_owned()];
        for shard in hit {
            command.extend([history_of("cache", *shard), "7:x-y#8".to_owned()]);
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let _: () = server.command(&command);
        until_ok("each of these shards has looked again", async || {
            let health = here.health().await;
            let has_found = |shard: &u8| {
                let shard = &health.tiers[0].shards[usize::from(*shard)];
                let error = shard.last_error.as_deref().unwrap_or_default();
                error.contains("laid out for 8 shards")
            };
            let all_have = connected(&here) == 0 && hit.iter().all(has_found);
            all_have.then_some(()).ok_or_else(|| health.to_string())
        })
        .await;
        // As the help of the error says.
        for shard in 0..8 {
            let _: u64 = server.command(&["DEL", &history_of("cache", shard)]);
        }
        until_ok("all shards are connected again", async || {
            let health = here.health().await;
            let all_are = connected(&here) == 4;
            all_are
                .then_some(())
                .ok_or_else(|| format!("hit {hit:?}: {health}"))
        })
        .await;
    }
}

/// A shard that has a history of the layout shows that there is no other one. So a lost node costs
/// an instance that starts in the meantime no more than one that runs.
#[tokio::test]
async fn instance_that_starts_while_shard_0_is_unreachable_uses_the_other_shards() {
    let (cluster, namespace, _) = cluster_with(&[1]).await;
    let redis = || {
        Redis::cluster(cluster.urls())
            .namespace(&namespace)
            .shards(2)
    };
    let here = Instance::with_redis(redis()).await;
    until("both shards are connected", || connected(&here) == 2).await;
    cluster.freeze(0);
    let there = Instance::with_redis(redis()).await;
    until_ok("shard 1 is connected", async || {
        let is_connected = there.tiers()[0].shards[1].health.connected;
        let health = there.health().await;
        is_connected.then_some(()).ok_or_else(|| health.to_string())
    })
    .await;
    assert!(!there.tiers()[0].shards[0].health.connected);
    // A tier that is required is needed whole.
    let error = format!("{:?}", build(redis()).await.unwrap_err());
    assert!(error.contains("shard 0 of 2"), "{error}");
    cluster.thaw(0);
    until("both shards are connected", || connected(&there) == 2).await;
}

/// Another layout may be in any of the possible shards, so a namespace without a history needs an
/// answer from all of them, and the error names one that has not answered.
#[tokio::test]
async fn namespace_begins_only_if_all_possible_shards_answer_and_says_which_one_does_not() {
    let (cluster, namespace, node) = cluster_with(&[1]).await;
    let limit = Duration::from_secs(5);
    let redis = Redis::cluster(cluster.urls()).connect_limit(limit);
    let redis = || redis.clone().namespace(&namespace).shards(1);
    cluster.freeze(node);
    let error = format!("{:?}", build(redis()).await.unwrap_err());
    cluster.thaw(node);
    let address = format!("127.0.0.1:{}", cluster.node(node).port());
    for part in [
        &format!("no shard of the namespace `{namespace}` that answers has a history"),
        &format!("shard 1 (`{{{namespace}:1}}`, asked at {address}) does not"),
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert!(!cluster.node(0).keys().contains(&history_of(&namespace, 0)));
    build(redis()).await.unwrap();
}
