//! One shard of a store, and the links of the instances to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use multi_tier_cached::tier::kit::{
    LinkCounters, LocalLedger, PendingInvalidations, PrivateTier, RecordStore, lock,
};
use multi_tier_cached::tier::{Expiry, Peers, Receipt, Target, Tier, TierSettings};
use multi_tier_cached::{Coherence, Error, ErrorKind};
use tokio::sync::Barrier;
use tokio::task::yield_now;

use super::waits::Waits;

/// Longer than any test.
const BOUND: Duration = Duration::from_secs(3_600);

/// The records of one shard, and the instances that learn of its invalidations.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) tier: PrivateTier<Records>,
    links: Mutex<Vec<Arc<Link>>>,
    pub(super) waits: Waits,
    pub(super) ledger: LocalLedger,
    /// `true` if the shard cannot tell about waits.
    pub(super) is_blind: AtomicBool,
    /// The tags whose messages are held; `None` if messages arrive at once.
    held_tags: Mutex<Option<Vec<u64>>>,
}

/// The records, which never expire.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<HashMap<String, Vec<u8>>>);

/// The link of one instance to one shard.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: AtomicU64,
    pub(super) coherence: Arc<Coherence>,
    pub(super) counters: LinkCounters,
    pub(super) peers: OnceLock<Peers>,
    pub(super) pending: PendingInvalidations,
    pub(super) is_lost: AtomicBool,
    /// `true` if the shard refuses invalidations, and does not start.
    pub(super) is_broken: AtomicBool,
    pub(super) is_running: AtomicBool,
    /// `true` if each operation takes several polls.
    pub(super) is_slow: AtomicBool,
    /// An operation on all shards continues once all of them have begun it.
    pub(super) together: OnceLock<Arc<Barrier>>,
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

impl Link {
    fn new() -> Self {
        let this = Self {
            number: AtomicU64::new(1),
            coherence: Arc::new(Coherence::new(BOUND)),
            counters: LinkCounters::default(),
            peers: OnceLock::new(),
            pending: PendingInvalidations::default(),
            is_lost: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            is_running: AtomicBool::new(false),
            is_slow: AtomicBool::new(false),
            together: OnceLock::new(),
        };
        this.prove();
        this
    }

    pub(super) fn prove(&self) {
        self.coherence.proved(self.coherence.barrier());
    }

    pub(super) fn peers(&self) -> &Peers {
        self.peers.get().expect("a link of a runtime")
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match self.is_lost.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, "the link is cut")),
            false => Ok(()),
        }
    }

    /// An await point, if operations are slow.
    pub(super) async fn step(&self) {
        if self.is_slow.load(Ordering::SeqCst) {
            yield_now().await;
        }
    }

    pub(super) async fn wait_for_all(&self) {
        if let Some(together) = self.together.get() {
            together.wait().await;
        }
    }
}

impl Shard {
    pub(super) fn new() -> Self {
        let settings = TierSettings::new("fake_store", Duration::MAX).without_runtime();
        Self {
            tier: PrivateTier::new(settings, Records::default()),
            links: Mutex::default(),
            waits: Waits::default(),
            ledger: LocalLedger::default(),
            is_blind: AtomicBool::new(false),
            held_tags: Mutex::default(),
        }
    }

    /// Links an instance to the shard.
    pub(super) fn connect(&self) -> Arc<Link> {
        let link = Arc::new(Link::new());
        lock(&self.links).push(Arc::clone(&link));
        link
    }

    /// Returns the names of the records.
    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.tier.store().0).keys().cloned().collect()
    }

    /// Invalidates on behalf of the instance with this link, and tells the other instances.
    pub(super) async fn invalidate(&self, by: &Arc<Link>, target: Target<'_>) {
        let invalidated = self.tier.invalidate(target, Duration::MAX).await;
        assert_eq!(invalidated.ok(), Some(Receipt::Acked));
        self.waits.void(target);
        self.tell_others(by, |peers| match target {
            Target::Key(key) => peers.invalidated_key(key.digest),
            Target::Function(function) => peers.invalidated_function(function.digest),
            Target::All => peers.invalidated_all(),
        });
    }

    /// Invalidates tags on behalf of the instance with this link, and tells the other instances.
    pub(super) fn invalidate_tags(&self, by: &Arc<Link>, tags: &[u64]) {
        self.ledger.invalidate_tags(tags);
        if let Some(held) = lock(&self.held_tags).as_mut() {
            held.extend(tags);
            return;
        }
        self.tell_others(by, |peers| {
            tags.iter().for_each(|tag| peers.invalidated_tag(*tag));
        });
    }

    /// Holds messages about tags from now on.
    pub(super) fn hold_tags(&self) {
        *lock(&self.held_tags) = Some(Vec::new());
    }

    /// Tells all instances about the tags whose messages were held.
    pub(super) fn deliver_tags(&self) {
        for tag in lock(&self.held_tags).take().into_iter().flatten() {
            let links = lock(&self.links);
            let peers = links.iter().filter_map(|link| link.peers.get());
            peers.for_each(|peers| peers.invalidated_tag(tag));
        }
    }

    /// Expires on behalf of the instance with this link, and tells the other instances.
    pub(super) async fn expire(&self, by: &Arc<Link>, target: Expiry<'_>) {
        if let Expiry::Key(key) = target {
            // Voids the leases, and keeps the record.
            let record = lock(&self.tier.store().0).get(&key.name()).cloned();
            let void = self.tier.invalidate(Target::Key(key), Duration::MAX).await;
            assert_eq!(void.ok(), Some(Receipt::Acked));
            self.waits.void(Target::Key(key));
            if let Some(record) = record {
                lock(&self.tier.store().0).insert(key.name(), record);
            }
        }
        self.ledger.expire(target);
        self.tell_others(by, |peers| {
            let digests = target.digests().iter();
            digests.for_each(|digest| peers.expired(*digest));
        });
    }

    fn tell_others(&self, by: &Arc<Link>, tell: impl Fn(&Peers)) {
        for link in lock(&self.links).iter() {
            let others = link.peers.get().filter(|_| !Arc::ptr_eq(link, by));
            if let Some(peers) = others.filter(|_| link.check().is_ok()) {
                tell(peers);
            }
        }
    }
}
