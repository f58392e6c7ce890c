//! The nodes of a cluster are found by seeds, and by the nodes that these have named.

use std::net::TcpListener;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Memory, Redis, invalidate, multi_tier_cached};

use testbed::cluster::{Cluster, slot_of};
use testbed::server::Server;
use testbed::{Instance, until};

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

fn connected(instance: &Instance) -> usize {
    let tiers = instance.tiers();
    let shards = tiers[0].shards.iter();
    shards
        .filter(|shard| shard.health.coherent_for.is_some())
        .count()
}

#[tokio::test]
async fn each_shard_is_on_the_node_of_its_slot_and_seeds_that_do_not_answer_are_skipped() {
    let mut cluster = Cluster::start(2).await;
    // A port on which connections are accepted by the system, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let seeds = [
        format!("127.0.0.1:{}", silent.local_addr().unwrap().port()),
        format!("127.0.0.1:{closed_port}"),
        // A replica names its primary, and the other one.
        cluster.node(3).url(),
    ];
    let here = Instance::with_redis(Redis::cluster(seeds).required()).await;
    assert_eq!(connected(&here), 8);
    for shard in &here.tiers()[0].shards {
        let slot = slot_of(&format!("{{cache:{}}}", shard.index));
        let node = cluster.node(usize::from(slot > 8191));
        let expected = format!("127.0.0.1:{}", node.port());
        assert_eq!(shard.health.address.as_deref(), Some(&*expected));
    }
    for key in 0..64 {
        here.call(read(key)).await;
    }
    assert_eq!(here.invalidate(invalidate!(read)).await, Receipt::Acked);
    // The only seed that answered ends, and one of the primaries that it has named.
    cluster.kill(3);
    let _ = cluster.kill_and_take_over(0).await;
    until("all shards are used again", || connected(&here) == 8).await;
    assert_eq!(here.invalidate(invalidate!(read)).await, Receipt::Acked);
}

#[tokio::test]
async fn seeds_without_an_answer_are_an_error_that_names_them() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let seed = closed.local_addr().unwrap().to_string();
    drop(closed);
    let redis = Redis::cluster([&seed]).connect_limit(Duration::from_millis(200));
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let error = builder.l2(redis.required()).build().await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains(&format!("the cluster of {seed}")), "{text}");
}

/// Shards need no cluster: a server alone has all of them.
#[tokio::test]
async fn server_alone_has_all_shards() {
    let server = Server::start();
    for redis in [
        Redis::cluster([server.url()]),
        Redis::new(server.url()).shards(8),
    ] {
        let here = Instance::with_redis(redis.required()).await;
        assert_eq!(connected(&here), 8);
        here.call(read(1)).await;
        assert_eq!(here.invalidate(invalidate!(read, 1)).await, Receipt::Acked);
        here.shutdown().await.unwrap();
    }
}
