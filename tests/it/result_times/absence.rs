//! `none_ttl`: the result that there is no value is kept, in memory and in the tiers below.

use std::time::Duration;

use multi_tier_cached::opendal::{Operator, services};
use multi_tier_cached::{
    CacheRuntime, Disk, Function, Level, ManualClock, Memcached, Memory, Objects, RuntimeBuilder,
    TierConfig, multi_tier_cached,
};
use testbed::counts::tier_stats;
use testbed::directory::Directory;
use testbed::memcached::Memcached as MemcachedServer;
use testbed::server::Server;
use testbed::{Instance, until_returns};

use super::{
    Source, assert_life, assert_life_of_record, in_memory, redis, seconds, stats, with_redis,
};

const ABSENT: Duration = seconds(30);
/// Time in which a message arrives on a machine that is busy.
const SOON: Duration = seconds(30);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

type Found = Option<u64>;
type Answer = Result<Found, Failed>;

#[multi_tier_cached(ttl = "1h", none_ttl = "30s", skip(source))]
async fn find(source: &Source<Found>, _key: u64) -> Found {
    source.ask()
}

#[multi_tier_cached(ttl = "1h", none_ttl = "30s", skip(source))]
async fn try_find(source: &Source<Answer>, _key: u64) -> Answer {
    source.ask()
}

#[tokio::test]
async fn absence_is_kept_in_memory_for_its_time() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Source::new(None);
    let call = async || assert_eq!(here.call(find(&source, 1)).await, None);
    call().await;
    assert_life("Option", ABSENT, &clock, || source.asked(), call).await;
    let counted = stats(&here, "absence::find");
    assert_eq!((counted.absent_hits, counted.error_hits), (2, 0));
    assert_eq!(counted.tier(Level::L1).unwrap().hits, 2);

    let source = Source::new(Ok(None));
    let call = async || assert_eq!(here.call(try_find(&source, 1)).await, Ok(None));
    call().await;
    assert_life("Result", ABSENT, &clock, || source.asked(), call).await;
    assert_eq!(stats(&here, "absence::try_find").absent_hits, 2);
}

#[tokio::test]
async fn absence_is_not_kept_without_its_time() {
    #[multi_tier_cached(ttl = "1h", skip(source))]
    async fn not_kept(source: &Source<Found>) -> Found {
        source.ask()
    }

    let server = Server::start();
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let source = Source::new(None);
    for _ in 0..2 {
        assert_eq!(here.call(not_kept(&source)).await, None);
    }
    assert_eq!(source.asked(), 2);
    assert_eq!(server.records(), [""; 0]);
    assert_eq!(stats(&here, "not_kept").absent_hits, 0);
}

#[tokio::test]
async fn error_is_no_absence() {
    let here = in_memory(&ManualClock::new()).await;
    let source = Source::new(Err(Failed));
    for _ in 0..2 {
        assert_eq!(here.call(try_find(&source, 1)).await, Err(Failed));
    }
    assert_eq!(source.asked(), 2);
}

/// Asserts that the second of two instances reads the absence from the tier that they share, once,
/// and keeps it in memory.
async fn assert_read_elsewhere(here: &Instance, there: &Instance, key: u64) {
    let source = Source::new(None);
    assert_eq!(here.call(find(&source, key)).await, None);
    let l2 = |what: fn(&multi_tier_cached::TierStats) -> u64| {
        tier_stats(there, "absence::find", Level::L2).map_or(0, |stats| what(&stats))
    };
    // A call does not wait until its result is stored, and its body finds a value.
    source.answers(Some(7));
    let peek = async || there.call(find::entry(&source, key).peek()).await;
    testbed::until_ok("the absence is stored", async || {
        assert_eq!(peek().await, None, "a handle shows no value");
        (l2(|tier| tier.hits) > 0).then_some(()).ok_or("no record")
    })
    .await;
    let before = l2(|tier| tier.hits);
    for _ in 0..3 {
        assert_eq!(there.call(find(&source, key)).await, None);
    }
    assert_eq!(l2(|tier| tier.hits), before + 1);
    assert_eq!(source.asked(), 1);
    let counted = stats(there, "absence::find");
    assert_eq!(counted.absent_hits, before + 3);
    assert_eq!(counted.tier(Level::L1).unwrap().hits, 2);
}

async fn instance(settings: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Instance {
    Instance::build(settings(CacheRuntime::builder().l1(Memory::builder()))).await
}

#[tokio::test]
async fn another_instance_reads_the_absence_from_redis_for_its_time_without_a_scale() {
    let server = Server::start();
    let clock = ManualClock::new();
    let here = with_redis(&server, 4.0, &ManualClock::new()).await;
    let there = with_redis(&server, 4.0, &clock).await;
    assert_read_elsewhere(&here, &there, 1).await;
    assert_life_of_record(&server, ABSENT);
    let source = Source::new(Some(7));
    let hits = || stats(&there, "absence::find").tier(Level::L1).unwrap().hits;
    let before = hits();
    clock.advance(ABSENT);
    there.call(find(&source, 1)).await;
    assert_eq!(hits(), before, "the copy in memory outlives the absence");
}

#[tokio::test]
async fn another_instance_reads_the_absence_from_memcached() {
    let server = MemcachedServer::start();
    let memcached = || {
        let memcached = Memcached::new(server.url()).required();
        memcached.time_limit(seconds(10))
    };
    let here = instance(|builder| builder.l2(memcached())).await;
    let there = instance(|builder| builder.l2(memcached())).await;
    here.until_coherent().await;
    there.until_coherent().await;
    assert_read_elsewhere(&here, &there, 2).await;
    let name = "mtc:it::result_times::absence::find:1:2";
    let left = server.seconds_left(name);
    assert!(
        left.is_some_and(|left| (1..=33).contains(&left)),
        "{left:?}"
    );
}

#[tokio::test]
async fn next_process_reads_the_absence_from_its_disk() {
    let directory = Directory::new("absence");
    let process = || {
        let disk = Disk::new(directory.path()).time_limit(seconds(10));
        instance(|builder| builder.l2(disk))
    };
    let source = Source::new(None);
    let first = process().await;
    assert_eq!(first.call(find(&source, 3)).await, None);
    first.shutdown().await.unwrap();
    source.answers(Some(7));
    let second = process().await;
    for _ in 0..2 {
        assert_eq!(second.call(find(&source, 3)).await, None);
    }
    assert_eq!(source.asked(), 1);
    assert_eq!(stats(&second, "absence::find").absent_hits, 2);
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn next_process_reads_the_absence_from_its_objects() {
    let operator = Operator::new(services::Memory::default()).unwrap();
    let process = || {
        let objects = Objects::new(operator.clone()).time_limit(seconds(10));
        instance(|builder| builder.l2(objects))
    };
    let source = Source::new(None);
    let first = process().await;
    assert_eq!(first.call(find(&source, 4)).await, None);
    first.shutdown().await.unwrap();
    source.answers(Some(7));
    let second = process().await;
    assert_eq!(second.call(find(&source, 4)).await, None);
    assert_eq!(source.asked(), 1);
    second.shutdown().await.unwrap();
}

/// Two instances with one Redis, both of which have the absence in memory.
async fn two_with_absence(server: &Server, source: &Source<Found>) -> (Instance, Instance) {
    let here = with_redis(server, 1.0, &ManualClock::new()).await;
    let there = with_redis(server, 1.0, &ManualClock::new()).await;
    assert_eq!(here.call(find(source, 1)).await, None);
    server.until_records(1).await;
    assert_eq!(there.call(find(source, 1)).await, None);
    assert_eq!(there.call(find(source, 1)).await, None);
    assert_eq!(source.asked(), 1);
    (here, there)
}

#[tokio::test]
async fn put_ends_the_absence_in_every_instance() {
    let (server, source) = (Server::start(), Source::new(None));
    let (here, there) = two_with_absence(&server, &source).await;
    let put = async { find::entry(&source, 1).put(5).await };
    here.call(put).await.unwrap();
    assert_eq!(here.call(find(&source, 1)).await, Some(5));
    until_returns(Some(5), SOON, async || there.call(find(&source, 1)).await).await;
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn invalidation_ends_the_absence_in_every_instance() {
    for whole_function in [false, true] {
        let (server, source) = (Server::start(), Source::new(None));
        let (here, there) = two_with_absence(&server, &source).await;
        source.answers(Some(5));
        let invalidation = match whole_function {
            true => find::invalidate_all(),
            false => find::invalidation(&source, 1),
        };
        here.invalidate(invalidation).await;
        assert_eq!(here.call(find(&source, 1)).await, Some(5));
        until_returns(Some(5), SOON, async || there.call(find(&source, 1)).await).await;
        assert_eq!(source.asked(), 2);
    }
}

#[tokio::test]
async fn write_guard_ends_the_absence_and_keeps_none_while_it_is_held() {
    let (server, source) = (Server::start(), Source::new(None));
    let (here, there) = two_with_absence(&server, &source).await;
    let guard = here.call(find::entry(&source, 1).write_guard()).await;
    let guard = guard.unwrap();
    assert_eq!(server.records(), [""; 0]);
    let until_asked = async |instance: &Instance, before: u64| {
        until_returns(true, SOON, async || {
            instance.call(find(&source, 1)).await;
            source.asked() > before
        })
        .await;
    };
    for instance in [&here, &there] {
        until_asked(instance, source.asked()).await;
        let before = source.asked();
        for _ in 0..2 {
            assert_eq!(instance.call(find(&source, 1)).await, None);
        }
        assert_eq!(source.asked(), before + 2, "kept under a guard");
    }
    assert_eq!(server.records(), [""; 0], "kept under a guard");
    source.answers(Some(5));
    here.call(guard.invalidate()).await.unwrap();
    for instance in [&here, &there] {
        until_returns(Some(5), SOON, async || {
            instance.call(find(&source, 1)).await
        })
        .await;
    }
}

/// The load found nothing before the put, so its result is older than the value.
#[tokio::test]
async fn absence_that_was_found_before_a_put_does_not_replace_the_value() {
    #[multi_tier_cached(ttl = "1h", none_ttl = "30s", skip(gate))]
    async fn gated(gate: &testbed::Gate) -> Found {
        gate.pass().await;
        None
    }

    let server = Server::start();
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let gate = std::sync::Arc::new(testbed::Gate::new());
    let own = std::sync::Arc::clone(&gate);
    let load = here.spawn(async move { gated(&own).await });
    gate.until_entered(1).await;
    let put = async { gated::entry(&gate).put(5).await };
    here.call(put).await.unwrap();
    gate.open();
    assert_eq!(load.await.unwrap(), None);
    assert_eq!(here.call(gated(&gate)).await, Some(5));
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    assert_eq!(there.call(gated(&gate)).await, Some(5));
    assert_eq!(gate.entered(), 1);
}

#[tokio::test]
async fn refresh_that_finds_nothing_replaces_the_value_by_its_absence() {
    let (server, source) = (Server::start(), Source::new(Some(5)));
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    assert_eq!(here.call(find(&source, 1)).await, Some(5));
    source.answers(None);
    let refreshed = here.call(find::entry(&source, 1).refresh()).await;
    assert_eq!(refreshed, None);
    assert_life_of_record(&server, ABSENT);
    assert_eq!(here.call(find(&source, 1)).await, None);
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    assert_eq!(there.call(find(&source, 1)).await, None);
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn function_without_none_ttl_ignores_a_kept_absence() {
    const NAME: &str = "result_times::switched_off";
    let server = Server::start();
    let source = Source::new(None);
    let call = async |instance: &Instance, function: &Function<u64>| -> Found {
        let load = || async { source.ask() };
        instance.call(function.get_or_load((1,), load)).await
    };
    let builder = || Function::<u64>::builder(NAME).ttl(seconds(3_600));
    let function = builder().none_ttl(ABSENT).build().unwrap();
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    assert_eq!(call(&here, &function).await, None);
    server.until_records(1).await;
    drop(function);

    let function = builder().build().unwrap();
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    source.answers(Some(5));
    assert_eq!(call(&there, &function).await, Some(5));
    assert_eq!(source.asked(), 2);
    let third = with_redis(&server, 1.0, &ManualClock::new()).await;
    server.until_records(1).await;
    testbed::until_ok("the value has replaced the absence", async || {
        let found = third.call(function.entry((1,)).peek()).await;
        (found == Some(5)).then_some(()).ok_or("not yet")
    })
    .await;
    assert_eq!(source.asked(), 2);
}

#[multi_tier_cached(ttl = "1h", none_ttl = "30s", tiers = "l1", skip(source))]
fn plain_find(source: &Source<Found>, _key: u64) -> Found {
    source.ask()
}

#[tokio::test]
async fn plain_function_keeps_absence_for_its_time() {
    let clock = ManualClock::new();
    let here = in_memory(&clock).await;
    let source = Source::new(None);
    let call = async || {
        let runtime = here.runtime.clone();
        let found = CacheRuntime::scope_blocking(runtime, || plain_find(&source, 1));
        assert_eq!(found, None);
    };
    call().await;
    assert_life("plain", ABSENT, &clock, || source.asked(), call).await;
}

/// Promotion copies an absence as it is, for no longer than it has left.
#[tokio::test]
async fn absence_in_the_far_tier_is_copied_to_the_near_one() {
    let (near, far) = (Server::start(), Server::start());
    let build = || {
        instance(|builder| {
            let builder = builder.tier(redis(&near), TierConfig::as_l2().ttl_scale(4.0));
            builder.tier(redis(&far), TierConfig::as_l4())
        })
    };
    let (here, there) = (build().await, build().await);
    let source = Source::new(None);
    assert_eq!(here.call(find(&source, 1)).await, None);
    near.until_records(1).await;
    far.until_records(1).await;
    assert_life_of_record(&near, ABSENT);
    assert_life_of_record(&far, ABSENT);
    let _: u64 = near.command(&["DEL", &near.records()[0]]);
    assert_eq!(there.call(find(&source, 1)).await, None);
    near.until_records(1).await;
    assert_life_of_record(&near, ABSENT);
    assert_eq!(source.asked(), 1);
}
