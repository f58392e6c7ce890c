//! Epochs and the history: what a record must carry to be valid. All in memory, and each change on the disk before it counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::Stamp;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// No function is called that.
const HISTORY: &str = "#history";

pub(crate) struct Controls {
    keyspace: Keyspace,
    known: Mutex<Known>,
}

struct Known {
    history: u64,
    /// By function: as many as there are.
    epochs: HashMap<String, u64>,
}

impl Controls {
    pub(crate) fn open(database: &Database) -> fjall::Result<Self> {
        let keyspace = database.keyspace("controls", KeyspaceCreateOptions::default)?;
        let mut epochs = HashMap::new();
        for item in keyspace.iter() {
            let (name, number) = item.into_inner()?;
            let name = String::from_utf8_lossy(&name).into_owned();
            // What cannot be read is void, and so is all under it.
            let number =
                <[u8; 8]>::try_from(&number[..]).map_or_else(|_| fresh(), u64::from_le_bytes);
            epochs.insert(name, number);
        }
        let history = match epochs.remove(HISTORY) {
            Some(history) => history,
            None => {
                let history = fresh();
                keyspace.insert(HISTORY, history.to_le_bytes())?;
                history
            }
        };
        Ok(Self {
            keyspace,
            known: Mutex::new(Known { history, epochs }),
        })
    }

    /// What a valid record of the function carries; `None` where it was never leased.
    pub(crate) fn stamp(&self, function: &str) -> Option<Stamp> {
        let known = self.lock();
        Some(Stamp {
            epoch: *known.epochs.get(function)?,
            history: known.history,
        })
    }

    /// The same, made where there is none.
    pub(crate) fn stamp_or_begin(&self, function: &str) -> fjall::Result<Stamp> {
        if let Some(stamp) = self.stamp(function) {
            return Ok(stamp);
        }
        let mut known = self.lock();
        let history = known.history;
        if let Some(epoch) = known.epochs.get(function) {
            let epoch = *epoch;
            return Ok(Stamp { epoch, history });
        }
        let epoch = fresh();
        self.keyspace.insert(function, epoch.to_le_bytes())?;
        known.epochs.insert(function.to_owned(), epoch);
        Ok(Stamp { epoch, history })
    }

    /// Voids all records of a function.
    pub(crate) fn void(&self, function: &str) -> fjall::Result<()> {
        let epoch = fresh();
        let mut known = self.lock();
        self.keyspace.insert(function, epoch.to_le_bytes())?;
        known.epochs.insert(function.to_owned(), epoch);
        Ok(())
    }

    /// Voids all records.
    pub(crate) fn void_all(&self) -> fjall::Result<()> {
        let history = fresh();
        let mut known = self.lock();
        self.keyspace.insert(HISTORY, history.to_le_bytes())?;
        known.history = history;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random, never counted: one that was lost with the disk's last writes must not come back.
fn fresh() -> u64 {
    fastrand::u64(..)
}
