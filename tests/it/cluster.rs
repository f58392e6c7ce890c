//! On a cluster a namespace is in one slot, and so on one node; whichever node is asked says which.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};
use testbed::server::Server;
use testbed::{build, until};
use tokio::time::{Instant, sleep};

static VERSION: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "1h")]
async fn read(_key: u64) -> u64 {
    VERSION.load(Ordering::SeqCst)
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

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

/// Two nodes with half of the slots each.
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

#[tokio::test]
async fn a_namespace_is_found_on_whichever_node_it_is() {
    let nodes = cluster().await;
    let mut homes = [0, 0];
    for namespace in ["a", "b", "c", "d", "e", "f"] {
        let redis = || Redis::new(nodes[0].url()).namespace(namespace);
        let (here, there) = (build(redis()).await, build(redis()).await);
        let version = VERSION.load(Ordering::SeqCst);
        assert_eq!(on(&there, read(1)).await, version);
        assert_eq!(on(&here, read(1)).await, version);
        let key = format!("{{{namespace}:0}}:#history");
        let home = nodes
            .iter()
            .position(|node| node.keys().contains(&key))
            .expect("it is on one of them");
        homes[home] += 1;
        VERSION.fetch_add(1, Ordering::SeqCst);
        let receipt = on(&here, async { invalidate!(read, 1).await });
        assert_eq!(receipt.await.unwrap(), Receipt::Acked);
        let invalidated = Instant::now();
        while on(&there, read(1)).await == version {
            assert!(invalidated.elapsed() < Duration::from_millis(500));
            sleep(Duration::from_millis(1)).await;
        }
        let whole = on(&here, async { invalidate!(read).await }).await;
        assert_eq!(whole.unwrap(), Receipt::Acked);
        let guard = on(&here, async { read::entry(1).write_guard().await });
        assert!(guard.await.unwrap().is_held());
    }
    assert!(homes.iter().all(|home| *home > 0), "{homes:?}");
}

/// The slot moves: the channel ends, and the other node is found.
#[tokio::test]
async fn a_namespace_that_moves_to_another_node_is_followed() {
    let nodes = cluster().await;
    let redis = || Redis::new(nodes[0].url()).namespace("a");
    let (here, there) = (build(redis()).await, build(redis()).await);
    let version = VERSION.load(Ordering::SeqCst);
    on(&there, read(2)).await;
    let slot: u64 = nodes[0].command(&["CLUSTER", "KEYSLOT", "{a:0}:"]);
    let slot = slot.to_string();
    let ids: Vec<String> = nodes
        .iter()
        .map(|node| node.command(&["CLUSTER", "MYID"]))
        .collect();
    let from = usize::from(!nodes[0].keys().iter().any(|key| key.contains("{a:0}")));
    let to = 1 - from;
    // As an administrator does who does not take the keys along.
    let _: () = nodes[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]);
    let _: () = nodes[from].command(&["FLUSHALL"]);
    for node in [to, from] {
        let _: () = nodes[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]);
    }
    until("both have followed", || {
        nodes[to].keys().iter().any(|key| key == "{a:0}:#history")
            && [&here, &there].iter().all(|runtime| {
                let health = runtime.tiers()[0].health.clone();
                health.connected && health.coherent_for.is_some() && health.isolations > 0
            })
    })
    .await;
    VERSION.fetch_add(1, Ordering::SeqCst);
    let receipt = on(&here, async { invalidate!(read, 2).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    sleep(Duration::from_millis(500)).await;
    assert!(on(&there, read(2)).await > version);
}

/// While a slot migrates its node refuses scripts of which some keys are not there.
#[tokio::test]
async fn link_is_made_while_the_slot_migrates_and_what_is_refused_is_sent_after_it() {
    let nodes = cluster().await;
    let redis = || Redis::new(nodes[0].url()).namespace("b");
    let here = build(redis()).await;
    on(&here, read(3)).await;
    let slot: u64 = nodes[0].command(&["CLUSTER", "KEYSLOT", "{b:0}:"]);
    let slot = slot.to_string();
    let from = usize::from(!nodes[0].keys().iter().any(|key| key.contains("{b:0}")));
    let to: String = nodes[1 - from].command(&["CLUSTER", "MYID"]);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    let receipt = on(&here, async { invalidate!(read, 4).await });
    assert_eq!(
        receipt.await.unwrap(),
        Receipt::Queued,
        "its record is not there"
    );
    let before = here.tiers()[0].health.isolations;
    let _: i64 = nodes[from].command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the link is made again", || {
        let health = here.tiers()[0].health.clone();
        health.isolations > before && health.connected && health.coherent_for.is_some()
    })
    .await;
    assert_eq!(here.tiers()[0].health.queued, 1);
    let _: () = nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]);
    until("it is sent", || here.tiers()[0].health.queued == 0).await;
}

/// The node that the namespace was on is gone for good; the first one knows who has its slots.
#[tokio::test]
async fn streams_find_a_namespace_whose_node_is_gone() {
    let mut nodes = cluster().await;
    let slot_of = |namespace: &str| {
        let key = format!("{{{namespace}:0}}:");
        nodes[0].command::<u64>(&["CLUSTER", "KEYSLOT", &key])
    };
    let namespace = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .find(|namespace| slot_of(namespace) > 8191)
        .expect("it is on one of them");
    let slot = slot_of(namespace).to_string();
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
