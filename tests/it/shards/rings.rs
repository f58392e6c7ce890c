//! Loads that wait for each other through several shards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use multi_tier_cached::Function;
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

use super::*;

/// A function whose bodies call the next key of a ring once all of them run.
struct Ring {
    function: Function<u64>,
    /// The keys of the ring. Each is in the shard that the test wants.
    keys: Vec<u64>,
    all_load: Barrier,
    loads: Mutex<HashMap<u64, u64>>,
}

impl Ring {
    /// Finds keys in these shards, and removes everything that it has stored to find them.
    async fn new(name: &'static str, store: &FakeStore, shards: &[usize]) -> Arc<Self> {
        let (_, here) = instance(store).await;
        let function = Function::<u64>::builder(name).ttl(Duration::from_secs(3_600));
        let function = function.build().unwrap();
        for key in 0..KEYS {
            here.call(function.get_or_load((key,), async || key)).await;
        }
        let mut by_shard: Vec<_> = (0..SHARDS).map(|shard| keys_in(store, shard)).collect();
        let keys = shards
            .iter()
            .map(|shard| by_shard[*shard].pop_first().unwrap());
        let keys = keys.collect();
        here.call(function.invalidate_all()).await.unwrap();
        here.shutdown().await.unwrap();
        Arc::new(Self {
            function,
            keys,
            all_load: Barrier::new(shards.len()),
            loads: Mutex::default(),
        })
    }

    fn count(&self, key: u64) -> u64 {
        let mut loads = self.loads.lock().unwrap();
        let count = loads.entry(key).or_default();
        *count += 1;
        *count
    }

    /// Calls a key, whose first load calls the next key.
    async fn call(&self, at: usize) -> u64 {
        let key = self.keys[at];
        let load = || async move {
            if self.count(key) == 1 {
                self.all_load.wait().await;
                Box::pin(self.call((at + 1) % self.keys.len())).await;
            }
            key
        };
        self.function.get_or_load((key,), load).await
    }

    /// Calls each key in an instance of its own. Returns the number of loads, and how long the
    /// calls took.
    async fn run(self: &Arc<Self>, store: &FakeStore) -> (u64, Duration) {
        let began = Instant::now();
        let mut calls = Vec::new();
        for at in 0..self.keys.len() {
            let ring = Arc::clone(self);
            let (_, here) = instance(store).await;
            calls.push(here.spawn(async move { ring.call(at).await }));
        }
        for (call, key) in calls.into_iter().zip(&self.keys) {
            assert_eq!(call.await.unwrap(), *key);
        }
        let loads = self.loads.lock().unwrap().values().sum();
        (loads, began.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn ring_of_loads_through_several_shards_ends_at_once() {
    for (name, shards) in [
        ("rings::one_shard", &[2, 2, 2][..]),
        ("rings::two_shards", &[0, 3]),
        ("rings::there_and_back", &[0, 1, 0, 1]),
        ("rings::most_in_one", &[1, 1, 2, 1]),
        ("rings::all", &[3, 1, 0, 2]),
    ] {
        let store = FakeStore::new(4);
        let ring = Ring::new(name, &store, shards).await;
        let (loads, took) = ring.run(&store).await;
        let keys = shards.len() as u64;
        assert_eq!(
            loads,
            keys + 1,
            "{name}: each key once, and one that continues"
        );
        assert_eq!(took, Duration::ZERO, "{name}");
    }
}

/// The ring may be seen by no shard, so each wait in it must end.
#[tokio::test(start_paused = true)]
async fn ring_of_loads_ends_if_a_shard_cannot_tell_about_waits() {
    let store = FakeStore::new(4);
    store.blind(3);
    let ring = Ring::new("rings::blind", &store, &[0, 1]).await;
    let (_, took) = ring.run(&store).await;
    assert!(took > Duration::ZERO && took < SOON, "{took:?}");
}

/// Takes much longer than a call waits that may be part of a deadlock.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn slow(truth: &Truth, _key: u64) -> u64 {
    truth.read();
    sleep(SOON).await;
    truth.reads()
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn outer(truth: &Truth, key: u64) -> u64 {
    slow(truth, key).await
}

#[tokio::test(start_paused = true)]
async fn slow_nested_load_in_another_shard_is_one_load() {
    let store = FakeStore::new(4);
    let ((_, here), (_, there)) = (instance(&store).await, instance(&store).await);
    for key in 0..KEYS {
        let truth = Arc::new(Truth::new());
        let own = Arc::clone(&truth);
        let first = there.spawn(async move { slow(&own, key).await });
        tokio::task::yield_now().await;
        here.call(outer(&truth, key)).await;
        first.await.unwrap();
        assert_reads(&truth, 1, &[&here, &there]).await;
    }
}
