//! Loads that wait for each other through several shards.

use std::collections::HashMap;
use std::slice;
use std::sync::{Arc, Mutex};

use multi_tier_cached::{Function, Redis};
use testbed::cluster::Cluster;
use testbed::server::Server;
use testbed::until;
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

use super::*;

/// How long a call waits whose store cannot tell whether its wait ends.
const UNKNOWN: Duration = Duration::from_secs(2);

/// A shared store of four shards.
enum Store {
    Fake(FakeStore),
    /// All shards are on one server.
    Server(Server),
    /// The shards are spread over the nodes.
    Cluster(Cluster),
}

impl Store {
    async fn instance(&self) -> Instance {
        match self {
            Self::Fake(store) => instance(store).await.1,
            Self::Server(server) => Instance::with_redis(Redis::new(server.url()).shards(4)).await,
            Self::Cluster(cluster) => {
                Instance::with_redis(Redis::cluster(cluster.urls()).shards(4)).await
            }
        }
    }

    /// Returns the keys of a function in each shard.
    fn keys_of(&self, function: &str) -> Vec<BTreeSet<u64>> {
        let servers = match self {
            Self::Fake(store) => return (0..SHARDS).map(|shard| keys_in(store, shard)).collect(),
            Self::Server(server) => slice::from_ref(server),
            Self::Cluster(cluster) => cluster.nodes(),
        };
        let records: Vec<_> = servers.iter().flat_map(Server::records).collect();
        let in_shard = |shard| {
            let prefix = format!("{{cache:{shard}}}:{function}:");
            let records = records.iter().filter(|key| key.starts_with(&prefix));
            let keys = records.filter_map(|key| key.rsplit(':').next());
            keys.map(|key| key.parse().unwrap()).collect()
        };
        (0..SHARDS).map(in_shard).collect()
    }
}

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
    async fn new(name: &'static str, store: &Store, shards: &[usize]) -> Arc<Self> {
        let here = store.instance().await;
        let function = Function::<u64>::builder(name).ttl(Duration::from_secs(3_600));
        let function = function.build().unwrap();
        for key in 0..KEYS {
            here.call(function.get_or_load((key,), async || key)).await;
        }
        let mut by_shard = Vec::new();
        until("all keys are stored", || {
            by_shard = store.keys_of(name);
            by_shard.iter().map(BTreeSet::len).sum::<usize>() == KEYS as usize
        })
        .await;
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
    async fn run(self: &Arc<Self>, store: &Store) -> (u64, Duration) {
        let mut instances = Vec::new();
        for _ in &self.keys {
            instances.push(store.instance().await);
        }
        let began = Instant::now();
        let mut calls = Vec::new();
        for (at, here) in instances.iter().enumerate() {
            let ring = Arc::clone(self);
            calls.push(here.spawn(async move { ring.call(at).await }));
        }
        for (call, key) in calls.into_iter().zip(&self.keys) {
            assert_eq!(call.await.unwrap(), *key);
        }
        let loads = self.loads.lock().unwrap().values().sum();
        (loads, began.elapsed())
    }
}

/// The shards of the keys of some rings.
const RINGS: [(&str, &[usize]); 5] = [
    ("rings::one_shard", &[2, 2, 2]),
    ("rings::two_shards", &[0, 3]),
    ("rings::there_and_back", &[0, 1, 0, 1]),
    ("rings::most_in_one", &[1, 1, 2, 1]),
    ("rings::all", &[3, 1, 0, 2]),
];

#[tokio::test(start_paused = true)]
async fn ring_of_loads_through_several_shards_ends_at_once() {
    for (name, shards) in RINGS {
        let store = Store::Fake(FakeStore::new(4));
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

/// Runs the rings on a store whose replies take time. Callers that close a ring at the same time may
/// all continue. A store that cannot tell ends no ring before [`UNKNOWN`] has passed;
/// one that can tell may be late once on a busy machine.
async fn assert_rings_end(store: &Store) {
    for (name, shards) in RINGS {
        let mut times = Vec::new();
        loop {
            let ring = Ring::new(name, store, shards).await;
            let (loads, took) = ring.run(store).await;
            let keys = shards.len() as u64;
            let most = if name == "rings::one_shard" {
                keys + 1
            } else {
                2 * keys
            };
            assert!(keys < loads && loads <= most, "{name}: {loads} loads");
            times.push(took);
            if took < UNKNOWN {
                break;
            }
            assert!(times.len() < 3, "{name}: {times:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_of_loads_through_several_shards_of_a_server_ends_at_once() {
    assert_rings_end(&Store::Server(Server::start())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ring_of_loads_through_several_shards_of_a_cluster_ends_at_once() {
    assert_rings_end(&Store::Cluster(Cluster::start(3).await)).await;
}

/// The ring may be seen by no shard, so each wait in it must end.
#[tokio::test(start_paused = true)]
async fn ring_of_loads_ends_if_a_shard_cannot_tell_about_waits() {
    let store = FakeStore::new(4);
    store.blind(3);
    let store = Store::Fake(store);
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

/// Takes longer than a call waits whose store cannot tell.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn slow_here(truth: &Truth, key: u64) -> u64 {
    truth.read();
    sleep(UNKNOWN + UNKNOWN / 4).await;
    key
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn outer_here(truth: &Truth, key: u64) -> u64 {
    slow_here(truth, key).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_nested_load_in_another_shard_of_a_server_is_one_load() {
    let store = Store::Server(Server::start());
    let (here, there) = (store.instance().await, store.instance().await);
    let truth = Arc::new(Truth::new());
    let spawn = |instance: &Instance, is_outer: bool, key| {
        let truth = Arc::clone(&truth);
        instance.spawn(async move {
            match is_outer {
                true => outer_here(&truth, key).await,
                false => slow_here(&truth, key).await,
            }
        })
    };
    let mut calls: Vec<_> = (0..KEYS).map(|key| spawn(&there, false, key)).collect();
    until("all keys are loaded", || truth.reads() == KEYS).await;
    calls.extend((0..KEYS).map(|key| spawn(&here, true, key)));
    for call in calls {
        call.await.unwrap();
    }
    assert_reads(&truth, KEYS, &[&here, &there]).await;
}
