//! The first read of a batch, which is not part of a load.

use std::collections::HashMap;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, LoadTimeout, Memory};
use testbed::counts::function_stats;
use testbed::fake_tier::{FakeTier, HeldAt};
use testbed::server::Server;
use testbed::{Instance, assert_loads, assert_tier, poll_once, poll_until, until};

type Values = HashMap<u64, u64>;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn function(name: &'static str) -> Function<u64> {
    let builder = Function::<u64>::builder(name).ttl(HOUR);
    builder.build().unwrap()
}

fn values(ids: Vec<u64>) -> Values {
    ids.into_iter().map(|id| (id, id * 10)).collect()
}

async fn call(tens: &Function<u64>, ids: &[u64]) -> Values {
    let body = async |ids: Vec<u64>| values(ids);
    tens.get_or_load_many(ids, |id| (*id,), body).await
}

#[tokio::test]
async fn refresh_during_the_read_of_a_batch_is_what_later_calls_get() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    for awaits in 1.. {
        let tens = function(&*format!("batch_reads::refreshed_{awaits}").leak());
        first.call(call(&tens, &[1, 2])).await;
        server.until_records(2 * awaits).await;
        let mut batch = Box::pin(second.call(call(&tens, &[1, 2])));
        let ended = poll_until(&mut batch, awaits).await.is_ready();
        let refreshed = second.call(tens.entry((1_u64,)).refresh(async || 11)).await;
        assert_eq!(refreshed, 11);
        if !ended {
            let found = batch.await;
            assert_eq!(found[&2], 20);
        }
        let later = second.call(tens.get_or_load((1_u64,), async || 12)).await;
        assert_eq!(later, 11, "the refresh came after {awaits} awaits");
        if ended {
            return;
        }
    }
}

#[tokio::test]
async fn call_during_the_read_of_a_batch_gets_its_result() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let tens = function("batch_reads::joined");
    first.call(call(&tens, &[1, 2, 3])).await;
    server.until_records(3).await;
    let mut batch = Box::pin(second.call(call(&tens, &[1, 2, 3, 4])));
    assert!(poll_once(&mut batch).is_pending());
    let load = async || -> u64 { panic!("the batch has the value") };
    let mut single = Box::pin(second.call(tens.get_or_load((2_u64,), load)));
    assert!(poll_once(&mut single).is_pending());
    let expected = [(1, 10), (2, 20), (3, 30), (4, 40)];
    assert_eq!(batch.await, HashMap::from(expected));
    assert_eq!(single.await, 20);
    let name = "batch_reads::joined";
    assert_tier(&second, name, Level::L2, |tier| tier.hits, 3).await;
    assert_tier(&second, name, Level::L2, |tier| tier.misses, 1).await;
    assert_loads(&second, name, 1).await;
}

/// An invalidation of a tag does not find a record that an earlier build stored without it. The
/// tags of the first key do not tell that the record of the second one lacks its own.
#[tokio::test]
async fn each_record_of_a_batch_is_judged_by_the_tags_of_its_own_key() {
    let tier = FakeTier::shared_with_ledger(HOUR);
    tier.prove();
    let instance = || {
        let builder = CacheRuntime::builder().l1(Memory::builder());
        Instance::build(builder.l2(tier.clone()))
    };
    let (first, second) = (instance().await, instance().await);
    let name = "batch_reads::tags";
    let builder = || Function::<u64>::builder(name).ttl(HOUR);
    let earlier = builder().tags(["key:1"]).build().unwrap();
    first.call(call(&earlier, &[1, 2])).await;
    until("the tier is filled", || tier.len() == 2).await;
    drop(earlier);
    let tens = builder().tags(["key:1", "key:{0}"]).build().unwrap();
    let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id * 11)).collect::<Values>();
    let batch = tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body);
    assert_eq!(second.call(batch).await, Values::from([(1, 10), (2, 22)]));
    assert_loads(&second, name, 1).await;
}

#[derive(Clone, Debug, PartialEq)]
struct TooLong;

impl From<LoadTimeout> for TooLong {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// Each time limit is counted from the beginning of the call, and what was begun continues.
#[tokio::test(start_paused = true)]
async fn batch_that_times_out_during_its_read_continues_in_the_background() {
    for tiers in [&[Level::L1, Level::L2][..], &[Level::L2]] {
        let tier = FakeTier::shared(HOUR).time_limit(HOUR);
        let builder = CacheRuntime::builder().l1(Memory::builder());
        let here = Instance::build(builder.l2(tier.clone())).await;
        tier.prove();
        let name = format!("batch_reads::timed_out_{}", tiers.len());
        let builder = Function::<u64>::builder(name.clone()).ttl(HOUR);
        let builder = builder.tiers(tiers.iter().copied());
        let tens = builder.hard_timeout(SECOND).build().unwrap();
        let make = || |ids: Vec<u64>| async { Ok::<Values, TooLong>(values(ids)) };
        let held = tier.hold_read(HeldAt::Request);
        let call = tens.get_or_load_many_late(&[1_u64, 2], |id| (*id,), make);
        assert_eq!(here.call(call).await, Err(TooLong));
        let counted = function_stats(&here, &name).unwrap();
        assert_eq!(counted.timeouts, 1, "{counted:?}");
        assert_loads(&here, &name, 0).await;
        held.release();
        until("the values are stored", || tier.len() == 2).await;
        assert_loads(&here, &name, 2).await;
    }
}
