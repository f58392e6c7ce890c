//! An outage of Redis does not affect functions that do not use it, and health shows it.

use std::time::Duration;

use multi_tier_cached::tier::Breaker;
use multi_tier_cached::{CacheRuntime, Disk, Memory, WhenIsolated, multi_tier_cached};

use testbed::deployment::Deployment;
use testbed::directory::Directory;
use testbed::{Instance, Truth, assert_count, assert_reads, until};

const KEYS: u64 = 200;

/// One source of truth for each function.
#[derive(Default)]
struct Truths {
    in_memory: Truth,
    on_disk: Truth,
    plain: Truth,
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
async fn in_memory(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1,l3", skip(truth))]
async fn on_disk(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
fn plain(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn in_redis(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Calls the functions without Redis for each key, and one key of the function with it.
async fn call_all(instance: &Instance, truths: &Truths) {
    let calls = async {
        for key in 0..KEYS {
            in_memory(&truths.in_memory, key).await;
            on_disk(&truths.on_disk, key).await;
            plain(&truths.plain, key);
        }
        in_redis(&Truth::new(), 0).await;
    };
    instance.call(calls).await;
}

/// Asserts that each function without Redis was loaded once for each key.
async fn assert_loaded_once(instance: &Instance, truths: &Truths, when: &str) {
    let loads = [&truths.in_memory, &truths.on_disk, &truths.plain].map(Truth::reads);
    let what = format!("loads in memory, on disk, and of a plain function, {when}");
    assert_count(&what, loads, [KEYS; 3], &[instance]).await;
}

async fn until_redis_is_used(instance: &Instance) {
    until("Redis is used", || {
        instance.tiers()[0].breaker == Breaker::Closed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_outages_of_redis_cost_functions_without_it_no_load() {
    let mut servers = Deployment::start().await;
    let directory = Directory::new("outages");
    let redis = servers
        .redis()
        .time_limit(Duration::from_millis(50))
        .staleness_bound(Duration::from_millis(100));
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(redis)
        .l3(Disk::new(directory.path()));
    let (here, truths) = (Instance::build(tiers).await, Truths::default());
    call_all(&here, &truths).await;
    assert_loaded_once(&here, &truths, "before any outage").await;
    for outage in 0..10 {
        let before = here.tier_health().isolations;
        match outage % 2 {
            0 => servers.kill(),
            _ => servers.freeze(),
        }
        here.until_isolated_since(before).await;
        call_all(&here, &truths).await;
        match outage % 2 {
            0 => servers.restart(),
            _ => servers.thaw(),
        }
        until_redis_is_used(&here).await;
        call_all(&here, &truths).await;
        assert_loaded_once(&here, &truths, &format!("after outage {outage}")).await;
    }
    here.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_channel_voids_no_value_of_a_function_with_memory_only() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let truth = Truth::new();
    let call_all = async || {
        for key in 0..1_000 {
            here.call(in_memory(&truth, key)).await;
        }
    };
    call_all().await;
    let before = here.tier_health().isolations;
    servers.on_primaries(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    here.until_isolated_since(before).await;
    until_redis_is_used(&here).await;
    call_all().await;
    assert_reads(&truth, 1_000, &[&here]).await;
}

#[tokio::test]
async fn isolated_runtime_serves_or_loads_as_its_builder_says() {
    for (when_isolated, expected) in [(WhenIsolated::Serve, 1), (WhenIsolated::Load, 2)] {
        let mut servers = Deployment::start().await;
        let tiers = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(servers.redis())
            .when_isolated(when_isolated);
        let (here, truth) = (Instance::build(tiers).await, Truth::new());
        assert_eq!(here.call(in_redis(&truth, 1)).await, 1);
        servers.kill();
        here.until_disconnected().await;
        truth.commit();
        let found = here.call(in_redis(&truth, 1)).await;
        assert_eq!(found, expected, "{when_isolated:?}");
    }
}

#[tokio::test]
async fn health_shows_whether_the_server_answers() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let health = here.health().await;
    assert!(health.is_well(), "{health}");
    let table = health.to_string();
    assert!(table.contains("l2  redis      closed"), "{table}");
    servers.freeze();
    let health = here.health().await;
    servers.thaw();
    assert_eq!(health.tiers[0].answered_in, None);
    assert!(!health.is_well(), "{health}");
}
