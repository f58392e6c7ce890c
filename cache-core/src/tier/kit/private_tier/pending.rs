//! The pending invalidations of a private tier: who does them, and where.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::{Inner, RecordStore};
use crate::error::Error;
use crate::tier::operation::Target;

impl<S: RecordStore> Inner<S> {
    /// Does a pending invalidation. If this fails or is dropped, it stays pending.
    pub(super) async fn do_pending(&self, target: Target<'_>, number: u64) -> Result<(), Error> {
        let pending = self.state.pending();
        if let Target::Key(key) = target {
            let name = key.name();
            let _locked = self.locks.of(&name).lock().await;
            self.store.delete(&name).await?;
            pending.done(target, number);
        } else {
            self.void(target);
            pending.done(target, number);
            self.delete_void_records().await;
        }
        Ok(())
    }

    /// Voids the records of a function, or of everything. The record of a key is deleted instead.
    fn void(&self, target: Target<'_>) {
        let Ok(()) = match target {
            Target::Key(_) => Ok(()),
            Target::Function(function) => self.epochs.void(function.versioned()),
            Target::All => {
                self.has_void_records.store(true, Ordering::SeqCst);
                self.epochs.void_all()
            }
        };
    }

    /// Does the pending invalidations of functions and of everything. They need no store. They are
    /// pending at all if they took the place of too many keys.
    pub(super) fn void_pending(&self) {
        let pending = self.state.pending();
        let (targets, number) = pending.wide_targets();
        for target in &targets {
            self.void(target.borrow());
            pending.done(target.borrow(), number);
        }
    }

    /// Frees the space of the records from before everything was voided.
    async fn delete_void_records(&self) {
        if self.has_void_records.load(Ordering::SeqCst) {
            if let Err(error) = self.store.clear().await {
                let kind = self.settings.kind;
                tracing::debug!(target: "multi_tier_cached::invalidation", kind, error = ?error, "void records were not deleted");
            }
            self.has_void_records.store(false, Ordering::SeqCst);
        }
    }

    /// Does everything that is pending, each key within the time limit of the tier.
    ///
    /// # Errors
    /// The error of the first key that failed, after all others were tried.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        self.void_pending();
        self.delete_void_records().await;
        let pending = self.state.pending();
        let batch = pending.batch();
        let mut result = Ok(());
        // Calls may have done some of the keys by themselves since the batch was made.
        for key in batch.keys.iter().filter(|key| pending.covers(key)) {
            let removal = self.do_pending(Target::Key(key), batch.number());
            let limit = self.settings.time_limit;
            result = result.and(self.run("invalidate", limit, removal).await);
        }
        result
    }

    /// Does the invalidations that no call waits for, until the task is aborted. What fails stays
    /// pending.
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            self.has_work.notified().await;
            if let Err(error) = self.flush().await {
                self.log_pending(Some(&error));
            }
        }
    }

    /// Invalidates without waiting: as much as the store does at once, and the rest later.
    pub(super) fn invalidate_now(&self, target: Target<'_>) {
        let number = self.state.begin_invalidation(target);
        if self.can_poll_store() {
            let invalidation = pin!(self.do_pending(target, number));
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(())) = invalidation.poll(&mut context) {
                return;
            }
        }
        self.void_pending();
        self.has_work.notify_one();
        self.log_pending(None);
    }

    /// Logs that an invalidation is pending; `error` is why.
    pub(super) fn log_pending(&self, error: Option<&Error>) {
        let kind = self.settings.kind;
        tracing::debug!(
            target: "multi_tier_cached::invalidation",
            kind,
            error = error.map(tracing::field::debug),
            "an invalidation is pending; its records are misses until it is done"
        );
    }

    /// Returns `true` if the store may be polled here. A store that uses Tokio panics outside of
    /// it, and may panic in a runtime without timers. Guards and calls are dropped anywhere.
    fn can_poll_store(&self) -> bool {
        if self.settings.works_without_runtime {
            return true;
        }
        Handle::try_current().is_ok_and(|here| {
            let started = self.runtime.get();
            started.is_none_or(|started| here.id() == *started)
        })
    }
}
