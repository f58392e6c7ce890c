//! A shared store of several shards in memory. A test cuts the link of one instance to one shard.

mod shard;
mod tier;
mod waits;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use multi_tier_cached::Error;
use multi_tier_cached::tier::{Tier, TierBuilder, TierContext};
use tokio::sync::Barrier;

use self::shard::{Link, Shard};
use self::tier::ShardTier;

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

impl FakeStore {
    /// Creates an empty store with this number of shards.
    #[must_use]
    pub fn new(shards: u8) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::new(Shard::new())).collect(),
        }
    }

    /// Connects an instance.
    #[must_use]
    pub fn connect(&self) -> FakeLinks {
        FakeLinks {
            links: self.shards.iter().map(|shard| shard.connect()).collect(),
            store: self.clone(),
            built: None,
        }
    }

    /// Makes a shard unable to tell about waits.
    pub fn blind(&self, shard: usize) {
        self.shards[shard].is_blind.store(true, Ordering::SeqCst);
    }

    /// Holds the messages about invalidated tags from now on.
    pub fn hold_tags(&self) {
        self.shards.iter().for_each(|shard| shard.hold_tags());
    }

    /// Delivers these messages to all instances.
    pub fn deliver_tags(&self) {
        self.shards.iter().for_each(|shard| shard.deliver_tags());
    }

    /// Returns the last parts of the names of a shard's records, which are the arguments.
    #[must_use]
    pub fn keys_in(&self, shard: usize) -> BTreeSet<String> {
        let names = self.shards[shard].names();
        let arguments = |name: &String| name.rsplit(':').next().map(str::to_owned);
        names.iter().filter_map(arguments).collect()
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
        self.store.shards[shard].invalidate_tags(link, &batch.tags);
        link.peers().tags_done_late(&batch.tags);
        drop(link.pending.batch_done(&batch));
        link.is_lost.store(false, Ordering::SeqCst);
        link.prove();
    }

    /// Makes each operation take several polls from now on.
    pub fn slow_down(&self) {
        let links = self.links.iter();
        links.for_each(|link| link.is_slow.store(true, Ordering::SeqCst));
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
            let shard = Arc::clone(&self.store.shards[index]);
            let tier: Arc<dyn Tier> = Arc::new(ShardTier::new(index, shard, Arc::clone(link)));
            tier
        };
        Ok(built.map(build).collect())
    }
}
