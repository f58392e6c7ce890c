//! On a cluster, a namespace is in one slot and so on one node, which any node names.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Redis, invalidate, multi_tier_cached};

use testbed::cluster::{Cluster, slot_of};
use testbed::{Instance, Truth, until, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Returns the name of the key with the history of a namespace in one slot.
fn history_of(namespace: &str) -> String {
    format!("{{{namespace}:0}}:#history")
}

/// Two instances that are given the address of the first node only.
async fn two_in(cluster: &Cluster, namespace: &str) -> (Instance, Instance) {
    let redis = || Redis::new(cluster.node(0).url()).namespace(namespace);
    (
        Instance::with_redis(redis()).await,
        Instance::with_redis(redis()).await,
    )
}

#[tokio::test]
async fn namespace_is_used_on_whichever_node_has_its_slot() {
    let cluster = Cluster::start(2).await;
    let mut used = [0, 0];
    for namespace in ["a", "b", "c", "d", "e", "f"] {
        let (here, there) = two_in(&cluster, namespace).await;
        let truth = Truth::new();
        assert_eq!(there.call(read(&truth, 1)).await, 1);
        assert_eq!(here.call(read(&truth, 1)).await, 1);
        used[cluster.primary_of(&history_of(namespace)).await] += 1;
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

/// The slot moves with its keys. The channel ends, and the link is made again at the other node.
#[tokio::test]
async fn link_follows_a_namespace_that_moves_to_another_node() {
    let cluster = Cluster::start(2).await;
    let (here, there) = two_in(&cluster, "a").await;
    let truth = Truth::new();
    there.call(read(&truth, 2)).await;
    let slot = slot_of(&history_of("a"));
    let from = cluster.primary_of_slot(slot).await;
    cluster.migrate(slot, 1 - from).await;
    let keys = cluster.node(1 - from).keys();
    assert!(keys.contains(&history_of("a")), "{keys:?}");
    until("both instances have followed", || {
        [&here, &there].iter().all(|instance| {
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
    let cluster = Cluster::start(2).await;
    let redis = Redis::new(cluster.node(0).url()).namespace("b");
    let here = Instance::with_redis(redis).await;
    let truth = Truth::new();
    here.call(read(&truth, 3)).await;
    let slot = slot_of(&history_of("b"));
    let from = cluster.primary_of_slot(slot).await;
    cluster.begin_migration(slot, 1 - from).await;
    let receipt = here.invalidate(invalidate!(read, &truth, 4)).await;
    assert_eq!(receipt, Receipt::Queued, "the node has no record of it");
    let before = here.tier_health().isolations;
    let kill = ["CLIENT", "KILL", "TYPE", "pubsub"];
    let _: i64 = cluster.node(from).command(&kill);
    until("the link is made again", || {
        let health = here.tier_health();
        health.isolations > before && health.connected && health.coherent_for.is_some()
    })
    .await;
    assert_eq!(here.tier_health().queued, 1);
    cluster.end_migration(slot, 1 - from).await;
    here.until_queue_is_empty().await;
}

/// The node of the namespace fails for good, and the first node names the new owner of its slots.
#[tokio::test]
async fn streams_find_their_namespace_after_its_node_has_failed() {
    let mut cluster = Cluster::start(3).await;
    let namespace = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .find(|namespace| slot_of(&history_of(namespace)) > 16_383 / 3)
        .expect("another node than the first has one of them");
    let node = cluster.primary_of(&history_of(namespace)).await;
    let redis = Redis::new(cluster.node(0).url()).namespace(namespace);
    let streams = redis.streams().unwrap();
    let wait = Duration::from_millis(1);
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    let publish = || streams.publish("orders", &fields, None);
    publish().await.unwrap();
    let read = || streams.read("orders", &After::Start, 10, wait);
    assert_eq!(read().await.unwrap().len(), 1);
    // The replica that replaces the node has the entry.
    let _: u64 = cluster.node(node).command(&["WAIT", "1", "5000"]);
    cluster.kill_primary(node).await;
    assert_eq!(read().await.unwrap().len(), 1);
    publish().await.unwrap();
    assert_eq!(read().await.unwrap().len(), 2);
}
