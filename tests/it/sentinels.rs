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

async fn failure_of(redis: Redis) -> String {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let error: Error = builder.l2(redis.required()).build().await.unwrap_err();
    format!("{error:?}")
}

#[tokio::test]
async fn primary_that_is_replaced_is_followed_and_keeps_the_promises() {
    let mut all = Sentinels::start().await;
    let redis = || Redis::sentinel(all.addresses(), PRIMARY);
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

/// The primary can be reached by this instance, and neither by the sentinels nor by its replicas, so
/// it is never told that it was replaced.
#[tokio::test]
async fn primary_that_was_replaced_and_lives_on_is_left() {
    let all = Sentinels::start().await;
    for server in all.servers() {
        let allow = ["ACL", "SETUSER", "app", "on", ">pw", "+@all", "~*", "&*"];
        let _: () = server.command(&allow);
    }
    let redis = Redis::sentinel(all.addresses(), PRIMARY)
        .user("app")
        .password("pw");
    let here = Instance::with_redis(redis.required()).await;
    let old = all.server(all.primary().await);
    until_used(&here, old).await;
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
            receipt => Err(format!("{receipt:?}")),
        }
    })
    .await;
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
    let redis = || Redis::sentinel(all.addresses(), PRIMARY);
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
    let redis = Redis::sentinel(all.addresses(), "theirmaster");
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
    let redis = Redis::sentinel(&addresses, PRIMARY).required();
    let here = Instance::with_redis(redis).await;
    assert!(here.health().await.is_well());
    // Two of three do not answer: the one that does is enough.
    addresses.rotate_left(1);
    all.sentinels()[1].freeze();
    let there = Instance::with_redis(Redis::sentinel(&addresses, PRIMARY).required()).await;
    assert!(there.health().await.is_well());
    all.kill(0);
    let error = failure_of(Redis::sentinel(&addresses[2..], PRIMARY)).await;
    assert!(error.contains("`mymaster` of the sentinels"), "{error}");
}
