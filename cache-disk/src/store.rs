//! The operations of the store, each for a thread that may wait for the disk.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cache_core::tier::kit::{KeyLocks, PrivateState, lock};
use cache_core::tier::{
    FillResult, FunctionKey, Glob, LeaseMode, LeaseResult, ReadResult, RecordKey, Refusal, Stamp,
};
use cache_core::unix_millis;
use fjall::{Database, PersistMode};

use crate::epochs::{self, DiskEpochs};
use crate::generations::{Generations, Walk};
use crate::ledger::{DiskLedger, LedgerLog, change_for};

/// An open store.
pub(crate) struct Store {
    database: Database,
    generations: Generations,
    epochs: DiskEpochs,
    ledger_log: LedgerLog,
    /// Shared with the stores that are opened later, if this one fails; the state as well.
    ledger: Arc<DiskLedger>,
    state: Arc<PrivateState>,
    /// Held while the lease of a key is checked and its record written, and while it is deleted.
    locks: KeyLocks<Mutex<()>>,
}

impl Store {
    pub(crate) fn new(
        database: Database,
        max_bytes: u64,
        ledger: Arc<DiskLedger>,
    ) -> fjall::Result<Self> {
        let (ledger_log, contents) = LedgerLog::open(database.clone())?;
        let generations = Generations::open(database.clone(), max_bytes)?;
        let epochs = epochs::open(&database)?;
        ledger.contents().replace(contents);
        Ok(Self {
            generations,
            epochs,
            ledger_log,
            database,
            state: Arc::clone(ledger.state()),
            ledger,
            locks: KeyLocks::default(),
        })
    }

    /// Reads the record of a key. A record of the older generation is copied into the younger one.
    pub(crate) fn read(&self, key: &RecordKey) -> fjall::Result<ReadResult> {
        let (read, is_older) = self.find(key)?;
        if is_older {
            let name = key.name();
            let _locked = self.lock(&name);
            // The key may have been deleted since. Copying it would bring it back.
            if !self.state.pending().covers(key) {
                self.generations.renew(&name)?;
            }
        }
        Ok(read)
    }

    /// Reads the record of a key, and leaves it in its generation: an inspection must not change
    /// what is evicted next.
    pub(crate) fn inspect(&self, key: &RecordKey) -> fjall::Result<ReadResult> {
        self.find(key).map(|(read, _)| read)
    }

    /// Returns the record of a key, and whether only the older generation has it.
    fn find(&self, key: &RecordKey) -> fjall::Result<(ReadResult, bool)> {
        // The stamp is taken before the record is read. If the function is invalidated in between,
        // the record of a later fill does not carry this stamp.
        let stamp = Some(self.stamp(key));
        if self.state.pending().covers(key) {
            return Ok((ReadResult::new(None, stamp), false));
        }
        Ok(match self.generations.get(&key.name())? {
            Some((record, is_older)) => (ReadResult::new(Some(record), stamp), is_older),
            None => (ReadResult::new(None, stamp), false),
        })
    }

    /// Reads a key that does not exist, to see whether the disk answers.
    pub(crate) fn ping(&self) -> fjall::Result<()> {
        self.generations.get("#ping").map(drop)
    }

    pub(crate) fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
    ) -> fjall::Result<LeaseResult> {
        if self.state.pending().covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let stamp = self.stamp(key);
        let name = key.name();
        let _locked = self.lock(&name);
        let record = match mode.waits() {
            true => self.generations.get(&name)?.map(|(record, _)| record),
            false => None,
        };
        let leased = self
            .state
            .grant(key, mode, expected_header, record.as_deref(), stamp);
        Ok(self.ledger.contents().mark_lease(key, leased))
    }

    pub(crate) fn fill(
        &self,
        key: &RecordKey,
        token: u64,
        leased: Stamp,
        record: &[u8],
        life: Duration,
    ) -> fjall::Result<FillResult> {
        let name = key.name();
        let locked = self.lock(&name);
        if let Some(refusal) = self.state.refusal(key, token, leased, self.stamp(key)) {
            return Ok(FillResult::Refused(refusal));
        }
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
        let expiry = unix_millis().saturating_add(life);
        self.generations.insert(&name, expiry, record)?;
        let used = self.state.leases().used(key, token);
        drop(locked);
        // The waiters wake after the lock was released, because a waker may use the tier.
        drop(used);
        Ok(FillResult::Stored)
    }

    /// Deletes the matching keys of a function and syncs that, and returns their number.
    pub(crate) fn remove_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
    ) -> fjall::Result<u64> {
        self.state.leases().void_matching(function, glob);
        // A fill that checked its lease before it was voided holds the lock of its key until it has
        // written. After this loop its record is in the store, and the walk finds it.
        for held in self.locks.all() {
            drop(lock(held));
        }
        let prefix = function.versioned() + ":";
        let (mut removed, mut walk) = (0, Walk::default());
        while let Some(step) = self.generations.step(&mut walk, &prefix)? {
            for (key, _) in step.keys {
                if key
                    .strip_prefix(&prefix)
                    .is_some_and(|arguments| glob.matches(arguments))
                {
                    let _locked = self.lock(&key);
                    self.generations.remove(&key)?;
                    removed += 1;
                }
            }
        }
        self.database.persist(PersistMode::SyncData)?;
        Ok(removed)
    }

    /// Removes the expired records among the next ones of a walk, and returns their number; `None`
    /// at the end of the walk.
    pub(crate) fn sweep(&self, walk: &mut Walk) -> fjall::Result<Option<usize>> {
        let Some(step) = self.generations.step(walk, "")? else {
            return Ok(None);
        };
        let (now, mut removed) = (unix_millis(), 0);
        for (key, expiry) in step.keys {
            if expiry <= now {
                let _locked = self.lock(&key);
                removed += usize::from(self.generations.remove_expired(step.number, &key)?);
            }
        }
        Ok(Some(removed))
    }

    /// Voids all records and syncs that: the last process had pending invalidations, and it is not
    /// known which.
    pub(crate) fn void_all(&self) -> fjall::Result<()> {
        self.epochs.void_all()?;
        self.database.persist(PersistMode::SyncData)
    }

    /// Does all pending invalidations and syncs them, and returns the number of the last one.
    pub(crate) fn flush(&self) -> fjall::Result<u64> {
        let batch = self.state.pending().batch();
        if batch.is_empty() {
            return Ok(batch.number());
        }
        if batch.all {
            self.epochs.void_all()?;
        }
        for function in &batch.functions {
            self.epochs.void(function.versioned())?;
        }
        for key in &batch.keys {
            let name = key.name();
            let _locked = self.lock(&name);
            self.generations.remove(&name)?;
        }
        let change = change_for(self.ledger.contents(), &batch);
        if let Some(change) = &change {
            self.ledger_log.write(change)?;
        }
        self.database.persist(PersistMode::SyncData)?;
        if let Some(change) = &change {
            // After the sync: a lease must not carry a number that a crash could undo, because the
            // next process would give it to another invalidation.
            self.ledger.contents().apply(change);
        }
        self.state.pending().batch_done(&batch);
        Ok(batch.number())
    }

    fn stamp(&self, key: &RecordKey) -> Stamp {
        self.epochs.stamp(&key.function.versioned())
    }

    fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        lock(self.locks.of(key))
    }

    #[cfg(test)]
    pub(crate) fn generations(&self) -> &Generations {
        &self.generations
    }
}

#[cfg(test)]
mod tests;
