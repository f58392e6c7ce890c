//! A private tier over four functions.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Mutex;

use super::epochs::Epochs;
use super::key_locks::KeyLocks;
use super::private_state::PrivateState;
use super::timed::timed;
use crate::error::{Error, ErrorKind};
use crate::stats::Refusal;
use crate::tier::contract::Tier;
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
///
/// # Examples
/// `examples/custom_tier` in the repository.
pub struct PrivateTier<S>(Arc<Inner<S>>);

struct Inner<S> {
    settings: TierSettings,
    store: S,
    state: PrivateState,
    /// By versioned name of the function.
    epochs: Epochs<String>,
    /// A lock is held across the operation of the store on its key. It is a tokio lock for that
    /// reason.
    locks: KeyLocks<Mutex<()>>,
    is_closed: AtomicBool,
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
        Self(Arc::new(Inner {
            settings,
            store,
            state: PrivateState::default(),
            epochs: Epochs::default(),
            locks: KeyLocks::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store
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
            let number = self.state.begin_invalidation(Target::Key(key));
            self.do_pending(Target::Key(key), number).await?;
        }
        if pending.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let name = key.name();
        let _locked = self.locks.of(&name).lock().await;
        let record = match mode {
            LeaseMode::Exclusive => self.store.get(&name).await?,
            LeaseMode::Shared | LeaseMode::Probe | LeaseMode::Preempt => None,
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

    /// Does a pending invalidation. If this fails or is dropped, it stays pending.
    async fn do_pending(&self, target: Target<'_>, number: u64) -> Result<(), Error> {
        let pending = self.state.pending();
        match target {
            Target::Key(key) => {
                let name = key.name();
                let _locked = self.locks.of(&name).lock().await;
                self.store.delete(&name).await?;
                pending.done(target, number);
            }
            Target::Function(function) => {
                let Ok(()) = self.epochs.void(function.versioned());
                pending.done(target, number);
            }
            Target::All => {
                let Ok(()) = self.epochs.void_all();
                pending.done(target, number);
                if let Err(error) = self.store.clear().await {
                    let kind = self.settings.kind;
                    tracing::debug!(kind, error = ?error, "void records were not deleted");
                }
            }
        }
        Ok(())
    }

    /// Does everything that is pending.
    async fn flush(&self) -> Result<(), Error> {
        for target in self.state.pending().batch().targets() {
            let number = self.state.begin_invalidation(target);
            self.do_pending(target, number).await?;
        }
        Ok(())
    }

    /// Invalidates without waiting: as much as the store does at once, and the rest later.
    fn invalidate_now(&self, target: Target<'_>) {
        let number = self.state.begin_invalidation(target);
        let invalidation = pin!(self.do_pending(target, number));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = invalidation.poll(&mut context) {
            return;
        }
        let kind = self.settings.kind;
        tracing::debug!(
            kind,
            "an invalidation is pending; its records are misses until it is done"
        );
    }
}

impl<S: Debug> Debug for PrivateTier<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateTier")
            .field("kind", &self.0.settings.kind)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl<S: RecordStore> Tier for PrivateTier<S> {
    fn settings(&self) -> &TierSettings {
        &self.0.settings
    }

    fn health(&self) -> Health {
        Health {
            connected: self.0.check_open().is_ok(),
            queued: self.0.state.pending().len(),
            ..Health::default()
        }
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(self.0.run("read", within, self.0.read(key)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        let lease = self.0.lease(key, mode, expected_header);
        Box::pin(self.0.run("lease", within, lease))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        let fill = self.0.fill(key, lease, record, life);
        Box::pin(self.0.run("fill", within, fill))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.0.check_open()?;
            let number = self.0.state.begin_invalidation(target);
            let invalidation = self.0.do_pending(target, number);
            match self.0.run("invalidate", within, invalidation).await {
                Ok(()) => Ok(Receipt::Acked),
                Err(error) => {
                    let kind = self.0.settings.kind;
                    tracing::debug!(kind, error = ?error, "an invalidation is pending; its records are misses until it is done");
                    Ok(Receipt::Queued)
                }
            }
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.0.invalidate_now(target);
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.0.state.pending().covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            self.0.check_open()?;
            let (inner, guarded) = (Arc::clone(&self.0), key.clone());
            let invalidate = move || inner.invalidate_now(Target::Key(&guarded));
            let guard = self.0.state.guard(key, invalidate);
            self.invalidate(Target::Key(key), within).await?;
            Ok(guard)
        })
    }

    fn ping(&self, _: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async { self.0.check_open().map(|()| Duration::ZERO) })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.0.check_open()?;
            self.0.flush().await
        })
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.0.is_closed.store(true, Ordering::SeqCst);
            // Pending invalidations need nothing more: no record of this process is valid in the
            // next.
            self.0.state.pending().close();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
