//! The contract of a tier, on Redis. Each operation has a file of its own beside this one.

mod fill;
mod guard;
mod in_progress;
mod inspect;
mod invalidate;
mod lease;
mod read;
mod read_many;
mod shutdown;
mod tags;
mod waits;

use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(feature = "inspect")]
use cache_core::tier::ObservedRuntime;
use cache_core::tier::kit::Supervisor;
use cache_core::tier::{
    Breaker, Deadlock, Expiry, Fill, FillResult, FunctionKey, Glob, Guard, Health, HeldLease,
    Inspection, Lease, LeaseMode, LeaseRequest, LeaseResult, Ledger, ManyFuture, ReadOptions,
    ReadResult, Receipt, RecordKey, ShardWaits, SharedTier, Target, Tier, TierBuilder, TierContext,
    TierFuture, TierSettings,
};
use cache_core::{Coherence, Error, ErrorKind};
use tokio::time::{Instant, sleep};

use crate::bus::Bus;
use crate::config::{Redis, Settings};
use crate::journal::{self, Invalidated, Journal};
use crate::keys::Keys;
use crate::layout::Layout;
use crate::locator::{KnownNodes, Locator};
use crate::number::fresh_owner;
#[cfg(feature = "inspect")]
use crate::observe::Publisher;
use crate::session::{RedisSession, Reported};
use crate::topology::Topology;

/// The clocks of two hosts may differ by one part in this many while a staleness bound passes.
const DRIFT: u32 = 100;

/// The parts that the shards of one instance have in common.
struct Common {
    topology: Topology,
    settings: Settings,
    layout: Arc<Layout>,
    known: Arc<KnownNodes>,
    reported: Arc<Reported>,
    /// The number of the instance.
    owner: u32,
}

/// The tier of one shard: a session, and the task that keeps it connected.
#[derive(Debug)]
pub(crate) struct RedisTier {
    pub(crate) session: Arc<RedisSession>,
    supervisor: Supervisor,
    settings: TierSettings,
    /// The task that publishes the state of the instance.
    #[cfg(feature = "inspect")]
    publisher: Publisher,
}

impl RedisTier {
    fn new(common: &Common, context: &TierContext) -> Result<Self, Error> {
        let (settings, shard) = (common.settings.clone(), context.shard);
        let journal = match &settings.journal_file {
            None => Journal::default(),
            Some(path) => Journal::with_file(path, shard)?,
        };
        let keys = Keys::new(&settings.namespace, shard, common.topology.database());
        let coherence = Coherence::new(settings.staleness_bound);
        let bus = Bus::new(keys.channel(), context.peers.clone(), coherence);
        let locator = Locator::new(
            common.topology.clone(),
            settings.access.clone(),
            keys.heartbeat(),
            settings.connect_limit,
            Arc::clone(&common.known),
            shard.index().into(),
        );
        let place = (
            shard,
            Arc::clone(&common.layout),
            Arc::clone(&common.reported),
            common.owner,
        );
        Ok(Self {
            settings: TierSettings::new("redis", settings.time_limit)
                .max_record_bytes(settings.max_record_bytes),
            session: Arc::new(RedisSession::new(
                locator,
                place,
                settings,
                keys,
                Arc::new(bus),
                journal,
            )),
            supervisor: Supervisor::default(),
            #[cfg(feature = "inspect")]
            publisher: Publisher::default(),
        })
    }
}

impl Redis {
    /// Builds the tier of each shard.
    pub(crate) fn tiers(self, contexts: &[TierContext]) -> Result<Vec<RedisTier>, Error> {
        let topology = self.check()?;
        let shards = self.shard_count();
        if let Some(other) = contexts
            .iter()
            .find(|context| context.shard.count() != shards)
        {
            let problem = format!(
                "Redis is set to {shards} shards (`Redis::shards`), and is built as {}",
                other.shard
            );
            let error = Error::new(ErrorKind::Configuration, problem);
            return Err(error.with_help("build it by `TierBuilder::build_shards`"));
        }
        if let Some(path) = &self.settings.journal_file {
            journal::check_other_layouts(path, shards)?;
        }
        let common = Common {
            layout: Arc::new(Layout::new(&self.settings.namespace, shards)),
            known: Arc::default(),
            reported: Arc::default(),
            owner: fresh_owner(),
            topology,
            settings: self.settings,
        };
        contexts
            .iter()
            .map(|context| RedisTier::new(&common, context))
            .collect()
    }
}

impl TierBuilder for Redis {
    fn store(&self) -> Option<String> {
        let topology = self.check().ok()?;
        let (server, database) = (topology.describe(), topology.database());
        let namespace = &self.settings.namespace;
        Some(format!(
            "the namespace `{namespace}` of {server}, database {database}"
        ))
    }

    fn shards(&self) -> u8 {
        // If the setting cannot be used, `build_shards` reports it.
        self.check().map_or(1, |_| self.shard_count())
    }

    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        let mut tiers = self.tiers(slice::from_ref(context))?;
        Ok(Arc::new(tiers.swap_remove(0)))
    }

    fn build_shards(
        self: Box<Self>,
        contexts: &[TierContext],
    ) -> Result<Vec<Arc<dyn Tier>>, Error> {
        let tiers = self.tiers(contexts)?.into_iter();
        Ok(tiers.map(|tier| Arc::new(tier) as Arc<dyn Tier>).collect())
    }
}

impl Tier for RedisTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn now(&self) -> u64 {
        self.session.now()
    }

    fn breaker(&self) -> Breaker {
        self.session.link.breaker()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(self.connect())
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(self.session.read(key, options, within))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(self.session.lease(key, mode, expected_header, within))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(self.session.fill(key, lease, record, life, within))
    }

    fn read_many<'a>(
        &'a self,
        keys: &'a [&'a RecordKey],
        options: ReadOptions,
        within: Duration,
    ) -> ManyFuture<'a, ReadResult> {
        Box::pin(self.session.read_many(keys, options, within))
    }

    fn lease_many<'a>(
        &'a self,
        requests: &'a [LeaseRequest<'a>],
        mode: LeaseMode,
        within: Duration,
    ) -> ManyFuture<'a, LeaseResult> {
        Box::pin(self.session.lease_many(requests, mode, within))
    }

    fn fill_many<'a>(
        &'a self,
        fills: Vec<Fill<'a>>,
        within: Duration,
    ) -> ManyFuture<'a, FillResult> {
        Box::pin(self.session.fill_many(fills, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.session.invalidate(target, within))
    }

    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        Box::pin(self.session.instances(name, version))
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        Box::pin(self.session.invalidate_matching(function, glob))
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.session.journal.queue(Invalidated::of(target));
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.session.invalidate_tags(tags, within))
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        let tags = Invalidated::Tags(tags.to_vec());
        self.session.journal.queue(tags);
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.session.expire(target, within))
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(&*self.session)
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.session.journal.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move { Ok(self.session.guard(key, within).await) })
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(self.session.inspect(key, within))
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.session
                .run("ping", within, |mut link| async move {
                    redis::cmd("PING").exec_async(&mut link.data).await
                })
                .await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.session.journal.flushed().await?;
            // After this, no instance still serves from memory by a barrier from before the
            // invalidation.
            let bound = self.session.bus.coherence.staleness_bound();
            sleep(bound + bound / DRIFT).await;
            Ok(())
        })
    }

    fn health(&self) -> Health {
        let session = &self.session;
        let mut health = session.counters.health(
            session.link.is_connected(),
            &session.bus.coherence,
            session.journal.len(),
        );
        health.address = session.tried();
        health.unusable = session.unusable();
        health.unusable.extend(session.renewal.problem());
        if session.evicts_at_random.load(Ordering::Relaxed) {
            let policy =
                "control keys are not safe: Redis evicts keys at random (`maxmemory-policy`)";
            health.unusable.push(policy.to_owned());
        }
        health
    }

    #[cfg(feature = "inspect")]
    fn observe(&self, runtime: Arc<dyn ObservedRuntime>) {
        self.publisher.start(&self.session, runtime);
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(self.end())
    }
}

impl SharedTier for RedisTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.session.bus.coherence
    }

    fn link(&self) -> u64 {
        self.session.link.number()
    }

    fn deadlock<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a RecordKey,
        within: Duration,
    ) -> TierFuture<'a, Deadlock> {
        Box::pin(self.session.deadlock(held, awaited, within))
    }

    fn shard_waits(&self) -> Option<&dyn ShardWaits> {
        Some(&*self.session)
    }

    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        Box::pin(self.session.wait_for_replicas(replicas, within))
    }
}
