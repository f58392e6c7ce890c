//! What is owed to the storage, and how it is paid.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{RecordKey, Target};
use cache_core::{Error, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::owner::BEAT;
use crate::shared::{Shared, unavailable};

/// Removals that are paid at a time.
const MOST_PAYMENTS: usize = 16;

/// How long the storage may take for a removal that nobody waits for.
const LONGEST_REMOVAL: Duration = BEAT;

impl Shared {
    /// From now on it is not read and not filled; the storage is yet to be told.
    pub(crate) fn owe(&self, target: Target<'_>) -> u64 {
        // In this order: what is filled under a lease that was looked at before is removed when it is paid.
        let number = self.store.owed.add(target);
        self.store.leases.void(target);
        number
    }

    /// Removes a key's object, once a write of it that is under way has ended. Dropped, it is owed as before.
    pub(crate) async fn remove(&self, key: &RecordKey, number: u64) -> Result<(), Error> {
        let path = self.store.path(key);
        let _stripe = self.store.stripe(&path).await;
        let _place = self.places.acquire().await;
        if !self.is_ours() {
            return Err(unavailable(
                "remove a record: the prefix is another instance's",
            ));
        }
        self.answer("remove a record", self.store.delete(&path).await)?;
        self.store.owed.done(Target::Key(key), number);
        self.paid.notify_waiters();
        Ok(())
    }

    /// Pays what takes no storage: functions, and everything. Only while the prefix is this one's, and whether it is: what another
    /// has is not known.
    pub(crate) fn pay_controls(&self) -> bool {
        let is_ours = self.while_ours(|| {
            let owed = &self.store.owed;
            let bill = owed.bill();
            if bill.all {
                self.store.controls.void_all();
                owed.paid(&bill);
                return;
            }
            for function in &bill.functions {
                let target = Target::Function(function);
                let number = owed.add(target);
                self.store.controls.void(function);
                owed.done(target, number);
            }
        });
        self.paid.notify_waiters();
        is_ours
    }

    /// Removes what is owed. Ends with the first that fails, or takes too long.
    pub(crate) async fn pay_keys(self: &Arc<Self>) -> Result<(), Error> {
        let mut keys = self.store.owed.bill().keys;
        // From anywhere: some may fail each time.
        let first = fastrand::usize(..keys.len().max(1));
        keys.rotate_left(first);
        for keys in keys.chunks(MOST_PAYMENTS) {
            let mut payments = JoinSet::new();
            for key in keys.iter().filter(|key| self.store.owed.covers(key)) {
                let (shared, key) = (Arc::clone(self), key.clone());
                payments.spawn(async move {
                    let number = shared.store.owed.add(Target::Key(&key));
                    let removed = timeout(LONGEST_REMOVAL, shared.remove(&key, number)).await;
                    removed.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::TimedOut, "remove a record in time"))
                    })
                });
            }
            let mut result = Ok(());
            while let Some(paid) = payments.join_next().await {
                let paid = paid.unwrap_or_else(|_| Err(unavailable("remove a record")));
                result = result.and(paid);
            }
            result?;
        }
        Ok(())
    }

    /// What counts, with all that is owed taken for done: of a key that could not be removed, the whole function is void.
    pub(crate) fn settled_controls(&self) -> Vec<u8> {
        let bill = self.store.owed.bill();
        if bill.all {
            self.store.controls.void_all();
        }
        let of_keys = bill.keys.iter().map(|key| &*key.function);
        for function in bill.functions.iter().chain(of_keys) {
            self.store.controls.void(function);
        }
        self.store.owed.paid(&bill);
        self.store.controls.to_bytes()
    }
}
