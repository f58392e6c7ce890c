//! The epochs of the store: all of them are in memory, and each change is written before it takes
//! effect.

use std::collections::HashMap;

use cache_core::tier::kit::{EpochLog, Epochs, fresh_epoch};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// The key of the history. No function has this name.
const HISTORY: &str = "#history";

/// The keyspace that holds the history, and the epoch of each voided function.
pub(crate) struct KeyspaceLog(Keyspace);

/// By versioned name of the function.
pub(crate) type DiskEpochs = Epochs<String, KeyspaceLog>;

pub(crate) fn open(database: &Database) -> fjall::Result<DiskEpochs> {
    let keyspace = database.keyspace("controls", KeyspaceCreateOptions::default)?;
    let mut epochs = HashMap::new();
    for item in keyspace.iter() {
        let (name, number) = item.into_inner()?;
        let name = String::from_utf8_lossy(&name).into_owned();
        // An epoch that cannot be read is replaced by a new one, which voids the records under it.
        let number =
            <[u8; 8]>::try_from(&number[..]).map_or_else(|_| fresh_epoch(), u64::from_le_bytes);
        epochs.insert(name, number);
    }
    let log = KeyspaceLog(keyspace);
    let history = match epochs.remove(HISTORY) {
        Some(history) => history,
        None => {
            let history = fresh_epoch();
            log.write_history(history)?;
            history
        }
    };
    Ok(Epochs::restore(log, history, epochs))
}

impl EpochLog<String> for KeyspaceLog {
    type Error = fjall::Error;

    fn write_epoch(&self, function: &String, epoch: u64) -> fjall::Result<()> {
        self.0.insert(function, epoch.to_le_bytes())
    }

    fn write_history(&self, history: u64) -> fjall::Result<()> {
        self.0.insert(HISTORY, history.to_le_bytes())
    }

    fn remove_epoch(&self, function: &String) -> fjall::Result<()> {
        self.0.remove(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voided_functions_stay_void_after_the_store_is_opened_again() {
        let directory = std::env::temp_dir().join(format!("mtc-epochs-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let reopen = || open(&Database::builder(&directory).open().unwrap()).unwrap();
        let epochs = reopen();
        let stamps = ["a", "b"].map(|function| epochs.stamp(function));
        epochs.void("a".to_owned()).unwrap();
        let voided = epochs.stamp("a");
        assert!(voided != stamps[0] && epochs.stamp("b") == stamps[1]);
        drop(epochs);
        let epochs = reopen();
        assert!(epochs.stamp("a") == voided && epochs.stamp("b") == stamps[1]);
        for version in 0..1 << 16 {
            epochs.void(format!("f{version}")).unwrap();
        }
        assert_ne!(epochs.stamp("a").history, voided.history);
        let (history, left) = epochs.snapshot();
        assert!(left.len() < 1 << 16);
        drop(epochs);
        assert_eq!(
            reopen().snapshot(),
            (history, left),
            "old epochs are left on the disk"
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
