//! An invalidation that the server may not have is queued, sent later, and respected until then.

use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};

use testbed::deployment::Deployment;
use testbed::log::Log;
use testbed::proxy::{End, NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{Instance, Truth, assert_loads, assert_reads, poll_until, until, until_returns};

const BOUND: Duration = Duration::from_millis(500);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Commits a new version and invalidates key 1.
async fn change(instance: &Instance, truth: &Truth) -> Receipt {
    truth.commit();
    instance.invalidate(invalidate!(read, truth, 1)).await
}

/// Lets the servers refuse scripts, or run them again. They answer reads in either case.
fn permit_scripts(servers: &Deployment, is_permitted: bool) {
    let rule = if is_permitted { "+evalsha" } else { "-evalsha" };
    servers.on_all(&["ACL", "SETUSER", "default", rule]);
}

#[tokio::test]
async fn invalidation_during_an_outage_is_sent_after_the_reconnect() {
    let log = Log::default();
    let _captured = log.capture();
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let other = servers.instance().await;
    let redis = servers.redis_through(&network).staleness_bound(BOUND);
    let cut = Instance::with_redis(redis).await;
    let truth = Truth::new();
    assert_eq!(cut.call(read(&truth, 1)).await, 1);
    assert_eq!(other.call(read(&truth, 1)).await, 1);
    network.set(NetworkFault::Cut);
    cut.until_disconnected().await;
    assert_eq!(change(&cut, &truth).await, Receipt::Queued);
    assert_eq!(cut.tier_health().queued, 1);
    let warnings = log.lines_with("an invalidation could not be sent");
    assert!(
        warnings.len() == 1 && warnings[0].contains("WARN"),
        "{warnings:?}"
    );
    let own = cut.call(read(&truth, 1)).await;
    assert_eq!(own, 2, "the invalidating instance, at once");
    let others = other.call(read(&truth, 1)).await;
    assert_eq!(others, 1, "the other instance cannot know yet");
    network.set(NetworkFault::Fair);
    cut.until_queue_is_empty().await;
    assert_eq!(cut.tier_health().replays, 1);
    until_returns(2, BOUND, async || other.call(read(&truth, 1)).await).await;
}

/// The instance cannot know how far an invalidation came that was dropped, so it sends it again.
#[tokio::test]
async fn invalidation_that_is_dropped_after_its_first_poll_is_still_sent() {
    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    servers.freeze();
    truth.commit();
    let mut invalidation = Box::pin(here.call(invalidate!(read, &truth, 1)));
    assert!(poll_until(&mut invalidation, 1).await.is_pending());
    drop(invalidation);
    servers.thaw();
    until("the invalidation is sent", || {
        let health = here.tier_health();
        health.queued == 0 && health.connected
    })
    .await;
    until_returns(2, BOUND, async || there.call(read(&truth, 1)).await).await;
}

/// The old primary lives on for a while with an instance that invalidates there, and the instances
/// on the new one do not learn of it. The instance that moves last does not begin the new history.
#[tokio::test]
async fn invalidation_that_a_replaced_server_acknowledged_is_sent_to_its_replacement() {
    let (old, new) = (Server::start(), Server::start());
    let (first, last) = (Proxy::to(old.port()).await, Proxy::to(old.port()).await);
    let here = Instance::with_redis(Redis::new(first.url())).await;
    let there = Instance::with_redis(Redis::new(last.url())).await;
    let truth = Truth::new();
    let move_to_new = async |proxy: &Proxy, instance: &Instance| {
        let before = instance.tier_health().history_changes;
        proxy.repoint(new.port());
        proxy.end(End::Reset);
        until("the instance has moved", || {
            let health = instance.tier_health();
            health.history_changes > before && health.connected
        })
        .await;
    };
    move_to_new(&first, &here).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    assert_eq!(change(&there, &truth).await, Receipt::Acked);
    move_to_new(&last, &there).await;
    until_returns(2, BOUND, async || here.call(read(&truth, 1)).await).await;
}

/// They are more than an attempt to connect could send one by one.
#[tokio::test]
async fn thousand_queued_invalidations_are_sent_over_a_slow_link() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let redis = servers.redis_through(&network);
    let redis = redis.connect_limit(Duration::from_millis(500));
    let here = Instance::with_redis(redis).await;
    let truth = Truth::new();
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    for key in 0..1_000 {
        let receipt = here.invalidate(invalidate!(read, &truth, key)).await;
        assert_eq!(receipt, Receipt::Queued);
    }
    network.set(NetworkFault::Delay(Duration::from_millis(20)));
    until("all are sent", || {
        let health = here.tier_health();
        health.connected && health.queued == 0
    })
    .await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
}

#[tokio::test]
async fn invalidation_queued_in_a_journal_file_is_sent_by_the_next_process() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let file = servers.directory().join("journal");
    let redis = || servers.redis_through(&network).journal_file(&file);
    let here = Instance::with_redis(redis()).await;
    let there = servers.instance().await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let second = CacheRuntime::builder().l2(redis()).build().await;
    let error = second.map(drop).unwrap_err().to_string();
    assert!(error.contains("journal"), "{error}");
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    assert_eq!(change(&here, &truth).await, Receipt::Queued);
    // The process ends before it could send anything.
    here.shutdown().await.unwrap();
    drop(here);
    network.set(NetworkFault::Fair);
    let old = there.call(read(&truth, 1)).await;
    assert_eq!(old, 1, "the invalidation was not sent yet");
    let next = Instance::with_redis(redis()).await;
    next.until_queue_is_empty().await;
    servers.until_records(0).await;
    until_returns(2, BOUND, async || there.call(read(&truth, 1)).await).await;
    // Each shard has a file of its own, which a thread of its own writes.
    until("the files are empty", || {
        let mut files = std::fs::read_dir(servers.directory()).unwrap();
        files.all(|file| file.unwrap().metadata().unwrap().len() == 0)
    })
    .await;
}

/// The server answers reads and refuses scripts, so it still has the record.
#[tokio::test]
async fn record_whose_invalidation_is_queued_is_not_read() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let truth = Truth::new();
    for version in 1..4 {
        assert_eq!(here.call(read(&truth, 1)).await, version);
        servers.until_records(1).await;
        permit_scripts(&servers, false);
        assert_eq!(change(&here, &truth).await, Receipt::Queued);
        assert!(here.tier_health().connected, "the link is not lost");
        assert_eq!(here.call(read(&truth, 1)).await, version + 1);
        permit_scripts(&servers, true);
        here.until_queue_is_empty().await;
        assert_eq!(here.call(read(&truth, 1)).await, version + 1);
    }
}

#[tokio::test]
async fn key_that_is_invalidated_during_an_outage_is_loaded_once() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let here = Instance::with_redis(servers.redis_through(&network)).await;
    let truth = Truth::new();
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    here.call(read(&truth, 1)).await;
    let of_key = invalidate!(read, &truth, 1);
    for (loads, invalidation) in [(2, of_key), (3, invalidate!(read))] {
        assert_eq!(here.invalidate(invalidation).await, Receipt::Queued);
        for _ in 0..20 {
            here.call(read(&truth, 1)).await;
        }
        assert_loads(&here, "queued_invalidations::read", loads).await;
    }
    let put = here.invalidate(read::entry(&truth, 1).put(77)).await;
    assert_eq!(put, Receipt::Queued);
    assert_eq!(here.call(read(&truth, 1)).await, 77);
    assert_reads(&truth, 3, &[&here]).await;
}

/// While an invalidation is queued, no tier can say whether the key is guarded.
#[tokio::test]
async fn value_that_is_loaded_while_its_invalidation_is_queued_is_not_kept() {
    let servers = Deployment::start().await;
    let here = servers.instance().await;
    let truth = Truth::new();
    permit_scripts(&servers, false);
    assert_eq!(change(&here, &truth).await, Receipt::Queued);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
    truth.commit();
    assert_eq!(here.call(read(&truth, 1)).await, 3);
    permit_scripts(&servers, true);
}
