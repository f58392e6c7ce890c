//! The tier's contract, on memcached.

mod fill;
mod invalidate;
mod lease;
mod lifecycle;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::Supervisor;
use cache_core::tier::{
    Breaker, Expiry, FillResult, Guard, Health, Lease, LeaseMode, LeaseResult, Peers, ReadOptions,
    ReadResult, Receipt, RecordKey, SharedTier, Target, Tier, TierBuilder, TierContext, TierFuture,
    TierSettings,
};
use cache_core::{Coherence, Error};
use tokio::time::{Instant, timeout};

use crate::commands::log::Effect;
use crate::commands::ping::Ping;
use crate::commands::read::ReadRecord;
use crate::config::Memcached;
use crate::error::STORE;
use crate::session::MemcachedSession;

/// memcached as a tier.
pub(crate) struct MemcachedTier {
    session: Arc<MemcachedSession>,
    settings: TierSettings,
    supervisor: Supervisor,
}

impl MemcachedTier {
    fn new(config: Memcached, peers: Peers) -> Self {
        let settings =
            TierSettings::new(STORE, config.time_limit).max_record_bytes(config.max_record_bytes);
        Self {
            session: Arc::new(MemcachedSession::new(config, peers)),
            settings,
            supervisor: Supervisor::default(),
        }
    }

    async fn read_record(&self, key: &RecordKey, within: Duration) -> Result<ReadResult, Error> {
        let names = self.session.keys.names(key);
        let read = self.session.run(ReadRecord { names }, within).await?;
        // A record that is to be deleted is treated as missing.
        let record = read.record.filter(|_| !self.session.pending.covers(key));
        Ok(ReadResult::new(record, read.stamp))
    }

    async fn place_guard(&self, key: &RecordKey, within: Duration) -> Guard {
        let number = fastrand::u64(1..);
        let (session, guarded) = (Arc::clone(&self.session), key.clone());
        let invalidate = move || session.invalidate_later(Target::Key(&guarded));
        let holder = self.session.guards.hold(number, key.clone(), invalidate);
        if let Some((link, _)) = self.session.link.current() {
            // A guard that is not placed in time is placed with the next renewal, or over the next
            // link.
            let placing = self.session.place_guard(&link, number, key);
            let _ = timeout(within, placing).await;
        }
        Guard::new(holder)
    }
}

impl TierBuilder for Memcached {
    fn store(&self) -> Option<String> {
        let (address, namespace) = (self.address()?, &self.namespace);
        Some(format!("the namespace `{namespace}` of {address}"))
    }

    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(MemcachedTier::new(*self, context.peers.clone())))
    }
}

impl fmt::Debug for MemcachedTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedTier")
            .field("config", &self.session.config)
            .finish_non_exhaustive()
    }
}

impl Drop for MemcachedTier {
    fn drop(&mut self) {
        self.close();
    }
}

impl Tier for MemcachedTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        self.session.link.breaker()
    }

    fn health(&self) -> Health {
        let session = &self.session;
        let is_connected = session.link.is_connected();
        let queued = session.pending.len();
        let counters = &session.counters;
        counters.health(is_connected, &session.coherence, queued)
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(self.connect())
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(self.read_record(key, within))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(self.take_lease(key, mode, expected_header, within))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(self.store_record(key, lease.token, record, life, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.invalidate_within(target, Effect::Invalidated, within))
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.session.invalidate_later(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.publish_tags_within(tags, Effect::Invalidated, within))
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.session.invalidate_tags_later(tags);
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        let target = match target {
            Expiry::Key(key) => Target::Key(key),
            Expiry::Function(function) => Target::Function(function),
            Expiry::Tags(tags) => {
                return Box::pin(self.publish_tags_within(tags, Effect::Expired, within));
            }
        };
        Box::pin(self.invalidate_within(target, Effect::Expired, within))
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.session.pending.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move { Ok(self.place_guard(key, within).await) })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.session.run(Ping, within).await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(self.wait_until_settled())
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(self.end())
    }
}

impl SharedTier for MemcachedTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.session.coherence
    }

    fn link(&self) -> u64 {
        self.session.link.number()
    }
}
