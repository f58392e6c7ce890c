//! A private tier over four functions.

mod pending;

use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::epochs::Epochs;
use super::key_locks::KeyLocks;
use super::lock::lock;
use super::private_state::PrivateState;
use super::task::AbortOnDrop;
use super::timed::timed;
use crate::error::{Error, ErrorKind};
use crate::stats::Refusal;
use crate::tier::contract::Tier;
use crate::tier::inspection::Inspection;
use crate::tier::key::{FunctionKey, RecordKey};
use crate::tier::lease::{Guard, Lease, LeaseMode, LeaseResult};
use crate::tier::operation::{FillResult, ReadOptions, ReadResult, Receipt, Target, TierFuture};
use crate::tier::settings::TierSettings;
use crate::tier::status::Health;

/// A store of records that one instance uses: all that [`PrivateTier`] needs to be a tier.
///
/// Write the methods as `async fn`. None of them is called twice at a time for one key, except
/// [`get`](Self::get). The future of each may be dropped at any time; the tier does not trust a
/// `put` or a `delete` that was dropped or failed, so nothing has to be rolled back.
pub trait RecordStore: Debug + Send + Sync + 'static {
    /// Returns the record of a key, unless it has expired.
    ///
    /// # Errors
    /// If the store cannot be read now; the call continues as after a miss.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// Stores a record, which expires after `life`, in place of the one that the key has.
    ///
    /// # Errors
    /// If the record may not be stored. All records of the function are void after that, because
    /// the record may be stored nevertheless.
    fn put(
        &self,
        key: &str,
        record: Vec<u8>,
        life: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes the record of a key, if it has one.
    ///
    /// # Errors
    /// If the record may still be there. The tier treats it as missing, and deletes it later.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes all records. They are void already, so this only frees their space: a store whose
    /// records expire or are evicted may do nothing.
    ///
    /// # Errors
    /// If some records may still be there. The error is ignored.
    fn clear(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A private tier over a [`RecordStore`].
///
/// It has everything that [`Tier`] asks for: leases and guards, the fenced fill, invalidations of
/// functions and of everything in one step, and a list of the invalidations that the store could
/// not do yet. Records of another process are never valid, because the epochs are in memory only.
/// It has no [ledger](Tier::ledger): values with tags are stored only for a function that also uses
/// a shared tier, and an expired value is invalidated.
///
/// An invalidation that the store could not do is done by the next lease of the key, by
/// [`settle`](Tier::settle), or, if it was made in a drop, by a task that [`start`](Tier::start)
/// spawns and that ends with the tier. A tier that wraps this one forwards both.
///
/// # Examples
/// `examples/custom_tier` in the repository.
pub struct PrivateTier<S> {
    inner: Arc<Inner<S>>,
    /// Does what is pending and no call waits for. Aborted with the tier.
    worker: Mutex<Option<AbortOnDrop<()>>>,
}

struct Inner<S> {
    settings: TierSettings,
    store: S,
    state: PrivateState,
    /// By versioned name of the function.
    epochs: Epochs<String>,
    /// A lock is held across the operation of the store on its key. It is a tokio lock for that
    /// reason.
    locks: KeyLocks<AsyncMutex<()>>,
    is_closed: AtomicBool,
    /// `true` if the store may have records from before everything was voided.
    has_void_records: AtomicBool,
    /// The Tokio runtime in which the tier was started.
    runtime: OnceLock<Id>,
    /// Notified when something is pending that no call waits for.
    has_work: Notify,
}

/// Voids the records of a function, unless the write in progress is known to be done. A write that
/// failed or was dropped may still change the record at any time, under the same epoch.
struct VoidUnlessStored<'a, S> {
    inner: &'a Inner<S>,
    function: &'a FunctionKey,
    is_stored: bool,
}

impl<S> Drop for VoidUnlessStored<'_, S> {
    fn drop(&mut self) {
        if !self.is_stored {
            let Ok(()) = self.inner.epochs.void(self.function.versioned());
            self.inner
                .state
                .leases()
                .void(Target::Function(self.function));
        }
    }
}

impl<S: RecordStore> PrivateTier<S> {
    /// Creates the tier. If the settings are for use [without the async
    /// runtime](TierSettings::without_runtime), operations have no time limit, because the limit
    /// needs the runtime's timer: the store must not wait then.
    #[must_use]
    pub fn new(settings: TierSettings, store: S) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                store,
                state: PrivateState::default(),
                epochs: Epochs::default(),
                locks: KeyLocks::default(),
                is_closed: AtomicBool::new(false),
                has_void_records: AtomicBool::new(false),
                runtime: OnceLock::new(),
                has_work: Notify::new(),
            }),
            worker: Mutex::default(),
        }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.store
    }
}

impl<S: RecordStore> Inner<S> {
    fn check_open(&self) -> Result<(), Error> {
        if self.is_closed.load(Ordering::SeqCst) {
            let problem = format!("the {} tier was shut down", self.settings.kind);
            return Err(Error::new(ErrorKind::Unavailable, problem));
        }
        Ok(())
    }

    /// Runs an operation of an open tier, with its time limit.
    async fn run<T>(
        &self,
        what: &str,
        within: Duration,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.check_open()?;
        if self.settings.works_without_runtime {
            return operation.await;
        }
        timed(what, self.settings.kind, within, operation).await?
    }

    async fn read(&self, key: &RecordKey) -> Result<ReadResult, Error> {
        let record = self.store.get(&key.name()).await?;
        // Looked at after the record was read, so that an invalidation during the read counts.
        let record = record.filter(|_| !self.state.pending().covers(key));
        let stamp = self.epochs.stamp(&key.function.versioned());
        Ok(ReadResult::new(record, Some(stamp)))
    }

    async fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
    ) -> Result<LeaseResult, Error> {
        let pending = self.state.pending();
        if pending.covers(key) {
            self.void_pending();
        }
        if pending.covers(key) {
            let number = self.state.begin_invalidation(Target::Key(key));
            self.do_pending(Target::Key(key), number).await?;
        }
        if pending.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let name = key.name();
        let _locked = self.locks.of(&name).lock().await;
        let record = match mode.waits() {
            true => self.store.get(&name).await?,
            false => None,
        };
        let stamp = self.epochs.stamp(&key.function.versioned());
        Ok(self
            .state
            .grant(key, mode, expected_header, record.as_deref(), stamp))
    }

    async fn fill(
        &self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<FillResult, Error> {
        let name = key.name();
        let _locked = self.locks.of(&name).lock().await;
        let now = self.epochs.stamp(&key.function.versioned());
        if let Some(refusal) = self.state.refusal(key, lease.token, lease.stamp, now) {
            return Ok(FillResult::Refused(refusal));
        }
        let mut unless_stored = VoidUnlessStored {
            inner: self,
            function: &key.function,
            is_stored: false,
        };
        self.store.put(&name, record, life).await?;
        unless_stored.is_stored = true;
        self.state.leases().used(key, lease.token);
        Ok(FillResult::Stored)
    }
}

impl<S: Debug> Debug for PrivateTier<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateTier")
            .field("kind", &self.inner.settings.kind)
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}

impl<S: RecordStore> Tier for PrivateTier<S> {
    fn settings(&self) -> &TierSettings {
        &self.inner.settings
    }

    fn health(&self) -> Health {
        Health {
            connected: self.inner.check_open().is_ok(),
            queued: self.inner.state.pending().len(),
            ..Health::default()
        }
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            if !self.inner.settings.works_without_runtime
                && let Ok(runtime) = Handle::try_current()
            {
                let worker = runtime.spawn(Arc::clone(&self.inner).work());
                *lock(&self.worker) = Some(AbortOnDrop::new(worker));
                // A tier is started once, so the runtime is set once.
                let _ = self.inner.runtime.set(runtime.id());
            }
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(self.inner.run("read", within, self.inner.read(key)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        let lease = self.inner.lease(key, mode, expected_header);
        Box::pin(self.inner.run("lease", within, lease))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        let fill = self.inner.fill(key, lease, record, life);
        Box::pin(self.inner.run("fill", within, fill))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.inner.check_open()?;
            let number = self.inner.state.begin_invalidation(target);
            let invalidation = self.inner.do_pending(target, number);
            match self.inner.run("invalidate", within, invalidation).await {
                Ok(()) => Ok(Receipt::Acked),
                Err(error) => {
                    self.inner.log_pending(Some(&error));
                    Ok(Receipt::Queued)
                }
            }
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.inner.invalidate_now(target);
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.inner.state.pending().covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            self.inner.check_open()?;
            let (inner, guarded) = (Arc::clone(&self.inner), key.clone());
            let invalidate = move || inner.invalidate_now(Target::Key(&guarded));
            let guard = self.inner.state.guard(key, invalidate);
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            let read = self.inner.run("read", within, self.inner.read(key)).await?;
            let leases = self.inner.state.leases();
            Ok(leases.inspected(key, Inspection::from(read)))
        })
    }

    fn ping(&self, _: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async { self.inner.check_open().map(|()| Duration::ZERO) })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.inner.check_open()?;
            self.inner.flush().await
        })
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.inner.is_closed.store(true, Ordering::SeqCst);
            // Pending invalidations need nothing more: no record of this process is valid in the
            // next.
            self.inner.state.pending().close();
            let worker = lock(&self.worker).take();
            drop(worker);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
