//! The contract of a tier, on object storage.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::tier::kit::{AbortOnDrop, lock};
use cache_core::tier::{
    Breaker, FillResult, Guard, Health, Inspection, Lease, LeaseMode, LeaseResult, ReadOptions,
    ReadResult, Receipt, RecordKey, Target, Tier, TierBuilder, TierContext, TierFuture,
    TierSettings,
};
use cache_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, timeout};

use crate::config::Objects;
use crate::maintenance;
use crate::owner::Owner;
use crate::prefix::{Prefix, unavailable};
use crate::store::Store;

pub(crate) struct ObjectTier {
    config: Objects,
    settings: TierSettings,
    prefix: Arc<Prefix>,
    /// An async lock, because a heartbeat holds it across its requests.
    owner: Arc<AsyncMutex<Owner>>,
    maintenance: Mutex<Option<AbortOnDrop<()>>>,
}

/// A key invalidation that a call waits for. If the call is dropped or the removal fails, the
/// maintenance task does it.
struct HandOver<'a> {
    prefix: &'a Prefix,
    is_done: bool,
}

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.prefix.has_work.notify_one();
        }
    }
}

impl ObjectTier {
    pub(crate) fn new(config: Objects) -> Self {
        let store = Store::new(config.operator.clone(), &config.prefix);
        let owner = Owner::new(store.prefix());
        let settings = TierSettings::new("objects", config.time_limit)
            .max_record_bytes(config.max_record_bytes);
        Self {
            config,
            settings,
            prefix: Arc::new(Prefix::new(store)),
            owner: Arc::new(AsyncMutex::new(owner)),
            maintenance: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn prefix(&self) -> &Arc<Prefix> {
        &self.prefix
    }

    /// Does a pending invalidation, if this instance can within the time.
    async fn do_pending(
        &self,
        target: Target<'_>,
        number: u64,
        within: Duration,
    ) -> Result<(), Error> {
        match target {
            Target::Key(key) => {
                self.prefix.check()?;
                let key = key.clone();
                let remove = |prefix: Arc<Prefix>| async move { prefix.remove(&key, number).await };
                self.prefix.ask("invalidate", within, remove).await
            }
            Target::Function(_) | Target::All => {
                match self.prefix.void_pending() && !self.prefix.is_closed() {
                    true => Ok(()),
                    false => Err(unavailable(
                        "invalidate: the tier was shut down, or another instance has its prefix",
                    )),
                }
            }
        }
    }

    /// Leaves the prefix to the next owner, with the epochs.
    async fn leave(&self, limit: Duration) -> Result<(), Error> {
        // If an object cannot be deleted in time, its function is voided in the epochs that are
        // left.
        let _ = timeout(limit, self.prefix.remove_pending()).await;
        self.prefix.end_writes(limit).await;
        // A heartbeat in progress ends first: what is left must name the last sign.
        let owner = timeout(limit, self.owner.lock()).await;
        let maintenance = lock(&self.maintenance).take();
        if let Some(maintenance) = maintenance {
            maintenance.stop().await;
        }
        if !self.prefix.is_held() {
            let was_never_owner = owner.as_ref().is_ok_and(|owner| !owner.is_owner());
            return match was_never_owner && self.prefix.store.state.pending().is_empty() {
                true => Ok(()),
                false => Err(unavailable(
                    "the prefix was not left in order: object storage is not reachable, or another instance has the prefix",
                )),
            };
        }
        let epochs = self.prefix.epochs_to_leave();
        let left = match owner {
            Ok(mut owner) => {
                let operator = self.prefix.store.operator();
                timeout(limit, owner.leave(operator, &epochs)).await.ok()
            }
            Err(_) => None,
        };
        let problem =
            "the prefix was not left in order, so the stored records are not valid any more";
        match left {
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(Error::with_source(ErrorKind::Unavailable, problem, source)),
            None => Err(Error::new(ErrorKind::TimedOut, problem)),
        }
    }
}

impl fmt::Debug for ObjectTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Drop for ObjectTier {
    fn drop(&mut self) {
        // The maintenance task ends with its handle.
        self.prefix.abort_writes();
    }
}

impl TierBuilder for Objects {
    fn store(&self) -> Option<String> {
        let info = self.operator.info();
        let prefix = self.prefix.trim_end_matches('/');
        Some(format!(
            "the prefix `{prefix}` of {} `{}{}`",
            info.scheme(),
            info.name(),
            info.root()
        ))
    }

    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(ObjectTier::new(*self)))
    }
}

impl Tier for ObjectTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        match self.prefix.check() {
            Ok(()) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        health.connected = self.prefix.check().is_ok();
        health.queued = self.prefix.store.state.pending().len();
        health
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.prefix.set_runtime(Handle::current());
            let (first, mut tried) = watch::channel(false);
            let (prefix, owner) = (Arc::clone(&self.prefix), Arc::clone(&self.owner));
            let maintenance = maintenance::run(prefix, owner, first, self.config.sweep_every);
            let maintenance = AbortOnDrop::new(tokio::spawn(maintenance));
            *lock(&self.maintenance) = Some(maintenance);
            // If the first attempt to take the prefix fails, the maintenance task has logged it.
            let _ = tried.wait_for(|tried| *tried).await;
            match self.prefix.check() {
                Err(error) if self.config.required => {
                    // The instance does not hold the prefix, so there is nothing to leave.
                    let _ = self.shutdown().await;
                    let problem = "object storage is required and cannot be used";
                    Err(Error::with_source(error.kind(), problem, error))
                }
                _ => Ok(()),
            }
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(async move {
            self.prefix.check()?;
            let key = key.clone();
            let read = |prefix: Arc<Prefix>| async move { prefix.read(&key).await };
            self.prefix.ask("read", within, read).await
        })
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            self.prefix.check()?;
            let inspected = key.clone();
            let inspect = |prefix: Arc<Prefix>| async move { prefix.inspect(&inspected).await };
            let read = self.prefix.run("inspect", within, inspect).await?;
            let leases = self.prefix.store.state.leases();
            Ok(leases.inspected(key, read.into()))
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
            self.prefix.check()?;
            let (key, expected) = (key.clone(), expected_header.to_vec());
            let lease =
                |prefix: Arc<Prefix>| async move { prefix.lease(&key, mode, &expected).await };
            self.prefix.ask("lease", within, lease).await
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
            self.prefix.check()?;
            let (key, token, stamp) = (key.clone(), lease.token, lease.stamp);
            let fill = |prefix: Arc<Prefix>| async move {
                prefix.fill(key, token, stamp, record, life).await
            };
            self.prefix.run("fill", within, fill).await
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            if self.prefix.is_closed() {
                return self.prefix.check().map(|()| Receipt::Queued);
            }
            let number = self.prefix.store.state.begin_invalidation(target);
            let mut hand_over = HandOver {
                prefix: &self.prefix,
                is_done: false,
            };
            let done = self.do_pending(target, number, within).await;
            hand_over.is_done = done.is_ok();
            match done {
                Ok(()) => Ok(Receipt::Acked),
                // The epochs for the next owner may have been written without this invalidation.
                Err(error) if self.prefix.is_closed() => Err(error),
                Err(error) => {
                    tracing::debug!(target: "multi_tier_cached::object", error = ?error, "an invalidation is not in object storage yet; its records are misses until it is");
                    Ok(Receipt::Queued)
                }
            }
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.prefix.store.state.begin_invalidation(target);
        self.prefix.has_work.notify_one();
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.prefix.store.state.pending().covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let (prefix, guarded) = (Arc::clone(&self.prefix), key.clone());
            let guard = self.prefix.store.state.guard(key, move || {
                prefix.store.state.begin_invalidation(Target::Key(&guarded));
                prefix.has_work.notify_one();
            });
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(self.prefix.store.state.pending().wait_empty())
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.prefix.close();
            let left = self.leave(self.config.time_limit).await;
            self.prefix.set_held(None);
            self.prefix.store.state.pending().close();
            left
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            if self.prefix.is_closed() {
                self.prefix.check()?;
            }
            let began = Instant::now();
            // Asked also while the breaker is open: the storage may respond again.
            let ping = |prefix: Arc<Prefix>| async move { prefix.ping().await };
            self.prefix.ask("ping", within, ping).await?;
            let took = began.elapsed();
            // The storage responds, but another instance may hold the prefix.
            self.prefix.check()?;
            Ok(took)
        })
    }
}
