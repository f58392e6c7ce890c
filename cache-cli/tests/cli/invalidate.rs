//! `invalidate`, as three instances see it.

use std::process::Stdio;

use multi_tier_cached::{Redis, multi_tier_cached};
use testbed::cluster::{self, Cluster};
use testbed::{Instance, Truth, until, until_returns};
use tokio::io::AsyncWriteExt;

use crate::data::Shop;
use crate::program::{self, Run};

#[multi_tier_cached(ttl = "1h", name = "cli::fact", skip(truth))]
async fn fact(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Three instances that have the values of some keys in memory.
async fn three(redis: impl Fn() -> Redis, truth: &Truth) -> Vec<Instance> {
    let mut instances = Vec::new();
    for _ in 0..3 {
        let instance = Instance::with_redis(redis()).await;
        instance.until_coherent().await;
        instances.push(instance);
    }
    for instance in &instances {
        for key in 0..4 {
            instance.call(fact(truth, key)).await;
        }
    }
    instances
}

/// Asserts that all instances return another value soon, for these keys.
async fn see(instances: &[Instance], truth: &Truth, keys: &[u64]) {
    let bound = std::time::Duration::from_secs(2);
    for instance in instances {
        for key in keys {
            let now = truth.version();
            until_returns(now, bound, async || instance.call(fact(truth, *key)).await).await;
        }
    }
}

#[track_caller]
fn is_done(run: &Run, text: &str) {
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.output.contains(text), "{text} is not in {run:?}");
}

#[tokio::test]
async fn all_instances_see_each_kind_of_invalidation() {
    let truth = Truth::new();
    let server = testbed::server::Server::start();
    let instances = three(|| Redis::new(server.url()), &truth).await;
    server.until_records(4).await;
    let url = server.url();
    let invalidate = async |arguments: &[&str]| {
        let all = [&["invalidate", "--yes", "--redis", &url], arguments].concat();
        program::run(&all).await
    };
    truth.commit();
    is_done(
        &invalidate(&["cli::fact", "1"]).await,
        "the key `cli::fact:1:1`",
    );
    see(&instances, &truth, &[1]).await;
    for instance in &instances {
        let kept = instance.call(fact(&truth, 2)).await;
        assert_ne!(kept, truth.version(), "another key is kept");
    }
    truth.commit();
    is_done(
        &invalidate(&["cli::fact", "--matching", "[12]"]).await,
        "2 records deleted",
    );
    see(&instances, &truth, &[1, 2]).await;
    truth.commit();
    is_done(
        &invalidate(&["cli::fact"]).await,
        "all keys of `cli::fact:1`",
    );
    see(&instances, &truth, &[0, 1, 2, 3]).await;
    truth.commit();
    is_done(
        &invalidate(&["--all"]).await,
        "everything in the namespace `cache`",
    );
    see(&instances, &truth, &[0, 1, 2, 3]).await;
}

#[tokio::test]
async fn key_that_memory_alone_has_is_invalidated_too() {
    let truth = Truth::new();
    let server = testbed::server::Server::start();
    let instances = three(|| Redis::new(server.url()), &truth).await;
    server.until_records(4).await;
    let _: u64 = server.command(&["DEL", "{cache:0}:cli::fact:1:1"]);
    truth.commit();
    let url = server.url();
    let run = program::run(&["invalidate", "--yes", "--redis", &url, "cli::fact", "1"]).await;
    is_done(&run, "memory of the whole function is asked again");
    see(&instances, &truth, &[1]).await;
}

#[tokio::test]
async fn all_shards_of_a_cluster_are_reached() {
    let truth = Truth::new();
    let cluster = Cluster::start_with(&cluster::Options::new(3)).await;
    let instances = three(|| Redis::cluster(cluster.urls()).shards(4), &truth).await;
    let seeds = cluster.urls().join(",");
    let invalidate = async |arguments: &[&str]| {
        let all = [&["invalidate", "--yes", "--cluster", &seeds], arguments].concat();
        program::run(&all).await
    };
    until("the keys of all shards are listed", || {
        cluster_records(&cluster) == 4
    })
    .await;
    let keys = program::run(&["keys", "cli::fact", "--cluster", &seeds]).await;
    let mut keys: Vec<&str> = keys.output.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["0", "1", "2", "3"]);
    let tail = ["tail", "--count", "1", "--json", "--cluster", &seeds];
    let tail = tokio::spawn(program::finish(program::command(&tail)));
    for key in ["0", "1", "2", "3"] {
        truth.commit();
        is_done(&invalidate(&["cli::fact", key]).await, "invalidated");
        see(&instances, &truth, &[key.parse().unwrap()]).await;
    }
    let seen = tail.await.unwrap().documents();
    assert!(
        seen[0]["what"].is_string(),
        "one of the invalidations is seen: {seen:?}"
    );
    truth.commit();
    is_done(&invalidate(&["cli::fact"]).await, "all keys");
    see(&instances, &truth, &[0, 1, 2, 3]).await;
}

#[tokio::test]
async fn nothing_is_invalidated_without_a_yes_or_in_a_dry_run() {
    let shop = Shop::with_users(&[42]).await;
    let run = shop
        .run(&["invalidate", "cli::user", "42", "--dry-run"])
        .await;
    is_done(&run, "would invalidate the key `cli::user:1:42`");
    let run = shop.run(&["invalidate", "cli::user", "42"]).await;
    assert_eq!(run.code, Some(1), "the input is empty: {run:?}");
    assert!(run.errors.contains("not confirmed"), "{run:?}");
    for (answer, left) in [("no\n", 1), ("yes\n", 0)] {
        let url = shop.server.url();
        let mut command = program::command(&["invalidate", "cli::user", "42", "--redis", &url]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answer.as_bytes())
            .await
            .unwrap();
        child.wait().await.unwrap();
        assert_eq!(shop.server.records().len(), left, "{answer}");
    }
    let what: Vec<String> = shop
        .run(&["tail", "--count", "1", "--json"])
        .await
        .documents()
        .iter()
        .map(|entry| format!("{} {}", entry["who"], entry["what"]))
        .collect();
    assert!(
        what[0].contains("cli") && what[0].contains("cli::user:1:42"),
        "{what:?}"
    );
}

#[tokio::test]
async fn full_key_of_an_unknown_function_is_an_error_and_nothing_is_written() {
    let shop = Shop::with_users(&[42]).await;
    let keys = || {
        shop.server
            .keys()
            .into_iter()
            .filter(|key| !key.contains("#"))
    };
    let before: Vec<String> = keys().collect();
    for (name, key) in [("{cache:0}:zzz:1:99", None), ("{zzz:1", Some("99"))] {
        let target = [&["invalidate", "--yes", name][..], key.as_slice()].concat();
        let run = shop.run(&target).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(
            run.errors.contains("of the function `zzz:1`") || key.is_some(),
            "{run:?}"
        );
        assert_eq!(keys().collect::<Vec<_>>(), before);
    }
    let audit: u64 = shop
        .server
        .command(&["XLEN", "{cache:0}:#stream:#invalidations"]);
    assert_eq!(audit, 0, "nothing was invalidated");
    let run = shop.run(&["invalidate", "--yes", &Shop::record(43)]).await;
    is_done(&run, "no record had such a key");
    // A record is reason enough, also if its function has no epoch.
    let orphan = "{cache:0}:cli::orphan:1:42";
    let _: () = shop.server.command(&["COPY", &Shop::record(42), orphan]);
    let run = shop.run(&["invalidate", "--yes", orphan]).await;
    is_done(&run, "the key `cli::orphan:1:42`");
}

/// The number of records on all primaries.
fn cluster_records(cluster: &Cluster) -> usize {
    let primaries = cluster.nodes().iter().take(3);
    primaries.map(|node| node.records().len()).sum()
}
