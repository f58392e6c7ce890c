//! Callers of all keys, and invalidations of all keys, without an end.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{invalidate, multi_tier_cached};
use testbed::Instance;
use testbed::cluster::Cluster;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::instance::BOUND;

/// Number of keys of each function.
const KEYS: usize = 128;

/// Pause of a caller between two calls.
const CALL_PAUSE: Duration = Duration::from_millis(2);

/// Pause between two invalidations of keys of one shard.
const INVALIDATION_PAUSE: Duration = Duration::from_millis(25);

/// Acknowledged invalidations of a key that are kept: more than one key gets within the bound.
const KEPT: usize = 64;

/// Is called within the staleness bound. Keys from zero on.
#[multi_tier_cached(ttl = "1h", name = "soak::sharded", when_isolated = "load", skip(load))]
async fn bounded(load: &Load, key: usize) -> u64 {
    load.version(key)
}

/// Asks its shard at each call. Keys from [`KEYS`] on.
#[multi_tier_cached(
    ttl = "1h",
    name = "soak::sharded_strong",
    consistency = "strong",
    skip(load)
)]
async fn strong(load: &Load, key: usize) -> u64 {
    load.version(key)
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) key: usize,
    pub(super) took: Duration,
    /// `true` if the value was older than the bound allows.
    pub(super) is_stale: bool,
}

#[derive(Debug, Default)]
struct Key {
    /// Relaxed: an invalidation and its acknowledgement lie between a commit and its judgement.
    version: AtomicU64,
    /// When the invalidation of a version was acknowledged.
    acknowledged: Mutex<VecDeque<(Instant, u64)>>,
}

/// The source of truth, and what callers observed.
#[derive(Debug)]
pub(super) struct Load {
    keys: Vec<Key>,
    samples: Mutex<Vec<Sample>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            keys: (0..2 * KEYS).map(|_| Key::default()).collect(),
            samples: Mutex::default(),
        }
    }

    fn version(&self, key: usize) -> u64 {
        self.keys[key].version.load(Ordering::Relaxed)
    }

    /// Takes the calls since the last time.
    pub(super) fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut lock(&self.samples))
    }

    /// Returns the version that a call of this key has to return at least.
    fn expected(&self, key: usize, at: Instant) -> u64 {
        let bound = if key < KEYS { BOUND } else { Duration::ZERO };
        let acknowledged = lock(&self.keys[key].acknowledged);
        let known = acknowledged
            .iter()
            .filter(|(since, _)| *since + bound <= at);
        known.map(|(_, version)| *version).max().unwrap_or(0)
    }

    /// Calls every key once.
    pub(super) async fn fill(&self, instance: &Instance) {
        for key in 0..self.keys.len() {
            self.call(instance, key).await;
        }
        lock(&self.samples).clear();
    }

    async fn call(&self, instance: &Instance, key: usize) {
        let began = Instant::now();
        let expected = self.expected(key, began);
        let version = match key < KEYS {
            true => instance.call(bounded(self, key)).await,
            false => instance.call(strong(self, key)).await,
        };
        lock(&self.samples).push(Sample {
            key,
            took: began.elapsed(),
            is_stale: version < expected,
        });
    }

    async fn change(&self, instance: &Instance, key: usize) {
        let version = self.keys[key].version.fetch_add(1, Ordering::Relaxed) + 1;
        let invalidation = match key < KEYS {
            true => invalidate!(bounded, self, key),
            false => invalidate!(strong, self, key),
        };
        if let Ok(Receipt::Acked) = instance.call(invalidation).await {
            let mut acknowledged = lock(&self.keys[key].acknowledged);
            acknowledged.push_back((Instant::now(), version));
            if acknowledged.len() > KEPT {
                acknowledged.pop_front();
            }
        }
    }

    /// Starts to call the keys on `here` and to invalidate them on `there`. The calls and the
    /// invalidations of one shard do not wait for those of another one.
    pub(super) fn start(
        self: &Arc<Self>,
        here: &Instance,
        there: &Instance,
        shards: &[u8],
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let mut numbers: Vec<u8> = shards.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        for shard in numbers {
            let of_shard = |key: &usize| shards[*key] == shard;
            let keys: Vec<usize> = (0..shards.len()).filter(of_shard).collect();
            let (load, instance, called) = (Arc::clone(self), here.clone(), keys.clone());
            tasks.spawn(async move {
                let mut rng = Rng::with_seed(shard.into());
                loop {
                    load.call(&instance, called[rng.usize(..called.len())])
                        .await;
                    sleep(CALL_PAUSE).await;
                }
            });
            let (load, instance) = (Arc::clone(self), there.clone());
            tasks.spawn(async move {
                let mut rng = Rng::with_seed(u64::from(shard) + 100);
                loop {
                    load.change(&instance, keys[rng.usize(..keys.len())]).await;
                    sleep(INVALIDATION_PAUSE).await;
                }
            });
        }
        tasks
    }
}

/// Returns the shard of each key, which the name of its record has.
///
/// # Errors
/// A key has no record.
pub(super) async fn shards_of_keys(cluster: &Cluster) -> io::Result<Vec<u8>> {
    let mut shards = vec![None; 2 * KEYS];
    for primary in cluster.primaries().await {
        for name in cluster.node(primary).records() {
            // `{namespace:shard}:function:version:key`
            let shard = name.split_once('}').and_then(|(tag, _)| {
                let (_, shard) = tag.rsplit_once(':')?;
                shard.parse::<u8>().ok()
            });
            let key = name
                .rsplit(':')
                .next()
                .and_then(|key| key.parse::<usize>().ok());
            if let Some(known) = key.and_then(|key| shards.get_mut(key)) {
                *known = shard;
            }
        }
    }
    let all = shards.into_iter().collect::<Option<Vec<u8>>>();
    all.ok_or_else(|| io::Error::other("a key has no record"))
}
