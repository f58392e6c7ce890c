//! Tags and expiries of values that instances with memcached have in their memory.

use std::convert::Infallible;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Function, Level, Memcached, Tag};
use testbed::memcached::Memcached as Server;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::{Instance, Truth, until};
use tokio::time::{Instant, sleep, timeout};

use super::{BOUND, instance, two_instances, url};

const HOUR: Duration = Duration::from_secs(3_600);

/// A function of one test, whose values carry the tag of their user.
fn tagged(test: &str) -> Function<u64> {
    let function = Function::builder(format!("it::tagged::{test}"));
    function.ttl(HOUR).tags(["user:{0}"]).build().unwrap()
}

/// A function without tags.
fn untagged(test: &str) -> Function<u64> {
    let function = Function::builder(format!("it::untagged::{test}"));
    function.ttl(HOUR).build().unwrap()
}

fn user(number: u64) -> Tag {
    Tag::new(format!("user:{number}"))
}

async fn read(here: &Instance, function: &Function<u64>, truth: &Truth, user: u64) -> u64 {
    let load = || async { Ok::<_, Infallible>(truth.read()) };
    let Ok(version) = here.call(function.get_or_load((user,), load)).await;
    version
}

/// Asserts that calls return `new` before the staleness bound has passed, and returns how long it
/// took.
async fn assert_read_within_bound(
    there: &Instance,
    function: &Function<u64>,
    truth: &Truth,
    new: u64,
) {
    let began = Instant::now();
    while read(there, function, truth, 1).await != new {
        let passed = began.elapsed();
        assert!(passed < BOUND, "{passed:?}: {}", there.snapshot().await);
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn memory_of_all_instances_drops_the_values_of_a_tag_and_no_others() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let (function, other, truth) = (tagged("heard"), untagged("heard"), Truth::new());
    for instance in [&here, &there] {
        for user in [1, 2] {
            assert_eq!(read(instance, &function, &truth, user).await, 1);
            assert_eq!(read(instance, &other, &truth, user).await, 1);
        }
    }
    truth.commit();
    let receipt = here.invalidate(here.invalidate_tags([user(1), user(7)]));
    assert_eq!(receipt.await, Receipt::Acked);
    assert_eq!(read(&here, &function, &truth, 1).await, 2);
    assert_read_within_bound(&there, &function, &truth, 2).await;
    for instance in [&here, &there] {
        assert_eq!(read(instance, &function, &truth, 2).await, 1);
        assert_eq!(read(instance, &other, &truth, 1).await, 1);
        assert_eq!(instance.tier_health().gaps, 0, "each message was known");
    }
}

#[tokio::test]
async fn tagged_value_is_not_stored_and_an_untagged_one_is() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let (function, other, truth) = (tagged("stored"), untagged("stored"), Truth::new());
    assert_eq!(read(&here, &function, &truth, 1).await, 1);
    assert_eq!(read(&here, &other, &truth, 1).await, 1);
    until("the untagged value is stored", || {
        server.has_item("mtc:it::untagged::stored:1:1")
    })
    .await;
    truth.commit();
    assert_eq!(read(&there, &other, &truth, 1).await, 1);
    assert_eq!(read(&there, &function, &truth, 1).await, 2, "it was loaded");
    let stats = here.stats();
    let of_tagged = stats
        .functions
        .iter()
        .find(|stats| stats.name == "it::tagged::stored");
    let of_tagged = of_tagged.expect("a function that was called");
    let of_tier = of_tagged.tier(Level::L2).expect("the second tier");
    assert_eq!(of_tier.refused_fills.tags, 1, "{stats}");
}

#[tokio::test]
async fn tag_that_was_invalidated_during_an_outage_is_sent_after_it() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(url(proxy.port()))).await;
    let there = instance(Memcached::new(server.url())).await;
    let (function, truth) = (tagged("queued"), Truth::new());
    for instance in [&here, &there] {
        assert_eq!(read(instance, &function, &truth, 1).await, 1);
        assert_eq!(read(instance, &function, &truth, 2).await, 1);
    }
    proxy.set(NetworkFault::Cut);
    here.until_disconnected().await;
    truth.commit();
    let receipt = here.invalidate(here.invalidate_tags([user(1)]));
    assert_eq!(receipt.await, Receipt::Queued);
    // A dropped invalidation is sent as well.
    let dropped = timeout(Duration::ZERO, here.expire_tags([user(2)]));
    let _ = here.call(dropped).await;
    assert_eq!(here.tier_health().queued, 2);
    assert_eq!(read(&here, &function, &truth, 1).await, 2);
    assert_eq!(
        read(&there, &function, &truth, 1).await,
        1,
        "the other instance cannot know of it"
    );
    proxy.set(NetworkFault::Fair);
    let settled = here.invalidate_tags([user(3)]).settled();
    here.call(settled).await.expect("the tags are sent");
    let health = here.tier_health();
    assert!(health.queued == 0 && health.replays >= 2, "{health:?}");
    assert_eq!(read(&there, &function, &truth, 1).await, 2);
    assert_eq!(read(&there, &function, &truth, 2).await, 2);
    assert_eq!(there.tier_health().gaps, 0);
}

#[tokio::test]
async fn more_tags_than_can_be_pending_are_sent_as_all_tags() {
    let server = Server::start();
    let (here, there) = (
        instance(Memcached::new(server.url())).await,
        instance(Memcached::new(server.url())).await,
    );
    let (function, truth) = (tagged("many"), Truth::new());
    assert_eq!(read(&there, &function, &truth, 1).await, 1);
    truth.commit();
    let others = 1_000_000..1_066_000;
    let settled = here.invalidate_tags(others.map(user)).settled();
    here.call(settled).await.expect("the tags are sent");
    assert_eq!(here.tier_health().queued, 0);
    assert_eq!(read(&there, &function, &truth, 1).await, 2);
}

#[tokio::test]
async fn shutdown_with_an_unsent_tag_is_an_error() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = instance(Memcached::new(url(proxy.port()))).await;
    proxy.set(NetworkFault::Cut);
    here.until_disconnected().await;
    let receipt = here.invalidate(here.invalidate_tags([user(1), user(2)]));
    assert_eq!(receipt.await, Receipt::Queued);
    let error = here.shutdown().await.expect_err("a tag is lost");
    let text = error.to_string();
    assert!(text.ends_with("before the shutdown: 2"), "{text}");
}

/// A function whose values may be returned for an hour after they are stale, instead of the error
/// of a load.
fn with_window() -> Function<u64> {
    let function = Function::builder("it::memcached::window").ttl(HOUR);
    function.stale_if_error(HOUR).build().unwrap()
}

#[tokio::test]
async fn expired_key_is_stale_in_the_memory_of_all_instances_and_not_in_the_server() {
    let server = Server::start();
    let (here, there) = two_instances(&server).await;
    let (function, truth) = (with_window(), Truth::new());
    for instance in [&here, &there] {
        for user in [1, 2] {
            assert_eq!(read(instance, &function, &truth, user).await, 1);
        }
    }
    let record = "mtc:it::memcached::window:1:1";
    until("the record is stored", || server.has_item(record)).await;
    let entry = function.entry((1_u64,));
    assert_eq!(here.call(entry.expire()).await.unwrap(), Receipt::Acked);
    assert!(!server.has_item(record), "a load in progress has no lease");
    for instance in [&here, &there] {
        let fails = async |user: u64| {
            let load = || async { Err::<u64, _>("the database is down") };
            let call = function.get_or_load((user,), load);
            instance.call(call).await
        };
        let began = Instant::now();
        // The value is returned in place of an error, or while the key is backed off.
        while stale_hits(instance) == 0 {
            assert_eq!(fails(1).await, Ok(1), "{}", instance.stats());
            assert!(began.elapsed() < BOUND, "{}", instance.stats());
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(fails(2).await, Ok(1), "{}", instance.stats());
        assert_eq!(stale_hits(instance), 1, "another key is fresh");
    }
}

fn stale_hits(instance: &Instance) -> u64 {
    let stats = instance.stats();
    let memory = stats.functions[0].tier(Level::L1);
    memory.expect("memory").stale_hits
}
