//! A shared store of several shards in memory. A test cuts the link of one instance to one shard.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use multi_tier_cached::tier::kit::{
    LinkCounters, PendingInvalidations, PrivateTier, RecordStore, lock,
};
use multi_tier_cached::tier::{
    Breaker, FillResult, Guard, Health, Lease, LeaseMode, LeaseResult, Peers, ReadOptions,
    ReadResult, Receipt, RecordKey, Refusal, SharedTier, Target, Tier, TierBuilder, TierContext,
    TierFuture, TierSettings,
};
use multi_tier_cached::{Coherence, Error, ErrorKind};
use tokio::sync::Barrier;

/// Longer than any test.
const BOUND: Duration = Duration::from_secs(3_600);

/// A shared store of several shards. Clones are one store.
#[derive(Clone, Debug)]
pub struct FakeStore {
    shards: Arc<[Arc<Shard>]>,
}

/// The links of one instance to a store. Its clones build the tier of one runtime.
#[derive(Clone, Debug)]
pub struct FakeLinks {
    store: FakeStore,
    links: Arc<[Arc<Link>]>,
    /// How many shards are built, if not as many as there are.
    built: Option<usize>,
}

/// The records of one shard, and the instances that learn of its invalidations.
#[derive(Debug)]
struct Shard {
    tier: PrivateTier<Records>,
    links: Mutex<Vec<Arc<Link>>>,
}

/// The records, which never expire.
#[derive(Debug, Default)]
struct Records(Mutex<HashMap<String, Vec<u8>>>);

/// The link of one instance to one shard.
#[derive(Debug)]
struct Link {
    number: AtomicU64,
    coherence: Arc<Coherence>,
    counters: LinkCounters,
    peers: OnceLock<Peers>,
    pending: PendingInvalidations,
    is_lost: AtomicBool,
    /// `true` if the shard refuses invalidations, and does not start.
    is_broken: AtomicBool,
    is_running: AtomicBool,
    /// An operation on all shards continues once all of them have begun it.
    together: OnceLock<Arc<Barrier>>,
}

impl RecordStore for Records {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.0).get(key).cloned())
    }

    async fn put(&self, key: &str, record: Vec<u8>, _: Duration) -> Result<(), Error> {
        lock(&self.0).insert(key.to_owned(), record);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        lock(&self.0).remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), Error> {
        lock(&self.0).clear();
        Ok(())
    }
}

impl FakeStore {
    /// Creates an empty store with this number of shards.
    #[must_use]
    pub fn new(shards: u8) -> Self {
        let shard = |_| {
            let settings = TierSettings::new("fake_store", Duration::MAX).without_runtime();
            Arc::new(Shard {
                tier: PrivateTier::new(settings, Records::default()),
                links: Mutex::default(),
            })
        };
        Self {
            shards: (0..shards).map(shard).collect(),
        }
    }

    /// Connects an instance.
    #[must_use]
    pub fn connect(&self) -> FakeLinks {
        let connect = |shard: &Arc<Shard>| {
            let link = Arc::new(Link {
                number: AtomicU64::new(1),
                coherence: Arc::new(Coherence::new(BOUND)),
                counters: LinkCounters::default(),
                peers: OnceLock::new(),
                pending: PendingInvalidations::default(),
                is_lost: AtomicBool::new(false),
                is_broken: AtomicBool::new(false),
                is_running: AtomicBool::new(false),
                together: OnceLock::new(),
            });
            link.prove();
            lock(&shard.links).push(Arc::clone(&link));
            link
        };
        FakeLinks {
            links: self.shards.iter().map(connect).collect(),
            store: self.clone(),
            built: None,
        }
    }

    /// Returns the last parts of the names of a shard's records, which are the arguments.
    #[must_use]
    pub fn keys_in(&self, shard: usize) -> BTreeSet<String> {
        let records = lock(&self.shards[shard].tier.store().0);
        let arguments = |name: &String| name.rsplit(':').next().map(str::to_owned);
        records.keys().filter_map(arguments).collect()
    }
}

impl FakeLinks {
    /// Cuts the link to a shard.
    pub fn lose(&self, shard: usize) {
        let link = &self.links[shard];
        link.is_lost.store(true, Ordering::SeqCst);
        link.coherence.revoke();
        link.counters.isolated();
    }

    /// Makes a new link to a shard, as a tier does: it fences everything, does what is pending, and
    /// proves itself.
    pub async fn restore(&self, shard: usize) {
        let link = &self.links[shard];
        link.number.fetch_add(1, Ordering::SeqCst);
        link.peers().invalidated_all();
        let batch = link.pending.batch();
        for target in batch.targets() {
            self.store.shards[shard].invalidate(link, target).await;
            link.peers().done_late(target);
        }
        drop(link.pending.batch_done(&batch));
        link.is_lost.store(false, Ordering::SeqCst);
        link.prove();
    }

    /// Makes a shard fail invalidations, and its start.
    pub fn break_down(&self, shard: usize) {
        self.links[shard].is_broken.store(true, Ordering::SeqCst);
    }

    /// Lets an operation on all shards continue only once each of them has begun it.
    pub fn hold_until_all_begin(&self) {
        let barrier = Arc::new(Barrier::new(self.links.len()));
        for link in &*self.links {
            let _ = link.together.set(Arc::clone(&barrier));
        }
    }

    /// Builds only so many tiers, as a faulty builder does.
    #[must_use]
    pub fn built_with(mut self, shards: usize) -> Self {
        self.built = Some(shards);
        self
    }

    /// Returns the shards whose tiers have started and were not shut down.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let is_running = |at: &usize| self.links[*at].is_running.load(Ordering::SeqCst);
        (0..self.links.len()).filter(is_running).collect()
    }
}

impl Link {
    fn prove(&self) {
        self.coherence.proved(self.coherence.barrier());
    }

    fn peers(&self) -> &Peers {
        self.peers.get().expect("a link of a runtime")
    }

    fn check(&self) -> Result<(), Error> {
        match self.is_lost.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, "the link is cut")),
            false => Ok(()),
        }
    }

    async fn wait_for_all(&self) {
        if let Some(together) = self.together.get() {
            together.wait().await;
        }
    }
}

impl Shard {
    /// Invalidates on behalf of the instance with this link, and tells the other instances.
    async fn invalidate(&self, by: &Arc<Link>, target: Target<'_>) {
        let invalidated = self.tier.invalidate(target, Duration::MAX).await;
        assert_eq!(invalidated.ok(), Some(Receipt::Acked));
        for link in lock(&self.links).iter() {
            let Some(peers) = link.peers.get().filter(|_| !Arc::ptr_eq(link, by)) else {
                continue;
            };
            if link.check().is_ok() {
                match target {
                    Target::Key(key) => peers.invalidated_key(key.digest),
                    Target::Function(function) => peers.invalidated_function(function.digest),
                    Target::All => peers.invalidated_all(),
                }
            }
        }
    }
}

impl TierBuilder for FakeLinks {
    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        let mut shards = self.build_shards(std::slice::from_ref(context))?;
        Ok(shards.remove(0))
    }

    fn shards(&self) -> u8 {
        u8::try_from(self.links.len()).expect("at most 64 shards")
    }

    fn build_shards(
        self: Box<Self>,
        contexts: &[TierContext],
    ) -> Result<Vec<Arc<dyn Tier>>, Error> {
        let built = contexts.iter().take(self.built.unwrap_or(usize::MAX));
        let build = |context: &TierContext| {
            let index = usize::from(context.shard.index());
            let link = &self.links[index];
            link.peers.set(context.peers.clone()).expect("one runtime");
            let tier: Arc<dyn Tier> = Arc::new(ShardTier {
                index,
                shard: Arc::clone(&self.store.shards[index]),
                link: Arc::clone(link),
                settings: TierSettings::new("fake_store", Duration::from_secs(5)),
            });
            tier
        };
        Ok(built.map(build).collect())
    }
}

/// One shard as one instance uses it.
#[derive(Debug)]
struct ShardTier {
    index: usize,
    shard: Arc<Shard>,
    link: Arc<Link>,
    settings: TierSettings,
}

impl Tier for ShardTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    /// Returns a constant, so that records do not expire.
    fn now(&self) -> u64 {
        0
    }

    fn breaker(&self) -> Breaker {
        match self.link.check() {
            Ok(()) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn health(&self) -> Health {
        let Link {
            counters,
            coherence,
            pending,
            ..
        } = &*self.link;
        let mut health = counters.health(self.link.check().is_ok(), coherence, pending.len());
        health.address = Some(format!("fake:{}", self.index));
        health
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.link.wait_for_all().await;
            if self.link.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "no server"));
            }
            self.link.is_running.store(true, Ordering::SeqCst);
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(async move {
            self.link.check()?;
            let mut found = self.shard.tier.read(key, options, within).await?;
            found.record = found.record.filter(|_| !self.is_pending(key));
            Ok(found)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(async move {
            self.link.check()?;
            if self.is_pending(key) {
                return Ok(LeaseResult::Refused(Refusal::Queued));
            }
            let lease = self.shard.tier.lease(key, mode, expected_header, within);
            lease.await
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(async move {
            self.link.check()?;
            self.shard.tier.fill(key, lease, record, life, within).await
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            if let Target::Function(_) | Target::All = target {
                self.link.wait_for_all().await;
            }
            if self.link.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Protocol, "invalidate: refused"));
            }
            if self.link.check().is_err() {
                self.link.pending.queue(target);
                return Ok(Receipt::Queued);
            }
            self.shard.invalidate(&self.link, target).await;
            Ok(Receipt::Acked)
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.link.pending.queue(target);
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.link.pending.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            self.link.check()?;
            self.shard.tier.guard(key, within).await
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(self.link.pending.wait_empty())
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        // Other instances still use the records.
        self.link.is_running.store(false, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn ping(&self, _: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async {
            self.link.wait_for_all().await;
            self.link.check()?;
            Ok(Duration::from_millis(self.index as u64))
        })
    }
}

impl SharedTier for ShardTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.link.coherence
    }

    fn link(&self) -> u64 {
        self.link.number.load(Ordering::SeqCst)
    }
}
