//! A strong call returns what the shared tier has at that moment, and memory saves only the
//! transfer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Level, Memory, Promotion, TierConfig, invalidate, multi_tier_cached,
};

use testbed::counts::tier_stats;
use testbed::deployment::Deployment;
use testbed::{Instance, Truth, assert_loads, assert_reads};

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(truth), consistency = "strong")]
async fn read_strongly(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Calls `read` by a strong call.
async fn strong(instance: &Instance, truth: &Truth) -> u64 {
    instance.call(read::entry(truth, 1).strong()).await
}

#[tokio::test]
async fn strong_function_returns_the_new_value_once_the_invalidation_has_returned() {
    let servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    for version in 1..100 {
        assert_eq!(there.call(read_strongly(&truth, 1)).await, version);
        truth.commit();
        let invalidation = match version % 2 {
            0 => invalidate!(read_strongly, &truth, 1),
            _ => invalidate!(read_strongly),
        };
        here.invalidate(invalidation).await;
    }
    there.call(read_strongly(&truth, 1)).await;
    here.call(read_strongly(&truth, 1)).await;
    there.call(read_strongly(&truth, 1)).await;
    assert_reads(&truth, 100, &[&here, &there]).await;
}

/// The server says that its record is the same, and does not send it again.
#[tokio::test]
async fn strong_call_returns_the_value_in_memory_if_the_record_is_the_same() {
    #[multi_tier_cached(ttl = "1h", skip(truth), consistency = "strong")]
    async fn large(truth: &Truth, _key: u64) -> Arc<String> {
        truth.read();
        Arc::new("x".repeat(100_000))
    }

    let mut servers = Deployment::start().await;
    let (here, there) = servers.two().await;
    let truth = Truth::new();
    there.call(large(&truth, 1)).await;
    let first = here.call(large(&truth, 1)).await;
    let before = servers.sent_bytes();
    for _ in 0..10 {
        let again = here.call(large(&truth, 1)).await;
        assert!(Arc::ptr_eq(&first, &again));
    }
    let sent = servers.sent_bytes() - before;
    assert!(sent < 50_000, "the record was sent again: {sent} bytes");
    // The call asks the server, so it does not return the value in memory after an invalidation.
    there.invalidate(invalidate!(large, &truth, 1)).await;
    let reads = truth.reads();
    assert!(!Arc::ptr_eq(&first, &here.call(large(&truth, 1)).await));
    assert_reads(&truth, reads + 1, &[&here, &there]).await;
    servers.kill();
    here.call(large(&truth, 1)).await;
    assert_reads(&truth, reads + 2, &[&here, &there]).await;
}

#[tokio::test]
async fn bounded_call_after_a_strong_call_returns_no_older_value() {
    let servers = Deployment::start().await;
    let instance = async || {
        let seldom = TierConfig::as_l2().promotion(Promotion::OneIn(1_000));
        let tiers = CacheRuntime::builder().l1(Memory::builder());
        Instance::build(tiers.tier(servers.redis(), seldom)).await
    };
    let (here, there) = (instance().await, instance().await);
    let truth = Truth::new();
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    truth.commit();
    // A refresh invalidates nothing, so the memory of the other instance keeps the old value.
    there.call(read::entry(&truth, 1).refresh()).await;
    assert_eq!(here.call(read(&truth, 1)).await, 1);
    assert_eq!(strong(&here, &truth).await, 2);
    assert_eq!(here.call(read(&truth, 1)).await, 2);
}

/// The message of the invalidation may be late, and the reply to the strong call is not.
#[tokio::test]
async fn single_strong_call_of_a_bounded_function_returns_the_new_value() {
    let servers = Deployment::start().await;
    let network = servers.network().await;
    let here = servers.instance().await;
    let there = Instance::with_redis(servers.redis_through(&network)).await;
    let truth = Truth::new();
    assert_eq!(there.call(read(&truth, 1)).await, 1);
    for version in 2..20 {
        truth.commit();
        here.invalidate(invalidate!(read, &truth, 1)).await;
        assert_eq!(strong(&there, &truth).await, version);
        let kept = there.call(read(&truth, 1)).await;
        assert_eq!(kept, version, "the answer was not kept in memory");
    }
    let l1 = tier_stats(&there, "strong_consistency::read", Level::L1).unwrap();
    assert!(l1.hits > 0, "memory answers the bounded calls: {l1:?}");
}

#[tokio::test]
async fn refresh_whose_value_is_too_large_to_store_drops_the_old_value() {
    #[multi_tier_cached(ttl = "1h", skip(size))]
    async fn sized(size: &AtomicU64, _key: u64) -> String {
        let size = size.load(Ordering::SeqCst);
        "x".repeat(usize::try_from(size).unwrap())
    }

    let servers = Deployment::start().await;
    let redis = || servers.redis().max_record_bytes(1_000);
    let here = Instance::with_redis(redis()).await;
    let there = Instance::with_redis(redis()).await;
    let size = AtomicU64::new(10);
    here.call(sized(&size, 1)).await;
    servers.until_records(1).await;
    size.store(5_000, Ordering::SeqCst);
    let refreshed = here.call(sized::entry(&size, 1).refresh()).await;
    assert_eq!(refreshed.len(), 5_000);
    assert_eq!(there.call(sized(&size, 1)).await.len(), 5_000);
    assert_eq!(here.call(sized(&size, 1)).await.len(), 5_000);
    assert_loads(&here, "sized", 2).await;
    let entry = sized::entry(&size, 1);
    let put = here.call(entry.put("y".repeat(6_000))).await;
    assert_eq!(put.unwrap(), Receipt::Acked);
    // Memory has the value that was put, unless the message of what the put dropped came later.
    let length = here.call(sized(&size, 1)).await.len();
    assert!([5_000, 6_000].contains(&length), "{length}");
    let strong = here.call(sized::entry(&size, 1).strong()).await;
    assert_eq!(strong.len(), 5_000);
}
