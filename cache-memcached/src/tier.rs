//! The tier's contract, on memcached.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_memcached::Client;
use cache_core::tier::{
    Breaker, FillResult, Guard, Health, Lease, LeaseMode, LeaseResult, Peers, ReadOptions,
    ReadResult, Receipt, RecordKey, Refusal, SharedTier, Target, Tier, TierFuture, TierSettings,
    Wakeup, Woken,
};
use cache_core::{Coherence, Error, ErrorKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::commands::{self, Names, Standing, Taken};
use crate::config::Memcached;
use crate::guards::Holder as GuardHolder;
use crate::keys::Keys;
use crate::leases::{Held, Holder, LONGEST_LOAD};
use crate::link::Shared;
use crate::supervisor::{self, supervise};

/// What the clocks of two hosts may run apart, in one part of so many, while a bound passes.
const DRIFT: u32 = 100;

/// How often who waits for another instance's load looks: memcached tells nobody.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct MemcachedTier {
    shared: Arc<Shared>,
    settings: TierSettings,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl MemcachedTier {
    pub(crate) fn new(config: Memcached, peers: Peers) -> Self {
        let settings = TierSettings::new("memcached", config.time_limit)
            .max_record_bytes(config.max_record_bytes);
        Self {
            shared: Arc::new(Shared::new(config, peers)),
            settings,
            supervisor: Mutex::default(),
        }
    }

    async fn end(&self) {
        self.shared.close();
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(supervisor) = supervisor {
            supervisor.abort();
            let _ = supervisor.await;
        }
    }

    async fn find(&self, key: &RecordKey, within: Duration) -> Result<ReadResult, Error> {
        let names = self.names(key);
        let (record, stamp) = self
            .shared
            .run("read", within, move |client| {
                Box::pin(async move {
                    commands::read(client, &names.record, &names.epoch, &names.history).await
                })
            })
            .await?;
        // What is to be deleted still is not there.
        let record = record.filter(|_| !self.shared.owed.covers(key));
        Ok(ReadResult::new(record, stamp))
    }

    async fn take(
        &self,
        key: &RecordKey,
        claim: LeaseMode,
        seen: &[u8],
        within: Duration,
    ) -> Result<LeaseResult, Error> {
        if self.shared.owed.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let (names, seen) = (self.names(key), seen.to_vec());
        let life = self.shared.config.lease_time;
        let shared = Arc::clone(&self.shared);
        let link = self.shared.linked("lease")?;
        let generation = link.generation;
        // In the operation, so that what was taken for a caller that is gone is given back.
        let taking = link.run("lease", within, move |client: &mut Client| {
            Box::pin(async move {
                let taken = commands::lease(client, &names, claim, &seen, life).await?;
                Ok(match taken {
                    Taken::Given {
                        cas,
                        stamp,
                        is_placeholder,
                    } => {
                        let held = Held {
                            names,
                            stamp,
                            cas,
                            generation,
                            is_placeholder,
                            is_given_back: is_placeholder && claim != LeaseMode::Shared,
                            since: Instant::now(),
                        };
                        let (token, holder) = Holder::new(&shared, held);
                        Answer::LeaseResult(LeaseResult::Granted(
                            Lease::new(token, stamp).held_by(holder),
                        ))
                    }
                    Taken::Busy(standing) => Answer::Busy(standing),
                    Taken::Filled => Answer::Filled,
                    Taken::Refused(refusal) => Answer::LeaseResult(LeaseResult::Refused(refusal)),
                })
            })
        });
        Ok(match taking.await? {
            Answer::LeaseResult(leased) => leased,
            Answer::Filled => LeaseResult::Held(Wakeup::new(std::future::ready(()))),
            Answer::Busy(standing) => {
                let (shared, names) = (Arc::clone(&self.shared), self.names(key));
                LeaseResult::Held(Wakeup::telling(changed(
                    shared, names, standing, generation,
                )))
            }
        })
    }

    async fn store(
        &self,
        key: &RecordKey,
        token: u64,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<FillResult, Error> {
        let Some(held) = self.shared.leases.held(token) else {
            return Ok(FillResult::Refused(Refusal::Lease));
        };
        if self.shared.owed.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let link = self.shared.linked("fill")?;
        // The next link may lead to another process, which numbers its leases anew.
        if link.generation != held.generation {
            return Ok(FillResult::Refused(Refusal::Link));
        }
        let shared = Arc::clone(&self.shared);
        link.run("fill", within, move |client| {
            Box::pin(async move {
                let Held {
                    names, cas, stamp, ..
                } = held;
                let filled = commands::fill(client, &names, cas, stamp, &record, life).await?;
                if filled == FillResult::Stored {
                    // It is used: there is nothing to give back.
                    shared.leases.end(token);
                }
                Ok(filled)
            })
        })
        .await
    }

    async fn void(&self, target: Target<'_>, within: Duration) -> Result<Receipt, Error> {
        let shared = &self.shared;
        if shared.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        let number = shared.owed.add(target);
        let Some(link) = shared.link() else {
            return Ok(Receipt::Queued);
        };
        let waiter = Arc::new(());
        let Some(told) = shared.tell(&link, target, number, Arc::downgrade(&waiter)) else {
            return Ok(Receipt::Queued);
        };
        match timeout(within, told).await {
            Ok(Ok(Ok(()))) => Ok(Receipt::Acked),
            // It goes on, or is sent over the next link.
            _ => Ok(Receipt::Queued),
        }
    }

    fn names(&self, key: &RecordKey) -> Names {
        let keys: &Keys = &self.shared.keys;
        Names {
            record: keys.record(key),
            epoch: keys.epoch(&key.function),
            history: keys.history(),
        }
    }
}

enum Answer {
    LeaseResult(LeaseResult),
    Busy(Standing),
    Filled,
}

/// Resolves when the lease is not there any more, or when that cannot be told.
///
/// memcached does not say why a lease ended. If it was used, the waiter finds the record; else its load failed, or was
/// dropped or invalidated, and the waiter does not wait for the next one.
async fn changed(shared: Arc<Shared>, names: Names, standing: Standing, generation: u64) -> Woken {
    let limit = shared.config.time_limit;
    let look = async {
        while shared.is_there(generation) {
            sleep(LOOK).await;
            let names = names.clone();
            let looked = shared.run("wait for a load", limit, move |client| {
                Box::pin(async move { commands::stands(client, &names, standing).await })
            });
            match looked.await {
                Ok(true) => {}
                Ok(false) => return Woken::LoadFailed,
                Err(_) => return Woken::LookAgain,
            }
        }
        Woken::LookAgain
    };
    let looked = timeout(LONGEST_LOAD, look).await;
    looked.unwrap_or(Woken::LookAgain)
}

impl Shared {
    /// Invalidates without being waited for.
    pub(crate) fn invalidate_later(self: &Arc<Self>, target: Target<'_>) {
        let number = self.owed.add(target);
        if let Some(link) = self.link() {
            drop(self.tell(&link, target, number, Weak::new()));
        }
    }
}

impl fmt::Debug for MemcachedTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedTier")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Drop for MemcachedTier {
    fn drop(&mut self) {
        self.shared.close();
        let supervisor = self
            .supervisor
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = supervisor.take() {
            supervisor.abort();
        }
    }
}

impl Tier for MemcachedTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        if self.shared.link().is_some() {
            Breaker::Closed
        } else if self.shared.is_probing.load(Ordering::Relaxed) {
            Breaker::HalfOpen
        } else {
            Breaker::Open
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let (first, mut outcome) = watch::channel(None);
            let supervisor = tokio::spawn(supervise(Arc::clone(&self.shared), first));
            *self
                .supervisor
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
            // A server that is away is one that may come back: it was told in the log.
            let first = outcome.wait_for(Option::is_some).await;
            let failed = first.ok().and_then(|first| first.clone()?.err());
            match failed.filter(|_| self.shared.config.required) {
                None => Ok(()),
                Some(error) => {
                    self.end().await;
                    let url = self.shared.config.shown();
                    let what = format!("reach memcached at {url}, which is required");
                    Err(Error::with_source(error.kind(), what, error))
                }
            }
        })
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(self.find(key, within))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(self.take(key, mode, expected_header, within))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(self.store(key, lease.token, record, life, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.void(target, within))
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.shared.invalidate_later(target);
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.shared.owed.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let number = fastrand::u64(1..);
            let holder = GuardHolder::new(&self.shared, number, key.clone());
            if let Some(link) = self.shared.link() {
                // One that does not get through is placed with the next renewals, or over the next link.
                let placing = supervisor::guard(&self.shared, &link, number, key);
                let _ = timeout(within, placing).await;
            }
            Ok(Guard::new(holder))
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let began = Instant::now();
            self.shared
                .run("ping", within, |client| {
                    Box::pin(async move { client.version().await })
                })
                .await?;
            Ok(began.elapsed())
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            let shared = &self.shared;
            loop {
                let paid = shared.paid.notified();
                if shared.owed.is_empty() {
                    break;
                }
                if shared.is_closed() {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "wait until an invalidation has settled: the tier was shut down before it was sent",
                    ));
                }
                paid.await;
            }
            let bound = shared.coherence.bound();
            sleep(bound + bound / DRIFT).await;
            Ok(())
        })
    }

    fn health(&self) -> Health {
        let shared = &self.shared;
        let (coherent_for, last_barrier) = shared.coherence.age();
        let mut health = Health::default();
        health.connected = shared.link().is_some();
        health.has_channel = true;
        health.coherent_for = coherent_for;
        health.last_barrier = last_barrier;
        health.queued = shared.owed.len();
        health.isolations = shared.counters.isolations.load(Ordering::Relaxed);
        health.gaps = shared.counters.gaps.load(Ordering::Relaxed);
        health.history_changes = shared.counters.history_changes.load(Ordering::Relaxed);
        health.replays = shared.counters.replays.load(Ordering::Relaxed);
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            // What is under way is told, for as long as a call may take.
            let told = async {
                loop {
                    let paid = self.shared.paid.notified();
                    if self.shared.owed.is_empty() || self.shared.link().is_none() {
                        return;
                    }
                    paid.await;
                }
            };
            let _ = timeout(self.shared.config.time_limit, told).await;
            self.end().await;
            let queued = self.shared.owed.len();
            if queued > 0 {
                tracing::warn!(
                    queued,
                    "invalidations could not be told to memcached before the end, and are lost"
                );
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "tell memcached before the end what was invalidated: {queued} are left"
                    ),
                ));
            }
            Ok(())
        })
    }
}

impl SharedTier for MemcachedTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.shared.coherence
    }

    fn link(&self) -> u64 {
        self.shared.link().map_or(0, |link| link.generation)
    }
}
