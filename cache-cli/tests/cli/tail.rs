//! `tail`, and how it ends.

use std::process::Stdio;

use multi_tier_cached::invalidate;
use testbed::cluster::{self, Cluster, slot_of};
use testbed::server::Server;
use testbed::until;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::data::{Shop, user};
use crate::program::{self, finish};

#[tokio::test]
async fn tail_shows_the_audit_and_the_channel() {
    let shop = Shop::with_users(&[42]).await;
    shop.instance
        .call(async { invalidate!(user, 1).await })
        .await
        .unwrap();
    let url = shop.server.url();
    let mut command = program::command(&["tail", "--json", "--redis", &url]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = lines.next_line().await.unwrap().expect("a line");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let earlier = next().await;
    assert_eq!(
        (&earlier["who"], &earlier["what"]),
        (&"shop-1".into(), &"cli::user:1:1".into())
    );
    shop.instance
        .call(async { invalidate!(user).await })
        .await
        .unwrap();
    let mut seen = [next().await, next().await].map(|event| {
        let what = event["what"].as_str().unwrap();
        format!("{}: {what}", event["source"].as_str().unwrap())
    });
    seen.sort();
    assert_eq!(seen, ["audit: cli::user:1", "message: function cli::user"]);
    // An interrupt ends it in order.
    let id = child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn tail_filters_and_counts_lines() {
    let shop = Shop::with_users(&[42]).await;
    for id in [1, 2, 3] {
        shop.instance
            .call(async { invalidate!(user, id).await })
            .await
            .unwrap();
    }
    let run = shop.run(&["tail", "--count", "2"]).await;
    assert_eq!(run.output.lines().count(), 2, "{run:?}");
    let run = shop.run(&["tail", "user:1:3", "--count", "1"]).await;
    assert!(run.output.contains("cli::user:1:3"), "{run:?}");
}

#[tokio::test]
async fn last_entries_of_all_shards_are_in_the_order_of_their_times() {
    let server = Server::start();
    for entry in 1..=8 {
        let stream = format!("{{cache:{}}}:#stream:#invalidations", entry % 4);
        let what = format!("f:1:{entry}");
        let add = [
            "XADD",
            &stream,
            &format!("{entry}-0"),
            "who",
            "shop-1",
            "what",
            &what,
        ];
        let _: String = server.command(&add);
    }
    let url = server.url();
    let tail = [
        "tail", "--json", "--last", "3", "--count", "3", "--redis", &url,
    ];
    let mut command = program::command(&tail);
    command.env("MULTI_TIER_CACHED_REDIS_SHARDS", "4");
    let run = finish(command).await;
    let documents = run.documents();
    let whats: Vec<_> = documents.iter().map(|of| of["what"].as_str()).collect();
    assert_eq!(
        whats,
        [Some("f:1:6"), Some("f:1:7"), Some("f:1:8")],
        "{run:?}"
    );
}

#[tokio::test]
async fn unreadable_audit_is_not_reported_as_a_missing_permission() {
    let server = Server::start();
    let _: () = server.command(&["SET", "{cache:0}:#stream:#invalidations", "foreign"]);
    let url = server.url();
    let tail = tokio::spawn(finish(program::command(&[
        "tail", "--count", "1", "--redis", &url,
    ])));
    until("`tail` is subscribed", || is_subscribed(&server, CHANNEL)).await;
    let _: u64 = server.command(&["SPUBLISH", CHANNEL, "5:k:1"]);
    let run = tail.await.unwrap();
    assert!(
        run.errors.contains("cannot be read: ") && run.errors.contains("WRONGTYPE"),
        "{run:?}"
    );
    assert!(!run.errors.contains("ACL SETUSER"), "{run:?}");
    let run = program::run(&["explain", "f:1", "7", "--redis", &url]).await;
    assert!(run.output.contains("audit      not known: "), "{run:?}");
}

const CHANNEL: &str = "{cache:0}:#channel:0";

/// Returns `true` if `tail` is subscribed to the channel of this shard.
fn is_subscribed(server: &Server, channel: &str) -> bool {
    let (_, number): (String, u64) = server.command(&["PUBSUB", "SHARDNUMSUB", channel]);
    number > 0
}

#[tokio::test]
async fn missing_messages_are_reported_whatever_is_filtered() {
    let server = Server::start();
    let url = server.url();
    for (filter, lines) in [("", 3), ("nothing", 1)] {
        let count = lines.to_string();
        let tail = ["tail", filter, "--json", "--count", &count, "--redis", &url];
        let tail = tokio::spawn(finish(program::command(&tail)));
        until("`tail` is subscribed", || is_subscribed(&server, CHANNEL)).await;
        for message in ["5:k:1", "9:k:2"] {
            let _: u64 = server.command(&["SPUBLISH", CHANNEL, message]);
        }
        let run = tail.await.unwrap();
        let documents = run.documents();
        let gaps: Vec<_> = documents.iter().filter(|of| of["kind"] == "gap").collect();
        assert_eq!(gaps.len(), 1, "{run:?}");
        assert_eq!(
            (&gaps[0]["missing"], &gaps[0]["shard"]),
            (&3.into(), &0.into())
        );
        until("`tail` has ended", || !is_subscribed(&server, CHANNEL)).await;
    }
}

#[tokio::test]
async fn tail_ends_with_its_connections() {
    let mut server = Server::start();
    let url = server.url();
    let tail = tokio::spawn(finish(program::command(&["tail", "--redis", &url])));
    until("`tail` waits for entries of the audit", || {
        let info: String = server.command(&["INFO", "clients"]);
        info.contains("blocked_clients:1")
    })
    .await;
    server.kill();
    let run = tail.await.unwrap();
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(
        run.errors.contains("has ended; help: run `tail` again"),
        "{run:?}"
    );
}

#[tokio::test]
async fn tail_ends_if_the_slot_of_a_channel_is_moved() {
    let cluster = Cluster::start_with(&cluster::Options::new(3)).await;
    for node in cluster.nodes() {
        // The audit would end too, because the cluster has a slot without an owner.
        let _: () = node.command(&["ACL", "SETUSER", "default", "-xrevrange"]);
    }
    let seeds = cluster.urls().join(",");
    let tail = tokio::spawn(finish(program::command(&["tail", "--cluster", &seeds])));
    let last = "{cache:7}:#channel:0";
    let owner = cluster.primary_of(last).await;
    until("`tail` is subscribed to all channels", || {
        is_subscribed(cluster.node(owner), last)
    })
    .await;
    let slot = slot_of(CHANNEL);
    let node = cluster.node(cluster.primary_of_slot(slot).await);
    let _: () = node.command(&["CLUSTER", "DELSLOTS", &slot.to_string()]);
    let run = tail.await.unwrap();
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(
        run.errors.contains("channel of shard 0 has ended"),
        "{run:?}"
    );
}
