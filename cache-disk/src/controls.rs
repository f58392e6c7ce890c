//! Epochs and the history: what a record must carry to be valid. All in memory, and each change on the disk before it counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::Stamp;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// No function is called that.
const HISTORY: &str = "#history";

/// Most functions that are told apart; one more, and it is everything.
const MOST: usize = 1 << 16;

pub(crate) struct Controls {
    keyspace: Keyspace,
    known: Mutex<Known>,
}

struct Known {
    history: u64,
    /// By function: of those that were voided since the history began.
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

    /// What a valid record of the function carries.
    pub(crate) fn stamp(&self, function: &str) -> Stamp {
        let known = self.lock();
        let epoch = known.epochs.get(function).copied();
        Stamp {
            epoch: epoch.unwrap_or(known.history),
            history: known.history,
        }
    }

    /// Voids all records of a function.
    pub(crate) fn void(&self, function: &str) -> fjall::Result<()> {
        let mut known = self.lock();
        if known.epochs.len() >= MOST && !known.epochs.contains_key(function) {
            return self.begin(&mut known);
        }
        let epoch = fresh();
        self.keyspace.insert(function, epoch.to_le_bytes())?;
        known.epochs.insert(function.to_owned(), epoch);
        Ok(())
    }

    /// Voids all records.
    pub(crate) fn void_all(&self) -> fjall::Result<()> {
        self.begin(&mut self.lock())
    }

    /// Begins another history, under which no function was voided yet.
    fn begin(&self, known: &mut Known) -> fjall::Result<()> {
        let history = fresh();
        // Before what it makes superfluous is removed: no epoch means this history then, and nothing was stored under it.
        self.keyspace.insert(HISTORY, history.to_le_bytes())?;
        known.history = history;
        for (function, _) in known.epochs.drain() {
            self.keyspace.remove(function)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_voided_stays_so_and_too_many_are_everything() {
        let directory = std::env::temp_dir().join(format!("mtc-controls-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let open = || {
            let database = Database::builder(&directory).open().unwrap();
            Controls::open(&database).unwrap()
        };
        let controls = open();
        let stamps = ["a", "b"].map(|function| controls.stamp(function));
        controls.void("a").unwrap();
        let voided = controls.stamp("a");
        assert!(voided != stamps[0] && controls.stamp("b") == stamps[1]);
        drop(controls);
        let controls = open();
        assert!(controls.stamp("a") == voided && controls.stamp("b") == stamps[1]);
        for version in 0..MOST {
            controls.void(&format!("f{version}")).unwrap();
        }
        assert!(controls.stamp("a").history != voided.history);
        assert!(controls.lock().epochs.len() < MOST);
        drop(controls);
        assert!(
            open().lock().epochs.len() < MOST,
            "they are left on the disk"
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
