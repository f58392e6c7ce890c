//! Tiers that fail, do not answer, or contradict themselves: no call waits for them, and none
//! returns a wrong value because of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, ErrorKind, Level, Memory, invalidate, multi_tier_cached};
use testbed::counts::tier_stats;
use testbed::fake_tier::FakeTier;
use testbed::{Gate, Instance, Truth, assert_count, until};
use tokio::time::timeout;

#[multi_tier_cached(ttl = "100s", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// An instance whose only tier is `tier`.
async fn over(tier: &FakeTier) -> Instance {
    Instance::build(CacheRuntime::builder().l2(tier.clone())).await
}

/// A shared tier that is coherent for as long as a test runs.
fn coherent() -> FakeTier {
    let shared = FakeTier::shared(Duration::from_secs(3_600));
    shared.prove();
    shared
}

/// An instance with a shared tier, and a private tier below it that fails every operation.
async fn above_a_broken_tier(shared: &FakeTier) -> Instance {
    let broken = FakeTier::new();
    broken.break_down();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.l2(shared.clone()).l3(broken)).await
}

#[tokio::test]
async fn tier_that_exceeds_its_time_limit_delays_calls_and_invalidations_no_longer() {
    #[multi_tier_cached(ttl = "100s")]
    async fn held(_key: u64) -> u64 {
        1
    }

    let endless = FakeTier::that_holds_fills().time_limit(Duration::from_millis(50));
    let here = Instance::build(CacheRuntime::builder().l1(Memory::builder()).l3(endless)).await;
    let call = timeout(Duration::from_secs(5), here.call(held(1)));
    assert_eq!(call.await, Ok(1), "{}", here.stats());
    let invalidation = here.call(async { invalidate!(held, 1).await });
    let ended = timeout(Duration::from_secs(5), invalidation).await;
    let error = ended.expect("an invalidation that ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

/// The shared tier can be asked and says that it has no value, so memory must not answer as it
/// does in an outage.
#[tokio::test]
async fn memory_does_not_serve_a_removed_value_when_only_a_private_tier_fails() {
    let truth = Truth::new();
    let shared = coherent();
    let here = above_a_broken_tier(&shared).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    shared.empty();
    shared.revoke();
    truth.commit();
    let peeked = here
        .call(async { read::entry(&truth, 1).peek().await })
        .await;
    assert_eq!(peeked, None, "{}", here.stats());
    assert_eq!(here.call(read(&truth, 1)).await, 2, "{}", here.stats());
}

#[tokio::test]
async fn two_instances_do_not_load_at_the_same_time_when_their_private_tiers_fail() {
    #[multi_tier_cached(ttl = "1h", skip(running, gate))]
    async fn running_bodies(running: &AtomicU64, gate: &Gate, _key: u64) -> u64 {
        let running_now = running.fetch_add(1, Ordering::SeqCst) + 1;
        gate.pass().await;
        running.fetch_sub(1, Ordering::SeqCst);
        running_now
    }

    let (running, gate) = (AtomicU64::new(0), Gate::new());
    let shared = coherent();
    let here = above_a_broken_tier(&shared).await;
    let there = above_a_broken_tier(&shared).await;
    let waits = |instance: &Instance| {
        let stats = tier_stats(instance, "running_bodies", Level::L2);
        stats.map_or(0, |stats| stats.lease_waits)
    };
    let release = async {
        // Without the second condition, one load could end before the other call begins.
        until("one call loads and the other loads or waits", || {
            gate.entered() + waits(&here) + waits(&there) == 2
        })
        .await;
        gate.open();
    };
    let call = async |instance: &Instance| instance.call(running_bodies(&running, &gate, 1)).await;
    let calls = async { tokio::join!(call(&here), call(&there), release) };
    let (first, second, ()) = timeout(Duration::from_secs(60), calls).await.unwrap();
    let most = first.max(second);
    assert_count("bodies at a time", most, 1, &[&here, &there]).await;
}

/// A read of the tier does not say which stamp a valid record carries, so its record is passed
/// over; a lease says that the record is valid, so the call would wait for nothing.
#[tokio::test]
async fn call_loads_when_the_tier_calls_a_record_valid_that_it_did_not_return_as_valid() {
    let truth = Truth::new();
    let tier = FakeTier::new();
    let here = over(&tier).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    tier.say_no_stamp();
    truth.commit();
    let call = timeout(Duration::from_secs(10), here.call(read(&truth, 1)));
    assert_eq!(call.await, Ok(2), "{}", here.stats());
}

/// After a failed fill, it is unknown which value the tier has.
#[tokio::test]
async fn refresh_leaves_no_old_value_when_its_fill_fails() {
    let truth = Truth::new();
    let tier = FakeTier::new();
    let here = over(&tier).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    tier.fill_up();
    truth.commit();
    let value = here
        .call(async { read::entry(&truth, 1).refresh().await })
        .await;
    assert_eq!(value, 2);
    truth.commit();
    let there = over(&tier).await;
    assert_eq!(there.call(read(&truth, 1)).await, 3, "{}", there.stats());
}

/// The flight of the put was replaced by that of the refresh, so an invalidation finds only the
/// refresh among the flights and must still void the put.
#[tokio::test]
async fn put_replaced_by_a_refresh_is_not_returned_after_an_invalidation() {
    let truth = Arc::new(Truth::new());
    let tier = FakeTier::new();
    (0..3).for_each(|_| tier.let_through());
    let here = Instance::build(
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(tier.clone()),
    )
    .await;
    tier.keep_back();
    let put = here.spawn({
        let truth = Arc::clone(&truth);
        async move { read::entry(&truth, 1).put(1).await }
    });
    until("the put waits for the tier", || tier.has_kept_back()).await;
    let refreshed = here
        .call(async { read::entry(&truth, 1).refresh().await })
        .await;
    assert_eq!(refreshed, 1);
    truth.commit();
    let receipt = here.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    tier.answer();
    put.await.unwrap().unwrap();
    assert_eq!(here.call(read(&truth, 1)).await, 2, "{}", here.stats());
}
