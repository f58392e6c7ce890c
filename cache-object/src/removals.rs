//! Pending invalidations: how they begin, and how they are done.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{OwnedTarget, timed};
use cache_core::tier::{RecordKey, Target};
use tokio::task::JoinSet;

use crate::owner::HEARTBEAT;
use crate::prefix::{Prefix, unavailable};

/// The number of removals at a time.
const MAX_REMOVALS: usize = 16;

/// The time limit of a removal that no call waits for.
const REMOVAL_LIMIT: Duration = HEARTBEAT;

impl Prefix {
    /// Deletes the object of a key, after a write of it that is in progress has ended. If this
    /// fails or is dropped, the invalidation with this number stays pending.
    pub(crate) async fn remove(&self, key: &RecordKey, number: u64) -> Result<(), Error> {
        let path = self.store.path(key);
        let _locked = self.store.lock(&path).await;
        let _permit = self.permits.acquire().await;
        if !self.is_held() {
            return Err(unavailable(
                "remove a record: the prefix belongs to another instance",
            ));
        }
        self.reply("remove a record", self.store.delete(&path).await)?;
        self.store.state.pending().done(Target::Key(key), number);
        Ok(())
    }

    /// Does the pending invalidations of functions and of everything, which take no request. Does
    /// nothing and returns `false` if another instance holds the prefix: its epochs are not known
    /// here.
    pub(crate) fn void_pending(&self) -> bool {
        let woken = self.while_held(|| {
            let pending = self.store.state.pending();
            let (targets, number) = pending.wide_targets();
            let void = |target: &OwnedTarget| {
                match target {
                    OwnedTarget::Key(_) => {}
                    OwnedTarget::Function(function) => self.store.epochs.void(function),
                    OwnedTarget::All => self.store.epochs.void_all(),
                }
                pending.done(target.borrow(), number)
            };
            targets.iter().map(void).collect::<Vec<_>>()
        });
        woken.is_some()
    }

    /// Deletes the objects of all keys with a pending invalidation. Ends with the first group in
    /// which a removal fails.
    pub(crate) async fn remove_pending(self: &Arc<Self>) -> Result<(), Error> {
        let mut keys = self.store.state.pending().batch().keys;
        // Some keys may fail each time. A random start gives every key its turn.
        let first = fastrand::usize(..keys.len().max(1));
        keys.rotate_left(first);
        for keys in keys.chunks(MAX_REMOVALS) {
            let mut removals = JoinSet::new();
            let is_pending = |key: &&RecordKey| self.store.state.pending().covers(key);
            for key in keys.iter().filter(is_pending) {
                let (prefix, key) = (Arc::clone(self), key.clone());
                removals.spawn(async move {
                    let number = prefix.store.state.pending().add(Target::Key(&key));
                    let removal = prefix.remove(&key, number);
                    timed("remove a record", "object storage", REMOVAL_LIMIT, removal).await?
                });
            }
            let mut result = Ok(());
            while let Some(removed) = removals.join_next().await {
                let removed = removed
                    .unwrap_or_else(|_| Err(unavailable("remove a record: the task was aborted")));
                result = result.and(removed);
            }
            result?;
        }
        Ok(())
    }

    /// Returns the epochs for the next owner, with every pending invalidation applied. For a key
    /// whose object could not be deleted, the whole function is voided.
    pub(crate) fn epochs_to_leave(&self) -> Vec<u8> {
        let (epochs, pending) = (&self.store.epochs, self.store.state.pending());
        let batch = pending.batch();
        if batch.all {
            epochs.void_all();
        }
        let of_keys = batch.keys.iter().map(|key| &*key.function);
        for function in batch.functions.iter().chain(of_keys) {
            epochs.void(function);
        }
        pending.batch_done(&batch);
        epochs.to_bytes()
    }
}
