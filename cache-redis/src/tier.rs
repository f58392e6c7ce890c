//! The tier's contract, on Redis.

mod guard;
mod lease;
mod pending;
mod read;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::tier::{
    Breaker, Deadlock, FillResult, FunctionKey, Glob, Guard, Health, HeldLease, Lease, LeaseMode,
    LeaseResult, Peers, ReadOptions, ReadResult, Receipt, RecordKey, SharedTier, Target, Tier,
    TierBuilder, TierContext, TierFuture, TierSettings,
};
use cache_core::{Coherence, Error, ErrorKind};
use redis::{Client, ConnectionInfo, IntoConnectionInfo};
use tokio::time::{Instant, sleep};

use self::guard::Holder;
use self::pending::Pending;
use crate::bus::Bus;
use crate::commands::guard::GuardedKey;
use crate::config::{Redis, Settings};
use crate::journal::{Invalidated, Journal};
use crate::keys::Keys;
use crate::link::Shared;
use crate::number::fresh_number;
use crate::permissions::Purpose;
use crate::server;
use crate::supervisor::Link;

/// What the clocks of two hosts may run apart, in one part of so many, while a bound passes.
const DRIFT: u32 = 100;

#[derive(Debug)]
pub(crate) struct RedisTier {
    link: Link,
    settings: Settings,
    tier_settings: TierSettings,
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
        let tier_settings = TierSettings::new("redis", settings.time_limit)
            .max_record_bytes(settings.max_record_bytes);
        Ok(Self {
            link: Link::new(client, settings.clone(), keys, bus, journal),
            settings,
            tier_settings,
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        self.link.shared()
    }

    async fn place_guard(&self, key: &RecordKey, within: Duration) -> Result<Guard, Error> {
        let shared = self.shared();
        let number = fresh_number();
        let guarded = GuardedKey::new(&shared.keys, key);
        // Held before it is placed: one that nobody waits for any more is ended.
        let what = Invalidated::of(Target::Key(key));
        let holder = Holder::new(shared, number, guarded.clone(), what);
        if shared.permissions.lacks(Purpose::WriteGuards) {
            // It is never held, and still invalidates in the end.
            return Ok(Guard::new(holder));
        }
        let placed = shared
            .run("guard", within, |connected, generation| async move {
                shared.guard(&connected, generation, number, &guarded).await
            })
            .await;
        // It is placed with the next renewal, and invalidates in the end in any case.
        if let Err(error) = placed {
            tracing::debug!(error = ?error, "a guard is not placed yet");
        }
        Ok(Guard::new(holder))
    }

    async fn wait_for_replicas(&self, replicas: u32, within: Duration) -> Result<(), Error> {
        let shared = self.shared();
        if let Some(missing) = shared.missing(Purpose::Replicated) {
            return Err(missing);
        }
        let (linked, generation) = shared.current.get().ok_or_else(unattached)?;
        // Whoever waits there would keep all others waiting on the link's own connection.
        let count = shared
            .known_to_replicas(&linked, generation, replicas, within)
            .await?;
        if count >= replicas {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "only {count} of {replicas} replicas had the write within {} ms",
                within.as_millis()
            ),
        ))
    }

    async fn void(&self, target: Target<'_>, within: Duration) -> Result<Receipt, Error> {
        let shared = &**self.shared();
        if shared.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        let pending = Pending::begin(self.shared(), target);
        let forget = || {
            if let Target::Function(function) = target {
                shared.bus.epochs.forget(function.digest);
            }
        };
        forget();
        let Some(what) = pending.what() else {
            return Ok(Receipt::Queued);
        };
        let sent = shared
            .run("invalidate", within, |connected, generation| async move {
                shared.send(&connected, what).await?;
                Ok(generation)
            })
            .await;
        forget();
        match sent {
            Ok(generation) => {
                pending.acknowledged(generation);
                Ok(Receipt::Acked)
            }
            Err(error) => {
                // One warning for an outage, however many are queued in it.
                if shared.journal.len() == 0 {
                    tracing::warn!(
                        error = ?error,
                        "an invalidation could not be sent to Redis and is queued; until it is sent, other instances may answer with the old value"
                    );
                } else {
                    tracing::debug!(error = ?error, "an invalidation is queued");
                }
                pending.queue().await;
                Ok(Receipt::Queued)
            }
        }
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
        &self.tier_settings
    }

    fn now(&self) -> u64 {
        self.shared().now()
    }

    fn breaker(&self) -> Breaker {
        self.shared().breaker().state()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            match self.link.start().await {
                Err(error) if self.settings.required => {
                    self.link.close();
                    Err(Error::with_source(
                        error.kind(),
                        format!(
                            "Redis at {} is required and cannot be reached",
                            self.shared().address()
                        ),
                        error,
                    ))
                }
                _ => Ok(()),
            }
        })
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
        Box::pin(self.find(key, options, within))
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
        Box::pin(self.store(key, lease, record, life, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.void(target, within))
    }

    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        Box::pin(async move {
            let shared = self.shared();
            let (connected, _) = shared.current.get().ok_or_else(unattached)?;
            let found = shared.instances(&connected, name, version).await;
            found.map_err(|error| server::failed("list the instances of a function", error))
        })
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        Box::pin(async move {
            let shared = self.shared();
            if let Some(missing) = shared.missing(Purpose::InvalidateMatching) {
                return Err(missing);
            }
            let (connected, _) = shared.current.get().ok_or_else(unattached)?;
            let swept = shared.sweep(&connected, function, glob).await;
            swept.map_err(|error| {
                shared.permissions.doubt();
                server::failed("invalidate what matches", error)
            })
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.shared().journal.queue(Invalidated::of(target));
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.shared().journal.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(self.place_guard(key, within))
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.shared()
                .run("ping", within, |mut connected, _| async move {
                    redis::cmd("PING").exec_async(&mut connected.data).await
                })
                .await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let shared = self.shared();
            if !shared.journal.drained().await {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the tier was shut down before a queued invalidation was sent",
                ));
            }
            // Every right to answer from memory that was given before is over after this, whoever it was given to.
            let bound = shared.bus.coherence.bound();
            sleep(bound + bound / DRIFT).await;
            Ok(())
        })
    }

    fn health(&self) -> Health {
        let shared = self.shared();
        let (coherent_for, last_barrier) = shared.bus.coherence.age();
        let mut health = Health::default();
        health.connected = shared.is_connected();
        health.has_channel = true;
        health.coherent_for = coherent_for;
        health.last_barrier = last_barrier;
        health.queued = shared.journal.len();
        health.isolations = shared.counters.isolations.load(Ordering::Relaxed);
        health.gaps = shared.bus.gaps.load(Ordering::Relaxed);
        health.history_changes = shared.counters.history_changes.load(Ordering::Relaxed);
        health.unusable = shared.unusable();
        if shared.evicts_at_random.load(Ordering::Relaxed) {
            let policy =
                "rely on its control keys: Redis evicts keys at random (`maxmemory-policy`)";
            health.unusable.push(policy.to_owned());
        }
        health.replays = shared.counters.replays.load(Ordering::Relaxed);
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.link.shutdown().await })
    }
}

impl SharedTier for RedisTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.shared().bus.coherence
    }

    fn link(&self) -> u64 {
        let current = self.shared().current.get();
        current.map_or(0, |(_, generation)| generation)
    }

    fn deadlock<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a RecordKey,
        within: Duration,
    ) -> TierFuture<'a, Deadlock> {
        Box::pin(self.closes_ring(held, awaited, within))
    }

    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        Box::pin(self.wait_for_replicas(replicas, within))
    }
}

fn unattached() -> Error {
    Error::new(ErrorKind::Unavailable, "the link to Redis is not ready")
}
