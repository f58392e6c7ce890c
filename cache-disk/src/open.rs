//! How the store is opened, and what happens to one that is damaged.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use fjall::{Database, LsmError};

use crate::config::Disk;
use crate::generations::{DropExpired, JOURNAL_BYTES};
use crate::ledger::DiskLedger;
use crate::store::Store;

/// The store, in the tier's directory.
const RECORDS: &str = "records";

/// A damaged store, until it is removed.
const DISCARDED: &str = "dropped";

/// The size of the database's block cache. The operating system caches more.
const BLOCK_CACHE_BYTES: u64 = 8 << 20;

/// Opens the store. If it cannot be read, or `is_damaged` says that it was found to be damaged, its
/// data are discarded and an empty store is opened.
///
/// # Errors
/// If the disk cannot be used now.
pub(crate) fn open(
    config: &Disk,
    ledger: &Arc<DiskLedger>,
    is_damaged: bool,
) -> fjall::Result<Store> {
    let path = config.path.display();
    remove_discarded(config)?;
    match open_once(config, ledger) {
        Ok(store) if !is_damaged => return Ok(store),
        Ok(store) => {
            drop(store);
            tracing::warn!(target: "multi_tier_cached::disk", path = %path, "the disk tier's data are damaged; discarding all of them");
        }
        Err(error) if is_damage(&error) => {
            tracing::warn!(target: "multi_tier_cached::disk", path = %path, error = %error, "the disk tier's data cannot be read; discarding all of them");
        }
        Err(error) => return Err(error),
    }
    discard(config)?;
    open_once(config, ledger)
}

fn open_once(config: &Disk, ledger: &Arc<DiskLedger>) -> fjall::Result<Store> {
    let open = || {
        let database = Database::builder(directory(config))
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .with_compaction_filter_factories(Arc::new(DropExpired::of))
            .open()?;
        Store::new(database, config.max_bytes, Arc::clone(ledger))
    };
    // The database panics on some kinds of damage.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(fjall::Error::Unrecoverable))
}

/// Renames the store before it is removed. If the process ended while the store was half removed in
/// place, the next process might open the rest, with records from before an invalidation.
fn discard(config: &Disk) -> io::Result<()> {
    remove_discarded(config)?;
    fs::rename(directory(config), config.path.join(DISCARDED))?;
    remove_discarded(config)
}

fn remove_discarded(config: &Disk) -> io::Result<()> {
    match fs::remove_dir_all(config.path.join(DISCARDED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn directory(config: &Disk) -> PathBuf {
    config.path.join(RECORDS)
}

/// Returns `true` if the data on the disk can never be read, and `false` if the disk cannot be used
/// now. A file that is missing or exists too early counts as damage: a process ended while it
/// created or removed the store.
pub(crate) fn is_damage(error: &fjall::Error) -> bool {
    let io = match error {
        fjall::Error::Io(error) => Some(error),
        fjall::Error::Storage(LsmError::Io(error)) => Some(error),
        fjall::Error::Locked | fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted => {
            return false;
        }
        _ => None,
    };
    io.is_none_or(|error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotFound
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_that_may_pass_is_not_damage() {
        let too_many_files = || io::Error::from_raw_os_error(24);
        let cut_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(!is_damage(&fjall::Error::Io(too_many_files())));
        assert!(!is_damage(&fjall::Error::Storage(LsmError::Io(
            too_many_files()
        ))));
        assert!(is_damage(&fjall::Error::Storage(LsmError::Io(cut_short()))));
        assert!(is_damage(&fjall::Error::Storage(LsmError::InvalidTrailer)));
    }
}
