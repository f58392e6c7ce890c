//! Bodies that call cached functions: a slow nested load is one load, and loads that wait for each
//! other end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, Memory, Redis, multi_tier_cached};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use testbed::counts::tier_stats;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, Truth, assert_count, assert_reads, until};

const LEASE: Duration = Duration::from_millis(500);
const BOUND: Duration = Duration::from_millis(100);

async fn instance(server: &Server) -> Instance {
    let redis = Redis::new(server.url());
    Instance::with_redis(redis.lease_time(LEASE).staleness_bound(BOUND)).await
}

/// Takes much longer than any time after which a waiter could give up: 25 times the bound, and five
/// lease times.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn slow(truth: &Truth) -> u64 {
    sleep(LEASE * 5).await;
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn outer(truth: &Truth, key: u64) -> u64 {
    slow(truth).await;
    key
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
async fn slow_in_memory(truth: &Truth) -> u64 {
    sleep(LEASE * 5).await;
    truth.read()
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn outer_of_memory(truth: &Truth, key: u64) -> u64 {
    slow_in_memory(truth).await;
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_nested_load_is_one_load_in_all_instances() {
    let server = Server::start();
    let instances = [instance(&server).await, instance(&server).await];
    let truth = Arc::new(Truth::new());
    let call = |key| {
        let truth = Arc::clone(&truth);
        instances[key as usize % 2].spawn(async move { outer(&truth, key).await })
    };
    let calls: Vec<_> = (0..20).map(call).collect();
    for (key, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), key as u64);
    }
    assert_reads(&truth, 1, &[&instances[0], &instances[1]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_nested_load_in_memory_only_is_one_load() {
    let server = Server::start();
    let here = instance(&server).await;
    let truth = Arc::new(Truth::new());
    let call = |key| {
        let truth = Arc::clone(&truth);
        here.spawn(async move { outer_of_memory(&truth, key).await })
    };
    let calls: Vec<_> = (0..50).map(call).collect();
    for (key, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), key as u64);
    }
    assert_reads(&truth, 1, &[&here]).await;
}

/// Bodies of several keys, each of which calls the next key once all of them run.
struct Ring {
    function: Function<u64>,
    all_load: Barrier,
    loads: Mutex<HashMap<u64, u64>>,
    keys: u64,
}

impl Ring {
    fn new(name: &'static str, keys: u64) -> Arc<Self> {
        let function = Function::<u64>::builder(name).ttl(Duration::from_secs(60));
        Arc::new(Self {
            function: function.build().unwrap(),
            all_load: Barrier::new(usize::try_from(keys).unwrap()),
            loads: Mutex::default(),
            keys,
        })
    }

    fn count(&self, key: u64) -> u64 {
        let mut loads = self.loads.lock().unwrap();
        let count = loads.entry(key).or_default();
        *count += 1;
        *count
    }

    /// Calls a key, whose first load calls the next key.
    async fn call(&self, key: u64) -> u64 {
        let load = || async move {
            if self.count(key) == 1 {
                self.all_load.wait().await;
                Box::pin(self.call((key + 1) % self.keys)).await;
            }
            key
        };
        self.function.get_or_load((key,), load).await
    }

    fn loads(&self) -> u64 {
        self.loads.lock().unwrap().values().sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_of_loads_across_instances_ends_and_exactly_one_load_continues() {
    let server = Server::start();
    for (name, keys) in [("nested::two", 2), ("nested::three", 3)] {
        let ring = Ring::new(name, keys);
        let mut calls = Vec::new();
        for key in 0..keys {
            let (here, ring) = (instance(&server).await, Arc::clone(&ring));
            calls.push(here.spawn(async move { ring.call(key).await }));
        }
        for (key, call) in calls.into_iter().enumerate() {
            let value = timeout(Duration::from_secs(5), call).await;
            assert_eq!(value.expect("no deadlock").unwrap(), key as u64);
        }
        let loads = ring.loads();
        assert_eq!(loads, keys + 1, "each key once, and one that continues");
    }
}

/// The nested calls join flights of callers that are part of no load, and these callers wait for
/// the other instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_of_loads_through_flights_of_other_callers_ends_and_exactly_one_continues() {
    let server = Server::start();
    let ring = Ring::new("nested::behind", 2);
    let instances = [instance(&server).await, instance(&server).await];
    let call = |at: usize, key: u64| {
        let ring = Arc::clone(&ring);
        instances[at].spawn(async move { ring.call(key).await })
    };
    let waits = || -> u64 {
        let lease_waits = |instance: &Instance| {
            let l2 = tier_stats(instance, "nested::behind", Level::L2);
            l2.map_or(0, |tier| tier.lease_waits)
        };
        instances.iter().map(lease_waits).sum()
    };
    // The first body waits at the barrier until a caller in the other instance waits for its lease.
    let first = call(0, 0);
    until("the first body runs", || ring.loads() == 1).await;
    let behind_first = call(1, 0);
    until("a caller waits for its lease", || waits() >= 1).await;
    let second = call(1, 1);
    for (call, value) in [(first, 0), (behind_first, 0), (second, 1)] {
        let called = timeout(Duration::from_secs(5), call).await;
        assert_eq!(called.expect("no deadlock").unwrap(), value);
    }
    assert_count("loads", ring.loads(), 3, &[&instances[0], &instances[1]]).await;
}

/// Takes much longer than a call waits that may be part of a deadlock.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn very_slow(truth: &Truth) -> u64 {
    truth.read();
    sleep(Duration::from_secs(10)).await;
    truth.reads()
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn outer_of_very_slow(truth: &Truth) -> u64 {
    very_slow(truth).await
}

fn shared_tier() -> FakeTier {
    let fake_tier = FakeTier::shared(Duration::from_secs(3600));
    fake_tier.prove();
    fake_tier
}

/// Loads slowly in one of two instances while a body in the other one waits for that load. Asserts
/// the number of loads.
async fn assert_loads_over(fake_tier: &FakeTier, expected: u64) {
    let instance = async || {
        let tiers = CacheRuntime::builder().l1(Memory::builder());
        Instance::build(tiers.l2(fake_tier.clone())).await
    };
    let (here, there) = (instance().await, instance().await);
    let truth = Arc::new(Truth::new());
    let own = Arc::clone(&truth);
    let first = there.spawn(async move { very_slow(&own).await });
    until("it loads", || truth.reads() == 1).await;
    here.call(outer_of_very_slow(&truth)).await;
    first.await.unwrap();
    assert_reads(&truth, expected, &[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn slow_nested_load_is_one_load_when_replies_about_a_deadlock_are_lost() {
    for lost in [1, 3] {
        let fake_tier = shared_tier();
        fake_tier.lose_answers_about_deadlocks(lost);
        assert_loads_over(&fake_tier, 1).await;
        assert_eq!(fake_tier.deadlock_questions(), lost as u64 + 1);
    }
}

/// The wait may be part of a deadlock, so it must end.
#[tokio::test(start_paused = true)]
async fn wait_ends_when_no_question_about_a_deadlock_is_answered() {
    let fake_tier = shared_tier();
    fake_tier.lose_answers_about_deadlocks(usize::MAX);
    assert_loads_over(&fake_tier, 2).await;
    let questions = fake_tier.deadlock_questions();
    assert_eq!(questions, 4, "it is asked again three times");
}

#[tokio::test(start_paused = true)]
async fn store_that_cannot_detect_deadlocks_is_asked_once() {
    let fake_tier = shared_tier();
    assert_loads_over(&fake_tier, 2).await;
    assert_eq!(fake_tier.deadlock_questions(), 1);
}
