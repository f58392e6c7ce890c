//! Loads of several ids beside other loads of the same ids, and beside failures.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, LoadTimeout, ManualClock, Memory};
use testbed::counts::function_stats;
use testbed::deployment::Deployment;
use testbed::server::Server;
use testbed::{
    Gate, Instance, assert_count, assert_loads, assert_tier, poll_once, poll_until, until,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

type Values = HashMap<u64, u64>;

fn function(name: &'static str) -> Function<u64> {
    let builder = Function::<u64>::builder(name).ttl(Duration::from_secs(3600));
    builder.build().unwrap()
}

fn values(ids: impl IntoIterator<Item = u64>) -> Values {
    ids.into_iter().map(|id| (id, id * 10)).collect()
}

/// Calls `tens` for these ids, and notes for which the body runs.
async fn call(tens: &Function<u64>, ids: &[u64], loaded: &Mutex<Vec<u64>>) -> Values {
    let body = async |ids: Vec<u64>| {
        loaded.lock().unwrap().extend(&ids);
        values(ids)
    };
    tens.get_or_load_many(ids, |id| (*id,), body).await
}

#[tokio::test]
async fn overlapping_batches_of_two_instances_load_each_id_once() {
    let servers = Deployment::start().await;
    // A machine that is busy must not look like a server that does not respond: then calls load
    // without it.
    let redis = || servers.redis().time_limit(Duration::from_secs(10));
    let (first, second) = (
        Instance::with_redis(redis()).await,
        Instance::with_redis(redis()).await,
    );
    let tens = function("batch_loads::overlap");
    let loaded = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Gate::new());
    let mut calls = JoinSet::new();
    for task in 0..8_u64 {
        let instance = Instance::clone(if task % 2 == 0 { &first } else { &second });
        let (tens, loaded) = (tens.clone(), Arc::clone(&loaded));
        let gate = Arc::clone(&gate);
        let mut random = fastrand_of(task);
        let mut ids: Vec<u64> = (0..100).collect();
        for at in (1..ids.len()).rev() {
            ids.swap(at, (random() as usize) % (at + 1));
        }
        ids.truncate(50);
        calls.spawn(async move {
            let body = async |ids: Vec<u64>| {
                gate.pass().await;
                loaded.lock().unwrap().extend(&ids);
                values(ids)
            };
            let call = tens.get_or_load_many(&ids, |id| (*id,), body);
            let found: Values = instance.call(call).await;
            assert_eq!(found, values(ids));
        });
    }
    // No batch has all ids of another, so a second one has ids that the first does not load.
    until("two bodies run", || gate.entered() >= 2).await;
    gate.open();
    let began = Instant::now();
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    let took = began.elapsed();
    let loaded = loaded.lock().unwrap().clone();
    let distinct: HashSet<u64> = loaded.iter().copied().collect();
    assert_count(
        "loads of one id",
        loaded.len(),
        distinct.len(),
        &[&first, &second],
    )
    .await;
    assert!(
        took < Duration::from_secs(8),
        "batches wait for each other: {took:?}"
    );
}

/// Random numbers that are the same in each run.
fn fastrand_of(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    }
}

#[tokio::test]
async fn batch_loads_its_own_ids_before_it_waits_for_others() {
    let here = Instance::with_memory().await;
    let (tens, gate) = (function("batch_loads::own_first"), Arc::new(Gate::new()));
    let single = {
        let (tens, gate) = (tens.clone(), Arc::clone(&gate));
        async move {
            let body = || async move {
                gate.pass().await;
                20
            };
            tens.get_or_load((2_u64,), body).await
        }
    };
    let single = here.spawn(single);
    gate.until_entered(1).await;
    let loaded = Mutex::default();
    let mut batch = Box::pin(here.call(call(&tens, &[1, 2, 3], &loaded)));
    assert!(poll_once(&mut batch).is_pending());
    assert_eq!(*loaded.lock().unwrap(), [1, 3]);
    assert_eq!(here.call(tens.entry((3_u64,)).peek()).await, Some(30));
    gate.open();
    assert_eq!(batch.await, values([1, 2, 3]));
    assert_eq!(single.await.unwrap(), 20);
    assert_loads(&here, "batch_loads::own_first", 3).await;
}

#[tokio::test]
async fn batch_loads_an_id_itself_whose_other_load_was_dropped_or_has_failed() {
    let here = Instance::with_memory().await;
    let (tens, gate) = (function("batch_loads::alone"), Gate::new());
    let held = |id: u64| {
        let body = || async {
            gate.pass().await;
            Err::<u64, &str>("down")
        };
        Box::pin(here.call(tens.get_or_load((id,), body)))
    };
    let (mut dropped, mut failing) = (held(2), held(4));
    assert!(poll_once(&mut dropped).is_pending());
    assert!(poll_once(&mut failing).is_pending());
    let loaded = Mutex::default();
    let mut batch = Box::pin(here.call(call(&tens, &[1, 2, 3, 4], &loaded)));
    assert!(poll_once(&mut batch).is_pending());
    drop(dropped);
    assert!(poll_once(&mut batch).is_pending());
    assert_eq!(*loaded.lock().unwrap(), [1, 3, 2]);
    gate.open();
    assert_eq!(failing.await, Err("down"));
    assert_eq!(batch.await, values([1, 2, 3, 4]));
    assert_eq!(*loaded.lock().unwrap(), [1, 3, 2, 4]);
}

#[tokio::test]
async fn single_calls_continue_by_themselves_if_a_batch_is_dropped_or_panics() {
    let here = Instance::with_memory().await;
    for panics in [false, true] {
        let tens = function(if panics {
            "batch_loads::panic"
        } else {
            "batch_loads::drop"
        });
        let gate = Arc::new(Gate::new());
        let batch = {
            let (tens, gate) = (tens.clone(), Arc::clone(&gate));
            async move {
                let body = async |_: Vec<u64>| -> Values {
                    gate.pass().await;
                    panic!("the body panics")
                };
                tens.get_or_load_many(&[1_u64, 2], |id| (*id,), body).await
            }
        };
        let batch = here.spawn(batch);
        gate.until_entered(1).await;
        let mut single = Box::pin(here.call(tens.get_or_load((2_u64,), || async { 7 })));
        assert!(poll_once(&mut single).is_pending());
        match panics {
            true => gate.open(),
            false => batch.abort(),
        }
        assert!(batch.await.is_err());
        assert_eq!(single.await, 7);
        let loaded = Mutex::default();
        let again = here.call(call(&tens, &[1, 2], &loaded)).await;
        assert_eq!(again, HashMap::from([(1, 10), (2, 7)]));
    }
}

#[tokio::test]
async fn batch_that_is_dropped_at_any_await_leaves_no_lease_and_no_flight() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let tens = function("batch_loads::cancelled");
    // A record in Redis, and ids of which none is known, in the same call.
    first.call(call(&tens, &[1], &Mutex::default())).await;
    for awaits in 1.. {
        let ids = [1, awaits as u64 * 100, awaits as u64 * 100 + 1];
        let mut batch = Box::pin(second.call(async {
            let body = async |ids: Vec<u64>| {
                tokio::task::yield_now().await;
                values(ids)
            };
            let found: Values = tens.get_or_load_many(&ids, |id| (*id,), body).await;
            found
        }));
        let ended = poll_until(&mut batch, awaits).await.is_ready();
        drop(batch);
        until("the leases are released", || !server.has_lease()).await;
        let loaded = Mutex::default();
        let next = second.call(call(&tens, &ids, &loaded));
        let found = timeout(Duration::from_secs(5), next).await;
        assert_eq!(found.expect("no flight is left behind"), values(ids));
        until("the leases are released", || !server.has_lease()).await;
        if ended {
            assert!(awaits > 3, "it has awaited {awaits} times only");
            return;
        }
    }
}

#[tokio::test]
async fn damaged_record_of_one_id_is_loaded_again_and_no_other() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let (tens, loaded) = (function("batch_loads::damaged"), Mutex::default());
    let ids: Vec<u64> = (0..20).collect();
    first.call(call(&tens, &ids, &Mutex::default())).await;
    server.until_records(20).await;
    let records = server.records();
    let damaged = records.iter().find(|name| name.contains("7")).unwrap();
    let _: () = server.command(&["SETRANGE", damaged, "90", "damage"]);
    let found = second.call(call(&tens, &ids, &loaded)).await;
    assert_eq!(found, values(ids));
    assert_eq!(loaded.lock().unwrap().len(), 1);
    let name = "batch_loads::damaged";
    assert_tier(&second, name, Level::L2, |tier| tier.decode_errors, 1).await;
    assert_tier(&second, name, Level::L2, |tier| tier.hits, 19).await;
}

#[tokio::test]
async fn missing_values_and_guarded_ids_are_kept_as_for_single_calls() {
    let here = Instance::with_memory().await;
    let builder = Function::<u64>::builder("batch_loads::none");
    let builder = builder
        .ttl(Duration::from_secs(60))
        .none_ttl(Duration::from_secs(60));
    let tens = builder.build().unwrap();
    let bodies = Mutex::new(Vec::new());
    let even = async |ids: &[u64]| {
        let body = async |ids: Vec<u64>| -> Values {
            bodies.lock().unwrap().push(ids.clone());
            values(ids.into_iter().filter(|id| id % 2 == 0))
        };
        here.call(tens.get_or_load_many(ids, |id| (*id,), body))
            .await
    };
    let guard = here.call(tens.entry((4_u64,)).write_guard()).await.unwrap();
    assert_eq!(even(&[1, 2, 4]).await, values([2, 4]));
    assert_eq!(even(&[1, 2, 4]).await, values([2, 4]));
    guard.invalidate().await.unwrap();
    assert_eq!(*bodies.lock().unwrap(), [vec![1, 2, 4], vec![4]]);
    let single = tens.get_or_load((1_u64,), || async { Some(1) });
    assert_eq!(here.call(single).await, None, "that there is none is known");
}

#[tokio::test]
async fn failed_body_returns_stale_values_only_if_every_missing_id_has_one() {
    let clock = ManualClock::new();
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(tiers).await;
    let builder = Function::<u64>::builder("batch_loads::stale_if_error");
    let builder = builder.ttl(Duration::from_secs(60));
    let tens = builder
        .stale_if_error(Duration::from_secs(600))
        .build()
        .unwrap();
    here.call(call(&tens, &[1, 2], &Mutex::default())).await;
    clock.advance(Duration::from_secs(61));
    let fail = async |ids: &[u64]| {
        let body = async |_: Vec<u64>| Err::<Values, _>("down".to_owned());
        here.call(tens.get_or_load_many(ids, |id| (*id,), body))
            .await
    };
    assert_eq!(fail(&[1, 2]).await, Ok(values([1, 2])));
    assert_eq!(fail(&[1, 2, 3]).await, Err("down".to_owned()));
    here.call(tens.entry((1_u64,)).invalidate()).await.unwrap();
    assert_eq!(fail(&[1, 2]).await, Err("down".to_owned()));
}

#[tokio::test]
async fn stale_values_of_a_batch_are_replaced_by_one_batch_in_the_background() {
    let clock = ManualClock::new();
    let tiers = CacheRuntime::builder().l1(Memory::builder()).clock(&clock);
    let here = Instance::build(tiers).await;
    let builder = Function::<u64>::builder("batch_loads::revalidated");
    let builder = builder.ttl(Duration::from_secs(60));
    let builder = builder.stale_while_revalidate(Duration::from_secs(600));
    let tens = builder.build().unwrap();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let late = async |ids: &[u64], factor: u64| {
        let make = || {
            let bodies = Arc::clone(&bodies);
            move |ids: Vec<u64>| {
                bodies.lock().unwrap().push(ids.clone());
                async move { ids.into_iter().map(|id| (id, id * factor)).collect() }
            }
        };
        let found: Values = here
            .call(tens.get_or_load_many_late(ids, |id| (*id,), make))
            .await;
        found
    };
    assert_eq!(late(&[1, 2, 3], 10).await, values([1, 2, 3]));
    clock.advance(Duration::from_secs(61));
    let found = late(&[1, 2, 3, 4], 20).await;
    assert_eq!(found, HashMap::from([(1, 10), (2, 20), (3, 30), (4, 80)]));
    until("the stale values are replaced", || {
        function_stats(&here, "batch_loads::revalidated").is_some_and(|stats| stats.refreshes == 3)
    })
    .await;
    let expected: Values = (1..5).map(|id| (id, id * 20)).collect();
    assert_eq!(late(&[1, 2, 3, 4], 30).await, expected);
    let mut bodies = bodies.lock().unwrap().clone();
    bodies.sort();
    assert_eq!(bodies, [vec![1, 2, 3], vec![1, 2, 3], vec![4]]);
}

/// A clonable error that can say that a load took too long.
#[derive(Clone, Debug, PartialEq)]
struct TooLong;

impl From<LoadTimeout> for TooLong {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

#[tokio::test(start_paused = true)]
async fn batch_that_takes_too_long_fails_and_its_values_are_kept_later() {
    let here = Instance::with_memory().await;
    let builder = Function::<u64>::builder("batch_loads::timeout");
    let builder = builder.ttl(Duration::from_secs(3600));
    let builder = builder.hard_timeout(Duration::from_secs(1));
    let tens = builder.build().unwrap();
    let make = || {
        move |ids: Vec<u64>| async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, TooLong>(values(ids))
        }
    };
    let began = Instant::now();
    let call = tens.get_or_load_many_late(&[1_u64, 2], |id| (*id,), make);
    assert_eq!(here.call(call).await, Err(TooLong));
    assert_eq!(began.elapsed().as_millis() / 50, 20);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(here.call(tens.entry((1_u64,)).peek()).await, Some(10));
    assert_loads(&here, "batch_loads::timeout", 2).await;
}
