//! A write guard around a transaction: no value that is read before the commit is kept by any
//! instance, whatever happens to the holder, the link or the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Level, Memory, WriteGuard, multi_tier_cached};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use testbed::counts::tier_stats;
use testbed::deployment::Deployment;
use testbed::fake_tier::FakeTier;
use testbed::proxy::NetworkFault;
use testbed::{Gate, Instance, Truth, assert_tier, until, until_returns};

const LEASE: Duration = Duration::from_millis(300);
/// Time in which a message arrives on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

async fn instances(servers: &Deployment) -> (Instance, Instance) {
    let redis = || servers.redis().lease_time(LEASE);
    (
        Instance::with_redis(redis()).await,
        Instance::with_redis(redis()).await,
    )
}

/// Takes a write guard of key 1 in this instance.
async fn guard(instance: &Instance, truth: &Truth) -> WriteGuard {
    let entry = read::entry(truth, 1);
    instance.call(entry.write_guard()).await.unwrap()
}

/// Waits until this instance has no value of key 1, as it does once the message of an invalidation
/// has arrived.
async fn until_dropped(instance: &Instance, truth: &Truth) {
    let peek = async || instance.call(read::entry(truth, 1).peek()).await;
    until_returns(None, SOON, peek).await;
}

/// Number of fills of `read` that were refused because of a guard.
fn refused_by_guard(instance: &Instance) -> u64 {
    let l2 = tier_stats(instance, "guards::read", Level::L2);
    l2.map_or(0, |tier| tier.refused_fills.guard)
}

#[tokio::test]
async fn value_that_is_read_under_a_guard_is_kept_by_no_instance() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let guard = guard(&here, &truth).await;
    assert!(guard.is_held());
    servers.until_records(0).await;
    until_dropped(&there, &truth).await;
    for instance in [&here, &there] {
        let old = instance.call(read(&truth, 1)).await;
        assert_eq!(old, 1, "before the commit");
        let other = instance.call(read(&truth, 2)).await;
        assert_eq!(other, 1, "a key that is not guarded");
    }
    servers.until_records(1).await;
    truth.commit();
    for instance in [&here, &there] {
        let new = instance.call(read(&truth, 1)).await;
        assert_eq!(new, 2, "the value from before the commit was kept");
    }
    let refused = |tier: &multi_tier_cached::TierStats| {
        (tier.refused_fills.guard, tier.refused_fills.total())
    };
    assert_tier(&there, "guards::read", Level::L2, refused, (2, 2)).await;
    // The guard outlives several lease times, because its holder renews it.
    sleep(LEASE * 3).await;
    there.call(read(&truth, 1)).await;
    assert_tier(&there, "guards::read", Level::L2, refused, (3, 3)).await;
    assert_eq!(servers.records().len(), 1, "stored under the guard");
    assert_eq!(guard.invalidate().await.unwrap(), Receipt::Acked);
    servers.until_no_guard().await;
    there.call(read(&truth, 1)).await;
    servers.until_records(2).await;
}

#[tokio::test]
async fn process_that_dies_after_its_commit_leaves_no_old_value() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    let guard = guard(&here, &truth).await;
    until_dropped(&there, &truth).await;
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    truth.commit();
    // The process dies: only the server still knows of the guard.
    std::mem::forget(guard);
    here.shutdown().await.unwrap();
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    servers.until_no_guard().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    servers.until_records(1).await;
}

#[tokio::test]
async fn guard_that_is_dropped_invalidates_its_key() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    let guard = guard(&here, &truth).await;
    truth.commit();
    drop(guard);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
    here.until_queue_is_empty().await;
    servers.until_no_guard().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
    assert_eq!(here.tier_health().replays, 1);
}

#[tokio::test]
async fn second_guard_of_a_key_still_holds_after_the_first_has_ended() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    let first = guard(&here, &truth).await;
    let second = guard(&there, &truth).await;
    first.invalidate().await.unwrap();
    here.call(read(&truth, 1)).await;
    until("the fill is refused", || refused_by_guard(&here) == 1).await;
    assert_eq!(servers.records(), Vec::<String>::new());
    second.invalidate().await.unwrap();
    servers.until_no_guard().await;
    here.call(read(&truth, 1)).await;
    servers.until_records(1).await;
}

#[tokio::test]
async fn guard_is_placed_again_after_a_reconnect() {
    let mut servers = Deployment::start().await;
    let network = servers.network().await;
    let redis = servers.redis_through(&network).lease_time(LEASE);
    let here = Instance::with_redis(redis).await;
    let truth = Truth::new();
    let guard = guard(&here, &truth).await;
    assert!(guard.is_held());
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    assert!(!guard.is_held(), "it may have expired");
    servers.restart();
    network.set(NetworkFault::Fair);
    until("the guard is held again", || guard.is_held()).await;
    until("the server has the guard again", || {
        here.tier_health().connected && servers.has_guard()
    })
    .await;
    let there = servers.instance().await;
    there.call(read(&truth, 1)).await;
    until("the fill is refused", || refused_by_guard(&there) == 1).await;
    assert_eq!(servers.records(), Vec::<String>::new());
    guard.invalidate().await.unwrap();
}

#[tokio::test]
async fn guard_without_a_server_is_not_held_and_its_invalidation_is_queued() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let here = Instance::with_redis(servers.redis_through(&network)).await;
    let truth = Truth::new();
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    let guard = guard(&here, &truth).await;
    assert!(!guard.is_held());
    truth.commit();
    assert_eq!(guard.invalidate().await.unwrap(), Receipt::Queued);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
}

/// No tier could report whether the key is guarded, so the value is used only while the tier
/// cannot be asked.
#[tokio::test]
async fn value_that_is_loaded_without_a_lease_is_used_only_during_an_outage() {
    let mut servers = Deployment::start().await;
    let here = servers.instance().await;
    let truth = Truth::new();
    servers.on_all(&["ACL", "SETUSER", "default", "-evalsha"]);
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    truth.commit();
    let new = here.call(read(&truth, 1)).await;
    assert_eq!(new, 2, "the first value was kept");
    servers.kill();
    here.until_disconnected().await;
    truth.commit();
    let during = here.call(read(&truth, 1)).await;
    assert_eq!(during, 2, "the body ran during the outage");
}

/// postcard reads a field that was left out as something else, so no shared tier stores this type.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unstorable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
    version: u64,
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn unstorable(truth: &Truth, _key: u64) -> Unstorable {
    Unstorable {
        note: None,
        version: truth.read(),
    }
}

#[tokio::test]
async fn guard_holds_for_values_that_no_shared_tier_can_store() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    let version = async |instance: &Instance| instance.call(unstorable(&truth, 1)).await.version;
    assert_eq!(version(&there).await, 1);
    assert_eq!(servers.records(), Vec::<String>::new(), "it was stored");
    assert_eq!(version(&here).await, 1);
    until("no lease is left behind", || !servers.has_lease()).await;
    // The instance has learned that it cannot store the type, so it takes no lease.
    assert_eq!(here.call(unstorable(&truth, 2)).await.version, 1);
    assert!(!servers.has_lease(), "{:?}", servers.keys());
    let entry = unstorable::entry(&truth, 1);
    let guard = here.call(entry.write_guard()).await.unwrap();
    let peek = async || there.call(entry.peek()).await.is_none();
    until_returns(true, SOON, peek).await;
    assert_eq!(version(&there).await, 1, "before the commit");
    truth.commit();
    assert_eq!(version(&there).await, 2, "the old value was kept");
    guard.invalidate().await.unwrap();
    assert_eq!(version(&there).await, 2);
}

#[tokio::test]
async fn guard_holds_for_a_function_with_memory_only() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
    async fn in_memory(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let (here, truth) = (Instance::with_memory().await, Truth::new());
    let call = async |key| here.call(in_memory(&truth, key)).await;
    let guard = async |key| here.call(in_memory::entry(&truth, key).write_guard()).await;
    assert_eq!(call(1).await, 1);
    let first = guard(1).await.unwrap();
    assert!(first.is_held());
    assert_eq!(call(1).await, 1, "before the commit");
    truth.commit();
    assert_eq!(call(1).await, 2, "the old value was kept");
    // A commit may land after its guard was dropped, so the key stays guarded for a while.
    drop(first);
    assert_eq!(call(1).await, 2);
    truth.commit();
    assert_eq!(call(1).await, 3);
    guard(2).await.unwrap().invalidate().await.unwrap();
    call(2).await;
    truth.commit();
    assert_eq!(call(2).await, 3, "values are kept after an orderly end");
}

#[tokio::test]
async fn guard_that_outlives_its_runtime_is_queued_in_the_journal_file() {
    let servers = Deployment::start().await;
    let file = servers.directory().join("journal");
    let redis = || {
        let redis = servers.redis().lease_time(LEASE);
        redis.journal_file(&file)
    };
    let here = Instance::with_redis(redis()).await;
    let there = servers.instance().await;
    let truth = Truth::new();
    let guard = guard(&here, &truth).await;
    here.shutdown().await.unwrap();
    drop(here);
    // No instance renews the guard, so it expires.
    servers.until_no_guard().await;
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    servers.until_records(1).await;
    truth.commit();
    drop(guard);
    let next = Instance::with_redis(redis()).await;
    until("the next process has sent it", || {
        next.tier_health().replays == 1
    })
    .await;
    servers.until_records(0).await;
}

#[tokio::test]
async fn guard_that_could_not_be_placed_invalidates_when_it_is_dropped() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let redis = servers.redis_through(&network).lease_time(LEASE);
    let here = Instance::with_redis(redis).await;
    let there = servers.instance().await;
    let truth = Truth::new();
    network.set(NetworkFault::Cut);
    here.until_disconnected().await;
    let guard = guard(&here, &truth).await;
    assert!(!guard.is_held());
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    network.set(NetworkFault::Fair);
    here.until_connected().await;
    truth.commit();
    drop(guard);
    servers.until_records(0).await;
    servers.until_no_guard().await;
    until_returns(2, SOON, async || there.call(read(&truth, 1)).await).await;
}

/// A request that timed out drops its guard, and the database commits nevertheless.
#[tokio::test]
async fn commit_that_lands_after_its_guard_was_dropped_leaves_no_old_value() {
    let servers = Deployment::start().await;
    let (here, there) = instances(&servers).await;
    let truth = Truth::new();
    drop(guard(&here, &truth).await);
    here.until_queue_is_empty().await;
    let old = there.call(read(&truth, 1)).await;
    assert_eq!(old, 1, "before the commit");
    truth.commit();
    servers.until_no_guard().await;
    assert_eq!(there.call(read(&truth, 1)).await, 2);
}

/// The tier fails that would place the guard for other instances.
#[tokio::test]
async fn guard_holds_in_its_instance_when_the_tier_fails() {
    let (fake_tier, truth) = (FakeTier::new(), Truth::new());
    (0..2).for_each(|_| fake_tier.let_through());
    let tiers = CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(fake_tier.clone());
    let here = Instance::build(tiers).await;
    let guard = guard(&here, &truth).await;
    let call = async || here.call(read(&truth, 1)).await;
    assert!(guard.is_held());
    fake_tier.break_down();
    assert_eq!(call().await, 1);
    truth.commit();
    assert_eq!(call().await, 2, "the old value was kept");
    here.call(guard.invalidate()).await.unwrap();
    truth.commit();
    assert_eq!(call().await, 3);
    truth.commit();
    assert_eq!(call().await, 3, "values are not kept any more");
}

/// A source of truth. The first load waits before it reads, and the second one after that.
#[derive(Default)]
struct Reversed {
    truth: Truth,
    loads: AtomicUsize,
    before: Gate,
    after: Gate,
}

#[multi_tier_cached(ttl = "1h", skip(source))]
async fn reversed(source: &Reversed, _key: u64) -> u64 {
    let number = source.loads.fetch_add(1, Ordering::SeqCst);
    if number == 0 {
        source.before.pass().await;
    }
    let version = source.truth.read();
    if number == 1 {
        source.after.pass().await;
    }
    version
}

/// Under a write guard nothing is kept. A strong call has led a flight beside that of the first
/// call, and its body has read an older value.
#[tokio::test]
async fn load_under_a_guard_is_not_joined_after_a_load_beside_it_has_returned() {
    let servers = Deployment::start().await;
    let (here, _) = instances(&servers).await;
    let source = Arc::<Reversed>::default();
    let entry = reversed::entry(&source, 1);
    let _guard = here.call(entry.write_guard()).await.unwrap();
    let own = Arc::clone(&source);
    let first = here.spawn(async move { reversed(&own, 1).await });
    source.before.until_entered(1).await;
    let own = Arc::clone(&source);
    let strong = here.spawn(async move { reversed::entry(&own, 1).strong().await });
    source.after.until_entered(1).await;
    source.truth.commit();
    source.before.let_through(1);
    assert_eq!(first.await.unwrap(), 2);
    let later = timeout(SOON, here.call(reversed(&source, 1))).await;
    assert_eq!(later.expect("the call joined the older load"), 2);
    source.after.let_through(1);
    assert_eq!(strong.await.unwrap(), 1);
}
