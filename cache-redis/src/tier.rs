//! The contract of a tier, on Redis. Each operation has a file of its own beside this one.

mod fill;
mod guard;
mod invalidate;
mod lease;
mod read;
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::tier::kit::{OwnedTarget, Supervisor};
use cache_core::tier::{
    Breaker, Deadlock, FillResult, FunctionKey, Glob, Guard, Health, HeldLease, Lease, LeaseMode,
    LeaseResult, Peers, ReadOptions, ReadResult, Receipt, RecordKey, SharedTier, Target, Tier,
    TierBuilder, TierContext, TierFuture, TierSettings,
};
use cache_core::{Coherence, Error};
use redis::{Client, ConnectionInfo, IntoConnectionInfo};
use tokio::time::{Instant, sleep};

use crate::bus::Bus;
use crate::config::{Redis, Settings};
use crate::journal::Journal;
use crate::keys::Keys;
use crate::session::RedisSession;

/// The clocks of two hosts may differ by one part in this many while a staleness bound passes.
const DRIFT: u32 = 100;

/// The tier: a session, and the task that keeps it connected.
#[derive(Debug)]
pub(crate) struct RedisTier {
    pub(crate) session: Arc<RedisSession>,
    supervisor: Supervisor,
    settings: TierSettings,
}

impl RedisTier {
    pub(crate) fn new(client: Client, settings: Settings, peers: Peers) -> Result<Self, Error> {
        let journal = match &settings.journal_file {
            None => Journal::default(),
            Some(path) => Journal::with_file(path)?,
        };
        let database = client.get_connection_info().redis_settings().db();
        let keys = Keys::new(&settings.namespace, database);
        let coherence = Coherence::new(settings.staleness_bound);
        let bus = Arc::new(Bus::new(keys.channel(), peers, coherence));
        Ok(Self {
            settings: TierSettings::new("redis", settings.time_limit)
                .max_record_bytes(settings.max_record_bytes),
            session: Arc::new(RedisSession::new(client, settings, keys, bus, journal)),
            supervisor: Supervisor::default(),
        })
    }
}

impl TierBuilder for Redis {
    fn store(&self) -> Option<String> {
        let info: ConnectionInfo = self.url.as_str().into_connection_info().ok()?;
        let (server, database) = (info.addr(), info.redis_settings().db());
        let namespace = &self.settings.namespace;
        Some(format!(
            "the namespace `{namespace}` of {server}, database {database}"
        ))
    }

    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        let client = self.client()?;
        let tier = RedisTier::new(client, self.settings, context.peers.clone())?;
        Ok(Arc::new(tier))
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
        self.session.journal.queue(OwnedTarget::of(target));
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.session.journal.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move { Ok(self.session.guard(key, within).await) })
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
        health.unusable = session.unusable();
        if session.evicts_at_random.load(Ordering::Relaxed) {
            let policy =
                "control keys are not safe: Redis evicts keys at random (`maxmemory-policy`)";
            health.unusable.push(policy.to_owned());
        }
        health
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

    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        Box::pin(self.session.wait_for_replicas(replicas, within))
    }
}
