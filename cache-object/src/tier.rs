//! The tier's contract, on object storage.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::tier::{
    Breaker, FillResult, Guard, Health, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult,
    Receipt, RecordKey, Target, Tier, TierFuture, TierSettings,
};
use cache_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::config::Objects;
use crate::keeper::keep;
use crate::owner::Owner;
use crate::shared::{Shared, unavailable};
use crate::store::Store;

pub(crate) struct ObjectTier {
    config: Objects,
    settings: TierSettings,
    shared: Arc<Shared>,
    owner: Arc<AsyncMutex<Owner>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// An invalidation that somebody waits for. Who does no longer, or could not have it done, leaves it to the keeper.
struct Waits<'a> {
    shared: &'a Shared,
    is_paid: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.is_paid {
            self.shared.unpaid.notify_one();
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
            shared: Arc::new(Shared::new(store)),
            owner: Arc::new(AsyncMutex::new(owner)),
            keeper: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What is owed already, done as far as this instance can within the time.
    async fn pay(&self, target: Target<'_>, number: u64, within: Duration) -> Result<(), Error> {
        match target {
            Target::Key(key) => {
                self.shared.check()?;
                let key = key.clone();
                let remove = |shared: Arc<Shared>| async move { shared.remove(&key, number).await };
                self.shared.ask("invalidate", within, remove).await
            }
            Target::Function(_) | Target::All => {
                match self.shared.pay_controls() && !self.shared.is_closed() {
                    true => Ok(()),
                    false => Err(unavailable(
                        "invalidate: the tier was shut down, or its prefix is another instance's",
                    )),
                }
            }
        }
    }

    fn keeper(&self) -> Option<JoinHandle<()>> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.take()
    }

    /// Leaves the prefix to the next, with what counts.
    async fn leave(&self, limit: Duration) -> Result<(), Error> {
        // What cannot be removed in time is void with its function.
        let _ = timeout(limit, self.shared.pay_keys()).await;
        self.shared.end_writes(limit).await;
        // A beat that is under way ends first: what is left must name the last.
        let owner = timeout(limit, self.owner.lock()).await;
        if let Some(keeper) = self.keeper() {
            keeper.abort();
            let _ = keeper.await;
        }
        if !self.shared.is_ours() {
            let had_nothing = owner.as_ref().is_ok_and(|owner| !owner.has_it());
            return match had_nothing && self.shared.store.owed.is_empty() {
                true => Ok(()),
                false => Err(unavailable(
                    "leave the prefix in order: the object storage cannot be reached, or it is another instance's",
                )),
            };
        }
        let counts = self.shared.settled_controls();
        let left = match owner {
            Ok(mut owner) => {
                let operator = self.shared.store.operator();
                timeout(limit, owner.leave(operator, &counts)).await.ok()
            }
            Err(_) => None,
        };
        let what = "leave the prefix in order, so that what is stored does not count any more";
        match left {
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(Error::with_source(ErrorKind::Unavailable, what, source)),
            None => Err(Error::new(ErrorKind::TimedOut, what)),
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
        if let Some(keeper) = self.keeper() {
            keeper.abort();
        }
        self.shared.abort_writes();
    }
}

impl Tier for ObjectTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    fn breaker(&self) -> Breaker {
        match self.shared.check() {
            Ok(()) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.shared.set_home(Handle::current());
            let (first, mut tried) = watch::channel(false);
            let (shared, owner) = (Arc::clone(&self.shared), Arc::clone(&self.owner));
            let keeper = tokio::spawn(keep(shared, owner, first, self.config.sweep_every));
            *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
            // A storage that is away is one that may come back: it was told in the log.
            let _ = tried.wait_for(|tried| *tried).await;
            match self.shared.check() {
                Err(error) if self.config.required => {
                    // It has nothing to leave.
                    let _ = self.shutdown().await;
                    let what = "use object storage, which is required";
                    Err(Error::with_source(error.kind(), what, error))
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
            self.shared.check()?;
            let key = key.clone();
            let read = |shared: Arc<Shared>| async move { shared.read(&key).await };
            self.shared.ask("read", within, read).await
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
            self.shared.check()?;
            let (key, expected) = (key.clone(), expected_header.to_vec());
            let lease =
                |shared: Arc<Shared>| async move { shared.lease(&key, mode, &expected).await };
            self.shared.ask("lease", within, lease).await
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
            self.shared.check()?;
            let (key, token, stamp) = (key.clone(), lease.token, lease.stamp);
            let fill = |shared: Arc<Shared>| async move {
                shared.fill(key, token, stamp, record, life).await
            };
            self.shared.run("fill", within, fill).await
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            if self.shared.is_closed() {
                return self.shared.check().map(|()| Receipt::Queued);
            }
            let number = self.shared.owe(target);
            let mut waits = Waits {
                shared: &self.shared,
                is_paid: false,
            };
            let paid = self.pay(target, number, within).await;
            waits.is_paid = paid.is_ok();
            match paid {
                Ok(()) => Ok(Receipt::Acked),
                // It may be too late for what is left to the next.
                Err(error) if self.shared.is_closed() => Err(error),
                // It is tried again, and nothing old is read meanwhile.
                Err(error) => {
                    tracing::debug!(error = ?error, "an invalidation is not in the object storage yet");
                    Ok(Receipt::Queued)
                }
            }
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.shared.owe(target);
        self.shared.unpaid.notify_one();
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.shared.store.owed.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            let (shared, guarded) = (Arc::clone(&self.shared), key.clone());
            let guard = self.shared.store.leases.guard(key, move || {
                shared.owe(Target::Key(&guarded));
                shared.unpaid.notify_one();
            });
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            if self.shared.is_closed() {
                self.shared.check()?;
            }
            let began = Instant::now();
            // Whatever is known of the storage: it may answer again.
            let ping = |shared: Arc<Shared>| async move { shared.ping().await };
            self.shared.ask("ping", within, ping).await?;
            let took = began.elapsed();
            // It answers, and may not be this instance's to use.
            self.shared.check()?;
            Ok(took)
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let paid = self.shared.paid.notified();
                if self.shared.store.owed.is_empty() {
                    return Ok(());
                }
                if self.shared.is_closed() {
                    return Err(unavailable(
                        "wait until an invalidation has settled: the tier was shut down before it was done",
                    ));
                }
                paid.await;
            }
        })
    }

    fn health(&self) -> Health {
        let mut health = Health::default();
        health.connected = self.shared.check().is_ok();
        health.queued = self.shared.store.owed.len();
        health
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.shared.close();
            let left = self.leave(self.config.time_limit).await;
            self.shared.set_held(None);
            self.shared.paid.notify_waiters();
            left
        })
    }
}
