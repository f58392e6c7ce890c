//! The operations of tiers are counted when they end, by result, with the time they took.

use std::collections::HashMap;
use std::time::Duration;

use multi_tier_cached::tier::OperationTimes;
use multi_tier_cached::{
    CacheRuntime, Function, Histogram, Memory, Receipt, Redis, Tag, invalidate, multi_tier_cached,
};
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::server::Server;
use testbed::{Instance, until};

const HOUR: Duration = Duration::from_secs(3_600);
const MILLISECOND: Duration = Duration::from_millis(1);

fn operations(here: &Instance) -> OperationTimes {
    here.tiers()[0].operations.clone()
}

/// The number of reads, leases, fills and invalidations that ended with this result.
fn counts(here: &Instance, result: fn(&OperationTimes) -> [&Histogram; 4]) -> [u64; 4] {
    result(&operations(here)).map(Histogram::count)
}

fn ok(times: &OperationTimes) -> [&Histogram; 4] {
    [
        &times.read.ok,
        &times.lease.ok,
        &times.fill.ok,
        &times.invalidate.ok,
    ]
}

fn error(times: &OperationTimes) -> [&Histogram; 4] {
    let (read, lease) = (&times.read.error, &times.lease.error);
    [read, lease, &times.fill.error, &times.invalidate.error]
}

fn timeout(times: &OperationTimes) -> [&Histogram; 4] {
    let (read, lease) = (&times.read.timeout, &times.lease.timeout);
    [read, lease, &times.fill.timeout, &times.invalidate.timeout]
}

#[multi_tier_cached(ttl = "100s")]
async fn read(key: u64) -> u64 {
    key
}

/// With a clock that advances every 4 ms a read takes 0 or 4 ms.
#[tokio::test]
async fn read_of_redis_is_timed_below_a_millisecond() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    for key in 0..200 {
        here.call(read(key)).await;
    }
    let reads = operations(&here).read.ok;
    assert_eq!(reads.count(), 200);
    let is_short = |up_to: Duration| up_to > Duration::from_micros(10) && up_to <= MILLISECOND;
    let short = reads.buckets().iter();
    let short = short.filter(|bucket| bucket.up_to.is_some_and(is_short));
    let short: u64 = short.map(|bucket| bucket.count).sum();
    // The machine may be busy, but not during each of them.
    assert!(short > 20, "{reads:?}");
    let table = here.health().await.to_string();
    assert!(
        table.contains("operation") && table.contains("lease"),
        "{table}"
    );
}

#[tokio::test]
async fn operations_are_counted_by_result() {
    let tier = FakeTier::new().time_limit(50 * MILLISECOND);
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.l2(tier.clone())).await;
    assert_eq!(here.health().await.to_string().find("operation"), None);
    here.call(read(1)).await;
    assert_eq!(counts(&here, ok), [1, 1, 1, 0]);
    tier.break_down();
    here.call(read(2)).await;
    assert_eq!(counts(&here, ok), [1, 1, 1, 0]);
    assert_eq!(counts(&here, error), [1, 1, 0, 0]);
    // The tier holds invalidations.
    let invalidated = here.call(async { invalidate!(read, 1).await }).await;
    assert!(invalidated.is_err(), "{invalidated:?}");
    assert_eq!(counts(&here, timeout), [0, 0, 0, 1]);
    let took = operations(&here).invalidate.timeout.sum();
    assert!(took >= 50 * MILLISECOND, "{took:?}");
}

#[tokio::test]
async fn invalidation_that_is_queued_is_counted_as_an_error() {
    let mut server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    here.invalidate(invalidate!(read, 1)).await;
    assert_eq!(counts(&here, ok)[3], 1);
    assert_eq!(counts(&here, error)[3], 0);
    server.kill();
    here.until_disconnected().await;
    here.invalidate(invalidate!(read, 1)).await;
    assert_eq!(counts(&here, ok)[3], 1);
    assert_eq!(counts(&here, error)[3], 1);
}

#[tokio::test]
async fn operation_on_several_keys_is_counted_once() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let function = Function::<u64>::builder("tier_times::batch").ttl(100_000 * MILLISECOND);
    let function = function.build().unwrap();
    let ids: Vec<u64> = (0..50).collect();
    let body = async |ids: Vec<u64>| -> Vec<Option<u64>> { ids.into_iter().map(Some).collect() };
    let call = function.get_or_load_many(&ids, |id| (*id,), body);
    here.call(call).await;
    until("the values are stored", || counts(&here, ok)[2] > 0).await;
    assert_eq!(counts(&here, ok), [1, 1, 1, 0]);
    assert_eq!(counts(&here, error), [0; 4]);
}

fn tens(name: &'static str) -> Function<u64> {
    let builder = Function::<u64>::builder(name).ttl(HOUR);
    builder.build().unwrap()
}

async fn call_batch(function: &Function<u64>, ids: &[u64]) -> HashMap<u64, u64> {
    let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id * 10)).collect();
    function.get_or_load_many(ids, |id| (*id,), body).await
}

/// The first read of a batch is one operation before its loads, and is not part of any of them.
#[tokio::test]
async fn first_read_of_a_batch_is_counted_by_its_result() {
    let tier = FakeTier::shared(HOUR).time_limit(50 * MILLISECOND);
    tier.prove();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.l2(tier.clone())).await;
    let function = tens("tier_times::first_read");
    here.call(call_batch(&function, &[1, 2, 3])).await;
    assert_eq!(counts(&here, ok), [1, 1, 1, 0]);
    // The read is held for longer than its limit.
    let held = tier.hold_read(HeldAt::Request);
    here.call(call_batch(&function, &[4, 5])).await;
    assert!(held.is_reached());
    assert_eq!(counts(&here, timeout), [1, 0, 0, 0]);
    let took = operations(&here).read.timeout.sum();
    assert!(took >= 50 * MILLISECOND, "{took:?}");
    tier.break_down();
    here.call(call_batch(&function, &[6, 7])).await;
    assert_eq!(counts(&here, error)[0], 1);
    assert_eq!(counts(&here, ok)[0], 1);
    assert_eq!(counts(&here, timeout), [1, 0, 0, 0]);
}

#[tokio::test]
async fn each_change_of_keys_functions_and_tags_is_counted_as_an_invalidation() {
    let mut server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let function = Function::<u64>::builder("tier_times::changes");
    let function = function.ttl(HOUR).stale_if_error(HOUR);
    let function = function.build().unwrap();
    here.call(function.get_or_load((1_u64,), async || 1)).await;
    let entry = || function.entry((1_u64,));
    let change = async |number: u64| {
        let changed = match number {
            0 => entry().invalidate().await,
            1 => entry().expire().await,
            2 => function.invalidate_all().await,
            3 => function.expire_all().await,
            4 => here.invalidate_tags([Tag::new("tier_times")]).await,
            5 => here.expire_tags([Tag::new("tier_times")]).await,
            6 => here.invalidate_all().await,
            _ => {
                // Ends when it is dropped, in the background.
                let guard = entry().write_guard().await;
                guard.map(|_| Receipt::Acked)
            }
        };
        changed.unwrap();
    };
    for number in 0..8 {
        here.call(change(number)).await;
        assert_eq!(counts(&here, ok)[3], number + 1, "change {number}");
    }
    // The keys that match are listed, which is not timed.
    let matching = here.invalidate_matching("tier_times::changes", "1");
    matching.await.unwrap();
    assert_eq!(counts(&here, ok)[3], 8);
    assert_eq!(counts(&here, error)[3], 0);
    server.kill();
    here.until_disconnected().await;
    for number in 0..8 {
        here.call(change(number)).await;
        assert_eq!(counts(&here, error)[3], number + 1, "change {number}");
    }
    // The whole function is invalidated in place of the keys, which are not listed.
    let matching = here.invalidate_matching("tier_times::changes", "1");
    matching.await.unwrap();
    assert_eq!(counts(&here, error)[3], 9);
    assert_eq!(counts(&here, ok)[3], 8);
}
