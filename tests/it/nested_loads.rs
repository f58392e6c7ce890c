//! Bodies that call cached functions: a slow nested load is one load, and loads that wait for each other end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Memory, Redis, multi_tier_cached};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{build, until};

const LEASE: Duration = Duration::from_millis(500);
const BOUND: Duration = Duration::from_millis(100);

async fn instance(server: &Server) -> CacheRuntime {
    build(
        Redis::new(server.url())
            .lease_time(LEASE)
            .staleness_bound(BOUND),
    )
    .await
}

static SLOW_LOADS: AtomicU64 = AtomicU64::new(0);
static SLOW_LOADS_ALONE: AtomicU64 = AtomicU64::new(0);

/// Takes much longer than any time after which a waiter could give up: ten times the bound, several lease times.
#[multi_tier_cached(ttl = "1h")]
async fn slow(_key: &str) -> u64 {
    sleep(LEASE * 5).await;
    SLOW_LOADS.fetch_add(1, Ordering::SeqCst)
}

#[multi_tier_cached(ttl = "1h")]
async fn outer(key: u64) -> u64 {
    slow("over two instances").await;
    key
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn slow_in_memory() -> u64 {
    sleep(LEASE * 5).await;
    SLOW_LOADS_ALONE.fetch_add(1, Ordering::SeqCst)
}

#[multi_tier_cached(ttl = "1h")]
async fn outer_of_memory(key: u64) -> u64 {
    slow_in_memory().await;
    key
}

fn spawn<T: Send + 'static>(
    runtime: &CacheRuntime,
    call: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(CacheRuntime::scope(runtime.clone(), call))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_nested_load_is_one_load_in_all_instances() {
    let server = Server::start();
    let runtimes = [instance(&server).await, instance(&server).await];
    let calls: Vec<_> = (0..20)
        .map(|key| spawn(&runtimes[key as usize % 2], async move { outer(key).await }))
        .collect();
    for (key, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), key as u64);
    }
    assert_eq!(SLOW_LOADS.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_nested_load_of_memory_alone_is_one_load() {
    let server = Server::start();
    let runtime = instance(&server).await;
    let calls: Vec<_> = (0..50)
        .map(|key| spawn(&runtime, async move { outer_of_memory(key).await }))
        .collect();
    for (key, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), key as u64);
    }
    assert_eq!(SLOW_LOADS_ALONE.load(Ordering::SeqCst), 1);
}

/// Bodies of `n` keys in as many instances, each of which calls the next one's key once all of them run.
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

    /// Calls a key; its first load calls the next key.
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
async fn loads_that_wait_for_each_other_over_instances_end_and_one_goes_on() {
    let server = Server::start();
    for (name, instances) in [("nested::two", 2), ("nested::three", 3)] {
        let ring = Ring::new(name, instances);
        let mut calls = Vec::new();
        for key in 0..instances {
            let (runtime, ring) = (instance(&server).await, Arc::clone(&ring));
            calls.push(spawn(&runtime, async move { ring.call(key).await }));
        }
        for (key, call) in calls.into_iter().enumerate() {
            let value = timeout(Duration::from_secs(5), call).await;
            assert_eq!(value.expect("no deadlock").unwrap(), key as u64);
        }
        assert_eq!(
            ring.loads(),
            instances + 1,
            "each key once, and one load that goes on"
        );
    }
}

/// The nested calls join flights that callers from outside of any load lead, and these wait for the other instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_through_flights_of_other_callers_ends_and_one_goes_on() {
    let server = Server::start();
    let ring = Ring::new("nested::behind", 2);
    let runtimes = [instance(&server).await, instance(&server).await];
    let call = |at: usize, key: u64| {
        let ring = Arc::clone(&ring);
        spawn(&runtimes[at], async move { ring.call(key).await })
    };
    let waits = || -> u64 {
        let lease_waits = |runtime: &CacheRuntime| {
            let stats = runtime.stats();
            let function = stats.function("nested::behind");
            let tiers = function.into_iter().flat_map(|function| &function.tiers);
            tiers.map(|tier| tier.lease_waits).sum::<u64>()
        };
        runtimes.iter().map(lease_waits).sum()
    };
    // The first body waits at the barrier while a caller on the other instance comes to wait for its lease.
    let first = call(0, 0);
    until("the first body runs", || ring.loads() == 1).await;
    let behind_first = call(1, 0);
    until("a caller waits for its lease", || waits() >= 1).await;
    let second = call(1, 1);
    for (call, value) in [(first, 0), (behind_first, 0), (second, 1)] {
        let called = timeout(Duration::from_secs(5), call).await;
        assert_eq!(called.expect("no deadlock").unwrap(), value);
    }
    assert_eq!(ring.loads(), 3);
}

/// Loads of `slow_for`, by key.
static SLOW_LOADS_BY_KEY: Mutex<[u64; 4]> = Mutex::new([0; 4]);

/// Takes much longer than a call waits that may be part of a deadlock.
#[multi_tier_cached(ttl = "1h")]
async fn slow_for(key: usize) -> u64 {
    let load = {
        let mut loads = SLOW_LOADS_BY_KEY.lock().unwrap();
        loads[key] += 1;
        loads[key]
    };
    sleep(Duration::from_secs(10)).await;
    load
}

#[multi_tier_cached(ttl = "1h")]
async fn outer_of_slow(key: usize) -> u64 {
    slow_for(key).await
}

/// Two instances on `fake_tier`: one loads slowly, and a body on the other waits for that. Returns the loads.
async fn slow_nested_load_over(fake_tier: &FakeTier, key: usize) -> u64 {
    fake_tier.prove();
    let instance = || async {
        let tiers = CacheRuntime::builder().l1(Memory::builder());
        tiers.l2(fake_tier.clone()).build().await.unwrap()
    };
    let (here, there) = (instance().await, instance().await);
    let loads = || SLOW_LOADS_BY_KEY.lock().unwrap()[key];
    let first = spawn(&there, slow_for(key));
    until("it loads", || loads() == 1).await;
    spawn(&here, outer_of_slow(key)).await.unwrap();
    first.await.unwrap();
    loads()
}

fn shared_shelf() -> FakeTier {
    FakeTier::shared(Duration::from_secs(3600))
}

#[tokio::test(start_paused = true)]
async fn slow_nested_load_is_one_load_when_answers_about_a_deadlock_are_lost() {
    for (key, lost) in [(0, 1), (1, 3)] {
        let fake_tier = shared_shelf();
        fake_tier.lose_answers_about_deadlocks(lost);
        assert_eq!(
            slow_nested_load_over(&fake_tier, key).await,
            1,
            "{lost} lost"
        );
        assert_eq!(fake_tier.deadlock_questions(), lost as u64 + 1);
    }
}

/// The wait may be part of a deadlock, so it ends.
#[tokio::test(start_paused = true)]
async fn wait_ends_when_no_question_about_a_deadlock_is_answered() {
    let fake_tier = shared_shelf();
    fake_tier.lose_answers_about_deadlocks(usize::MAX);
    assert_eq!(slow_nested_load_over(&fake_tier, 2).await, 2);
    assert_eq!(
        fake_tier.deadlock_questions(),
        4,
        "it is asked again three times"
    );
}

#[tokio::test(start_paused = true)]
async fn store_that_cannot_tell_of_a_deadlock_is_asked_once() {
    let fake_tier = shared_shelf();
    assert_eq!(slow_nested_load_over(&fake_tier, 3).await, 2);
    assert_eq!(fake_tier.deadlock_questions(), 1);
}
