//! Behind sentinels, the primary that they name is used, and no other.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Error, ErrorKind, Memory, Redis, invalidate, multi_tier_cached,
};

use testbed::ask::ask;
use testbed::sentinel::{PRIMARY, Sentinels};
use testbed::server::Server;
use testbed::{Instance, Truth, until, until_ok, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// The address that the tier uses.
fn address(instance: &Instance) -> String {
    instance.tier_health().address.expect("an address")
}

async fn until_used(instance: &Instance, server: &Server) {
    let expected = format!("127.0.0.1:{}", server.port());
    until("the other server is used", || {
        let health = instance.tier_health();
        address(instance) == expected && health.connected && health.coherent_for.is_some()
    })
    .await;
}

/// A tier with a limit that a busy machine keeps to.
fn behind<S: Into<String>>(sentinels: impl IntoIterator<Item = S>, primary: &str) -> Redis {
    Redis::sentinel(sentinels, primary).connect_limit(Duration::from_secs(4))
}

async fn failure_of(redis: Redis) -> String {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let error: Error = builder.l2(redis.required()).build().await.unwrap_err();
    format!("{error:?}")
}

#[tokio::test]
async fn primary_that_is_replaced_is_followed_and_keeps_the_promises() {
    let mut all = Sentinels::start().await;
    let redis = || behind(all.addresses(), PRIMARY);
    let (here, there) = (
        Instance::with_redis(redis().required()).await,
        Instance::with_redis(redis().required()).await,
    );
    let streams = redis().streams().unwrap();
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    streams.publish("orders", &fields, None).await.unwrap();
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let acknowledged = async || {
        let invalidation = async { invalidate!(read, &truth, 2).replicated(1).await };
        here.call(invalidation).await.map(|_| ())
    };
    until_ok("a replica has it", acknowledged).await;
    let (_, new) = all.kill_primary().await;
    for instance in [&here, &there] {
        until_used(instance, all.server(new)).await;
    }
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    until_returns(2, BOUND, async || there.call(read(&truth, 1)).await).await;
    // The connections of the streams are made again at the next command.
    until_ok("a stream is written", async || {
        streams.publish("orders", &fields, None).await
    })
    .await;
    let entries = streams.read("orders", &After::Start, 10, Duration::from_millis(1));
    assert!(!entries.await.unwrap().is_empty());
}

/// Returns sentinels whose servers have a user `app`, and settings with it.
async fn with_user() -> (Sentinels, Redis) {
    let all = Sentinels::start().await;
    for server in all.servers() {
        let allow = ["ACL", "SETUSER", "app", "on", ">pw", "+@all", "~*", "&*"];
        let _: () = server.command(&allow);
    }
    let redis = behind(all.addresses(), PRIMARY).user("app").password("pw");
    (all, redis)
}

/// Lets the sentinels replace a primary that the user `app` can reach, and neither the sentinels
/// nor its replicas, so it never learns that it was replaced. Returns a connection to it.
fn cut_off(old: &Server) -> redis::Connection {
    // The sentinels and the replicas are the default user.
    let _: () = old.command(&["ACL", "SETUSER", "default", "off"]);
    let client = redis::Client::open(format!("redis://app:pw@127.0.0.1:{}", old.port())).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut kill = redis::cmd("CLIENT");
    let _: i64 = kill
        .arg("KILL")
        .arg("USER")
        .arg("default")
        .query(&mut connection)
        .unwrap();
    connection
}

#[tokio::test]
async fn primary_that_was_replaced_and_lives_on_is_left() {
    let (all, redis) = with_user().await;
    let here = Instance::with_redis(redis.required()).await;
    let old = all.server(all.primary().await);
    until_used(&here, old).await;
    let mut connection = cut_off(old);
    let before = here.tier_health().isolations;
    let expected = format!("127.0.0.1:{}", old.port());
    until("another primary is used", || address(&here) != expected).await;
    here.until_coherent().await;
    assert_eq!(here.tier_health().isolations, before + 1);
    let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection).unwrap();
    let role: String = redis::from_redis_value(role[0].clone()).unwrap();
    assert_eq!(role, "master", "the old one does not know");
    until_ok("an invalidation is acknowledged", async || {
        match here.invalidate(invalidate!(read)).await {
            Receipt::Acked => Ok(()),
            receipt @ Receipt::Queued => Err(format!("{receipt:?}")),
        }
    })
    .await;
}

/// Streams leave a primary that lives on, too: an entry that it acknowledges would be lost, and a
/// read that waits there would never return.
#[tokio::test]
async fn streams_leave_a_primary_that_was_replaced_and_lives_on() {
    let (all, redis) = with_user().await;
    let streams = redis.streams().unwrap();
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    streams.publish("orders", &fields, None).await.unwrap();
    let waiting = tokio::spawn({
        let streams = streams.clone();
        let wait = Duration::from_secs(50);
        async move { streams.read("waits", &After::Start, 1, wait).await }
    });
    let primary = all.primary().await;
    let mut connection = cut_off(all.server(primary));
    let new = until_ok("the primary is replaced", async || {
        match all.primary().await {
            new if new == primary => Err("not yet"),
            new => Ok(new),
        }
    })
    .await;
    let new = all.server(new);
    let key = |stream: &str| format!("{{cache:0}}:#stream:{stream}");
    until_ok("an entry is in the new primary", async || {
        let id = streams.publish("orders", &fields, None).await;
        let id = id.map_err(|error| error.to_string())?;
        let found: Vec<redis::Value> = new.command(&["XRANGE", &key("orders"), &id, &id]);
        match found.len() {
            1 => Ok(()),
            _ => Err(format!("{id} is not there")),
        }
    })
    .await;
    let mut length = redis::cmd("XLEN");
    length.arg(key("orders"));
    let before: u64 = length.query(&mut connection).unwrap();
    streams.publish("orders", &fields, None).await.unwrap();
    let after: u64 = length.query(&mut connection).unwrap();
    assert_eq!(after, before, "the old primary has no later entry");
    let _: String = new.command(&["XADD", &key("waits"), "*", "text", "b"]);
    until("the read that waited has moved, too", || {
        waiting.is_finished()
    })
    .await;
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1);
}

/// Sentinels that are configured with another primary count its failovers from zero.
#[tokio::test]
async fn primary_that_the_sentinels_do_not_name_any_more_is_left() {
    let all = Sentinels::start().await;
    let redis = || behind(all.addresses(), PRIMARY).required();
    let here = Instance::with_redis(redis()).await;
    let old = all.primary().await;
    until_used(&here, all.server(old)).await;
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    for sentinel in all.sentinels() {
        let remove = ["SENTINEL", "REMOVE", PRIMARY];
        let _: () = ask(sentinel.port(), &remove).await.unwrap();
    }
    let new = all.server((old + 1) % all.servers().len());
    let _: () = new.command(&["REPLICAOF", "NO", "ONE"]);
    let port = new.port().to_string();
    for sentinel in all.sentinels() {
        let monitor = ["SENTINEL", "MONITOR", PRIMARY, "127.0.0.1", &port, "2"];
        let _: () = ask(sentinel.port(), &monitor).await.unwrap();
    }
    let there = Instance::with_redis(redis()).await;
    until_used(&here, new).await;
    until_used(&there, new).await;
    truth.commit();
    let receipt = there.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    until_returns(2, BOUND, async || here.call(read(&truth, 1)).await).await;
}

#[tokio::test]
async fn sentinels_have_a_password_of_their_own() {
    let all = Sentinels::start().await;
    for sentinel in all.sentinels() {
        let allow = ["ACL", "SETUSER", "watch", "on", ">s3cret", "+@all"];
        let _: () = ask(sentinel.port(), &allow).await.unwrap();
        let _: () = ask(sentinel.port(), &["ACL", "SETUSER", "default", "off"])
            .await
            .unwrap();
    }
    let redis = || behind(all.addresses(), PRIMARY);
    let error = failure_of(redis()).await;
    assert!(error.contains("sentinel"), "{error}");
    let error = failure_of(redis().sentinel_user("watch").sentinel_password("wr0ng")).await;
    assert!(!error.contains("wr0ng"), "{error}");
    let right = redis().sentinel_user("watch").sentinel_password("s3cret");
    let here = Instance::with_redis(right.required()).await;
    assert!(here.health().await.is_well());
}

#[tokio::test]
async fn name_that_the_sentinels_do_not_know_is_an_error_that_says_what_to_set() {
    let all = Sentinels::start().await;
    let redis = behind(all.addresses(), "theirmaster");
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let error = builder.l2(redis.required()).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = format!("{error:?}");
    for part in ["`theirmaster`", "sentinel monitor"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn sentinel_that_does_not_answer_is_not_waited_for() {
    let mut all = Sentinels::start().await;
    let mut addresses = all.addresses();
    all.sentinels()[0].freeze();
    let redis = behind(&addresses, PRIMARY).required();
    let here = Instance::with_redis(redis).await;
    assert!(here.health().await.is_well());
    // Two of three do not answer: the one that does is enough.
    addresses.rotate_left(1);
    all.sentinels()[1].freeze();
    let there = Instance::with_redis(behind(&addresses, PRIMARY).required()).await;
    assert!(there.health().await.is_well());
    all.kill(0);
    let error = failure_of(behind(&addresses[2..], PRIMARY)).await;
    assert!(error.contains("`mymaster` of the sentinels"), "{error}");
}
