//! Instances that are set to different numbers of shards never serve each other's keys, whichever
//! comes first.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, ErrorKind, Memory, Redis, invalidate, multi_tier_cached};

use testbed::cluster::{self, Cluster, slot_of};
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, Truth, until, until_ok};

/// Different numbers of shards, in both orders.
const ORDERS: [(u8, u8); 4] = [(1, 8), (8, 1), (4, 8), (8, 4)];

/// Keys enough for one in each of eight shards.
const KEYS: u64 = 64;

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// A tier that a busy machine does not make give up.
fn patient(redis: Redis) -> Redis {
    let limit = Duration::from_secs(10);
    redis.connect_limit(limit).time_limit(limit)
}

fn redis(server: &Server, shards: u8) -> Redis {
    patient(Redis::new(server.url()).shards(shards))
}

async fn build(redis: Redis) -> Result<CacheRuntime, multi_tier_cached::Error> {
    let builder = CacheRuntime::builder().l1(Memory::builder()).l2(redis);
    builder.build().await
}

/// Asserts that `install` would refuse the settings, and that the error names the setting and both
/// numbers.
async fn assert_refused(redis: Redis, found: u8, own: u8) {
    let error = build(redis.required()).await.unwrap_err();
    let text = format!("{error:?}");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
    for part in [
        &format!("laid out for {found} shard"),
        &format!("set to {own} (`Redis::shards` or MULTI_TIER_CACHED_REDIS_SHARDS)"),
        &format!("shards({found})"),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

/// Waits until no shard is connected, and the health says why.
async fn until_isolated_by(instance: &Instance, found: u8) {
    let reason = format!("laid out for {found} shard");
    until_ok("the instance is isolated", async || {
        let health = instance.health().await;
        let tier = &health.tiers[0];
        let all = tier.shards.iter().map(|shard| &shard.health);
        let is_connected = all.chain([&tier.health]).any(|health| health.connected);
        let error = tier.last_error.clone().unwrap_or_default();
        match !is_connected && error.contains(&reason) {
            true => Ok(()),
            false => Err(health.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn instance_with_another_number_of_shards_is_refused_in_each_order_of_arrival() {
    for (first, second) in ORDERS {
        let server = Server::start();
        let redis = |shards| redis(&server, shards);
        let here = Instance::with_redis(redis(first)).await;
        let truth = Truth::new();
        for key in 0..KEYS {
            assert_eq!(here.call(read(&truth, key)).await, 1);
        }
        server.until_records(KEYS as usize).await;
        let before = server.keys();
        assert_refused(redis(second), first, second).await;
        let there = Instance::with_redis(redis(second)).await;
        until_isolated_by(&there, first).await;
        truth.commit();
        for key in 0..KEYS {
            // It reads nothing of the other layout, and stores nothing beside it.
            assert_eq!(there.call(read(&truth, key)).await, 2);
        }
        let queued = there.invalidate(invalidate!(read, &truth, 1)).await;
        assert_eq!(queued, Receipt::Queued);
        assert_eq!(server.keys(), before, "{second} after {first}");
        here.until_coherent().await;
        assert_eq!(here.call(read(&truth, 2)).await, 1, "the first one serves");
    }
}

/// A namespace without instances still has its records and its leases.
#[tokio::test]
async fn number_of_shards_of_instances_that_have_ended_is_kept() {
    for (first, second) in ORDERS {
        let server = Server::start();
        let redis = |shards| redis(&server, shards);
        let here = Instance::with_redis(redis(first)).await;
        here.shutdown().await.unwrap();
        assert_refused(redis(second), first, second).await;
        let again = build(redis(first).required()).await.unwrap();
        assert!(again.health().await.is_well());
    }
}

/// The instance that begins the history of shard 0 decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_layouts_that_arrive_at_the_same_time_is_used() {
    for (one, other) in [(1, 8), (4, 8)] {
        for _ in 0..3 {
            let server = Server::start();
            let redis = |shards| redis(&server, shards);
            let both = tokio::join!(
                Instance::with_redis(redis(one)),
                Instance::with_redis(redis(other)),
            );
            let decided: String = server.command(&["GET", "{cache:0}:#history"]);
            let of = |instance: &Instance, shards: u8| match shards {
                1 => !decided.contains('#') && instance.tier_health().connected,
                shards => decided.ends_with(&format!("#{shards}")),
            };
            let (winner, loser, winning, losing) = match of(&both.0, one) {
                true => (&both.0, &both.1, one, other),
                false => (&both.1, &both.0, other, one),
            };
            winner.until_coherent().await;
            until_isolated_by(loser, winning).await;
            assert_ne!(winning, losing);
        }
    }
}

/// The server of shard 0 has lost its data, and the instances of the namespace are not there to
/// restore it. The other shards still show the layout.
#[tokio::test]
async fn layout_is_seen_in_another_shard_if_shard_0_has_lost_its_data() {
    for other in [1, 4] {
        let server = Server::start();
        let redis = |shards| redis(&server, shards);
        let here = Instance::with_redis(redis(8)).await;
        here.shutdown().await.unwrap();
        lose_shard_0(&server);
        assert_refused(redis(other), 8, other).await;
        assert!(!server.keys().contains(&"{cache:0}:#history".to_owned()));
        let again = build(redis(8).required()).await.unwrap();
        assert!(again.health().await.is_well());
    }
}

/// Records of one shard are under the tag that shard 0 has in every layout. Without the history
/// that they were stored under, they are records of a server that lost its data.
#[tokio::test]
async fn records_of_one_shard_are_not_served_after_their_history_is_lost() {
    let server = Server::start();
    let redis = |shards| redis(&server, shards);
    let truth = Truth::new();
    let here = Instance::with_redis(redis(1)).await;
    for key in 0..KEYS {
        assert_eq!(here.call(read(&truth, key)).await, 1);
    }
    server.until_records(KEYS as usize).await;
    here.shutdown().await.unwrap();
    let _: i64 = server.command(&["DEL", "{cache:0}:#history"]);
    truth.commit();
    let there = Instance::with_redis(redis(8).required()).await;
    for key in 0..KEYS {
        assert_eq!(there.call(read(&truth, key)).await, 2);
    }
    assert_refused(redis(1), 8, 1).await;
}

/// An instance of one shard lives, and its history is evicted or deleted while an instance of eight
/// arrives: one of them has the namespace, and the other one serves nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_layout_has_the_namespace_if_the_history_of_a_running_instance_is_lost() {
    for _ in 0..3 {
        let server = Server::start();
        let redis = |shards| redis(&server, shards);
        let here = Instance::with_redis(redis(1)).await;
        let truth = Truth::new();
        here.call(read(&truth, 1)).await;
        for key in ["{cache:0}:#history", "{cache:0}:#sequence"] {
            let _: i64 = server.command(&["DEL", key]);
        }
        let there = Instance::with_redis(redis(8)).await;
        let decided: String = server.command(&["GET", "{cache:0}:#history"]);
        let (winner, loser, winning) = match decided.ends_with("#8") {
            true => (&there, &here, 8),
            false => (&here, &there, 1),
        };
        until_isolated_by(loser, winning).await;
        winner.until_coherent().await;
        truth.commit();
        winner.invalidate(invalidate!(read)).await;
        let current = winner.call(read(&truth, 1)).await;
        assert_eq!(current, 2);
    }
}

fn lose_shard_0(server: &Server) {
    for key in server.keys() {
        if key.starts_with("{cache:0}") {
            let _: i64 = server.command(&["DEL", &key]);
        }
    }
}

/// Shard 1 is on another node, which a redirection names.
#[tokio::test]
async fn layout_is_seen_on_another_node_if_the_node_of_shard_0_has_lost_its_data() {
    // The slots of shards 0 and 1 differ in bit 12, so they are never in different halves.
    let cluster = Cluster::start(3).await;
    let namespace = (0..1000)
        .map(|number| format!("n{number}"))
        .find(|name| {
            let is_first = |shard: u8| slot_of(&format!("{{{name}:{shard}}}")) < 5461;
            is_first(0) && !is_first(1)
        })
        .expect("a namespace whose first two shards are apart");
    let all = patient(Redis::cluster(cluster.urls()))
        .namespace(&namespace)
        .shards(2);
    let here = Instance::with_redis(all.clone().required()).await;
    here.shutdown().await.unwrap();
    let _: () = cluster.node(0).command(&["FLUSHALL"]);
    let one = patient(Redis::new(cluster.node(0).url())).namespace(&namespace);
    assert_refused(one, 2, 1).await;
    let again = build(all.required()).await.unwrap();
    assert!(again.health().await.is_well());
}

/// Another layout appears while links live: in shard 0, where the barrier sees it, or in another
/// shard.
#[tokio::test]
async fn all_shards_lose_their_links_if_one_has_another_layout_and_come_back_after_it() {
    for shard in [0, 5] {
        let server = Server::start();
        let redis = redis(&server, 8);
        let here = Instance::with_redis(redis).await;
        let truth = Truth::new();
        here.call(read(&truth, 1)).await;
        let history = format!("{{cache:{shard}}}:#history");
        let _: () = server.command(&["SET", &history, "7:some-server#4"]);
        until_isolated_by(&here, 4).await;
        let _: () = server.command(&["DEL", &history]);
        until("all shards are used again", || {
            let tiers = here.tiers();
            let mut shards = tiers[0].shards.iter();
            shards.all(|shard| shard.health.coherent_for.is_some())
        })
        .await;
    }
}

/// Until shard 0 has begun the first history, the namespace may get another layout. After that, the
/// node of shard 0 may be unreachable for long.
#[tokio::test]
async fn shards_wait_for_shard_0_until_the_namespace_has_begun() {
    let options = cluster::Options {
        // No replica is promoted.
        node_timeout: Duration::from_secs(100),
        ..cluster::Options::new(2)
    };
    let cluster = Cluster::start_with(&options).await;
    let of_first = cluster.primary_of("{cache:0}").await;
    let redis = Redis::cluster(cluster.urls()).connect_limit(Duration::from_secs(2));
    let shards = |instance: &Instance| instance.tiers()[0].shards.clone();
    let connected = |instance: &Instance| {
        let all = shards(instance).into_iter();
        all.filter(|shard| shard.health.connected).count()
    };
    cluster.freeze(of_first);
    let here = Instance::with_redis(redis).await;
    until_ok(
        "each shard of the other node says what it waits for",
        async || {
            let health = here.health().await;
            let tier = &health.tiers[0];
            let waits = |error: &Option<String>| {
                let error = error.as_deref().unwrap_or_default();
                error.contains("shard 0 (`{cache:0}`")
            };
            let shards = tier.shards.iter();
            let waiting = shards.clone().filter(|shard| waits(&shard.last_error));
            let is_right = waiting.count() == 4 && connected(&here) == 0;
            is_right.then_some(()).ok_or_else(|| format!("{tier:?}"))
        },
    )
    .await;
    cluster.thaw(of_first);
    until("all shards are connected", || connected(&here) == 8).await;
    cluster.freeze(of_first);
    until("the shards of the frozen node are lost", || {
        connected(&here) == 4
    })
    .await;
    let other = (0..2).find(|node| *node != of_first).expect("two nodes");
    let isolations = |instance: &Instance| -> Vec<u64> {
        let all = shards(instance).into_iter();
        let all = all.filter(|shard| shard.health.connected);
        all.map(|shard| shard.health.isolations).collect()
    };
    let before = isolations(&here);
    let kill = ["CLIENT", "KILL", "TYPE", "normal"];
    let _: i64 = cluster.node(other).command(&kill);
    let kill = ["CLIENT", "KILL", "TYPE", "pubsub"];
    let _: i64 = cluster.node(other).command(&kill);
    until("the others make their links again without shard 0", || {
        let after = isolations(&here);
        after.len() == 4
            && after
                .iter()
                .zip(&before)
                .all(|(after, before)| after > before)
    })
    .await;
    assert!(!shards(&here)[0].health.connected);
    cluster.thaw(of_first);
    until("all shards are connected again", || connected(&here) == 8).await;
}

/// Invalidations in the file of another layout would never be sent.
#[tokio::test]
async fn journal_file_of_another_number_of_shards_is_an_error_that_names_it() {
    let mut server = Server::start();
    let directory = Directory::new("journals");
    let path = directory.path().join("journal");
    let redis = |shards| redis(&server, shards).journal_file(&path);
    let of_eight = redis(8);
    let refused = [redis(1), redis(4)];
    let here = Instance::with_redis(of_eight.clone()).await;
    let truth = Truth::new();
    here.call(read(&truth, 1)).await;
    server.kill();
    here.until_disconnected().await;
    for key in 0..KEYS {
        let receipt = here.invalidate(invalidate!(read, &truth, key)).await;
        assert_eq!(receipt, Receipt::Queued);
    }
    here.shutdown().await.unwrap();
    for redis in refused {
        let error = build(redis).await.unwrap_err().to_string();
        assert!(error.contains("journal.0of8"), "{error}");
        assert!(error.contains("shards(8)"), "{error}");
    }
    server.restart();
    let here = Instance::with_redis(of_eight).await;
    here.until_queue_is_empty().await;
    assert!(
        here.tiers()[0]
            .shards
            .iter()
            .all(|shard| shard.health.replays > 0)
    );
}
