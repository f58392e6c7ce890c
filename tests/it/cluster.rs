//! On a cluster, a namespace is in one slot and so on one node, which any node names.

use std::net::TcpListener;
use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Redis, invalidate, multi_tier_cached};

use testbed::server::Server;
use testbed::{Instance, Truth, until, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Starts a node, whose cluster bus gets a free port.
fn node() -> Server {
    let bus = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = bus.local_addr().unwrap().port().to_string();
    drop(bus);
    Server::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &port,
        "--cluster-require-full-coverage",
        "no",
    ])
}

/// Starts two nodes with half of the slots each.
async fn cluster() -> [Server; 2] {
    let nodes = [node(), node()];
    for (node, (from, to)) in nodes.iter().zip([("0", "8191"), ("8192", "16383")]) {
        let _: () = node.command(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
    }
    let info: String = nodes[1].command(&["CLUSTER", "NODES"]);
    let address = info.split(' ').nth(1).unwrap();
    let (port, bus) = address.split_once('@').unwrap();
    let port = port.rsplit(':').next().unwrap();
    let bus = bus.split(',').next().unwrap();
    let _: () = nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", port, bus]);
    until("the nodes have met", || {
        nodes.iter().all(|node| {
            let info: String = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
    })
    .await;
    nodes
}

/// Returns the index of the node that has the history of the namespace.
fn node_of(nodes: &[Server; 2], namespace: &str) -> usize {
    let key = format!("{{{namespace}:0}}:#history");
    let mut nodes = nodes.iter();
    let found = nodes.position(|node| node.keys().contains(&key));
    found.expect("the namespace is on one of the nodes")
}

/// Returns the slot of the namespace.
fn slot_of(nodes: &[Server; 2], namespace: &str) -> u64 {
    let key = format!("{{{namespace}:0}}:");
    nodes[0].command(&["CLUSTER", "KEYSLOT", &key])
}

/// Two instances that are given the address of the first node only.
async fn two_in(nodes: &[Server; 2], namespace: &str) -> (Instance, Instance) {
    let redis = || Redis::new(nodes[0].url()).namespace(namespace);
    (
        Instance::with_redis(redis()).await,
        Instance::with_redis(redis()).await,
    )
}

#[tokio::test]
async fn namespace_is_used_on_whichever_node_has_its_slot() {
    let nodes = cluster().await;
    let mut used = [0, 0];
    for namespace in ["a", "b", "c", "d", "e", "f"] {
        let (here, there) = two_in(&nodes, namespace).await;
        let truth = Truth::new();
        assert_eq!(there.call(read(&truth, 1)).await, 1);
        assert_eq!(here.call(read(&truth, 1)).await, 1);
        used[node_of(&nodes, namespace)] += 1;
        truth.commit();
        let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
        assert_eq!(receipt, Receipt::Acked);
        until_returns(2, BOUND, async || there.call(read(&truth, 1)).await).await;
        assert_eq!(here.invalidate(invalidate!(read)).await, Receipt::Acked);
        let entry = read::entry(&truth, 1);
        let guard = here.call(entry.write_guard()).await.unwrap();
        assert!(guard.is_held());
    }
    let both_are_used = used.iter().all(|namespaces| *namespaces > 0);
    assert!(both_are_used, "{used:?}");
}

/// The slot moves without its keys. The channel ends, and the link is made again at the other node.
#[tokio::test]
async fn link_follows_a_namespace_that_moves_to_another_node() {
    let nodes = cluster().await;
    let (here, there) = two_in(&nodes, "a").await;
    let truth = Truth::new();
    there.call(read(&truth, 2)).await;
    let slot = slot_of(&nodes, "a").to_string();
    let ids: Vec<String> = nodes
        .iter()
        .map(|node| node.command(&["CLUSTER", "MYID"]))
        .collect();
    let from = node_of(&nodes, "a");
    let to = 1 - from;
    let _: () = nodes[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]);
    let _: () = nodes[from].command(&["FLUSHALL"]);
    for node in [to, from] {
        let _: () = nodes[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]);
    }
    until("both instances have followed", || {
        nodes[to].keys().iter().any(|key| key == "{a:0}:#history")
            && [&here, &there].iter().all(|instance| {
                let health = instance.tier_health();
                health.connected && health.coherent_for.is_some() && health.isolations > 0
            })
    })
    .await;
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 2)).await;
    assert_eq!(receipt, Receipt::Acked);
    until_returns(2, BOUND, async || there.call(read(&truth, 2)).await).await;
}

/// While a slot migrates, its node refuses scripts if it does not have all of their keys.
#[tokio::test]
async fn link_is_made_while_the_slot_migrates_and_refused_invalidations_are_sent_after_it() {
    let nodes = cluster().await;
    let redis = Redis::new(nodes[0].url()).namespace("b");
    let here = Instance::with_redis(redis).await;
    let truth = Truth::new();
    here.call(read(&truth, 3)).await;
    let slot = slot_of(&nodes, "b").to_string();
    let from = node_of(&nodes, "b");
    let to: String = nodes[1 - from].command(&["CLUSTER", "MYID"]);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    let receipt = here.invalidate(invalidate!(read, &truth, 4)).await;
    assert_eq!(receipt, Receipt::Queued, "the node has no record of it");
    let before = here.tier_health().isolations;
    let _: i64 = nodes[from].command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the link is made again", || {
        let health = here.tier_health();
        health.isolations > before && health.connected && health.coherent_for.is_some()
    })
    .await;
    assert_eq!(here.tier_health().queued, 1);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    here.until_queue_is_empty().await;
}

/// The node of the namespace fails for good, and the first node names the new owner of its slots.
#[tokio::test]
async fn streams_find_their_namespace_after_its_node_has_failed() {
    let mut nodes = cluster().await;
    let namespace = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .find(|namespace| slot_of(&nodes, namespace) > 8191)
        .expect("the second node has one of them");
    let slot = slot_of(&nodes, namespace).to_string();
    let redis = Redis::new(nodes[0].url()).namespace(namespace);
    let streams = redis.streams().unwrap();
    let wait = Duration::from_millis(1);
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    let publish = || streams.publish("orders", &fields, None);
    publish().await.unwrap();
    let read = || streams.read("orders", &After::Start, 10, wait);
    assert_eq!(read().await.unwrap().len(), 1);
    nodes[1].kill();
    let own: String = nodes[0].command(&["CLUSTER", "MYID"]);
    let _: () = nodes[0].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &own]);
    assert_eq!(read().await.unwrap(), []);
    publish().await.unwrap();
    assert_eq!(read().await.unwrap().len(), 1);
}
