//! A byte beside the store that says whether the store is behind: whether invalidations were
//! pending when the process ended. The file of the marker is locked by the process that uses the
//! directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use cache_core::tier::kit::lock;

/// The name of the file. A directory that has it belongs to a disk tier.
const NAME: &str = "owed";

const CLEAN: u8 = b'-';
const DIRTY: u8 = b'+';
/// The state after a write that failed: the byte may have been written or not.
const UNKNOWN: u8 = b'?';

/// A directory that a file system puts into its root. It does not make the directory another's.
const IGNORED_ENTRY: &str = "lost+found";

/// The marker. It is dirty from before an invalidation is reported as queued until the store has
/// synced all invalidations. A process that finds it dirty drops all records, because it cannot
/// know which of them the last process had invalidated.
pub(crate) struct DirtyMarker {
    file: Mutex<File>,
    /// The content of the file. Written while the file is locked.
    content: AtomicU8,
}

impl DirtyMarker {
    /// Opens the marker of a directory as the last process left it, or creates both. No other
    /// process can open it until it is dropped.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the directory has other files,
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it is in use.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        let existed = path.exists();
        if !existed {
            check_unused(directory)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "it is in use, by another process or by this one",
            ),
            TryLockError::Error(error) => error,
        })?;
        // Another process may have created the file since `existed` was determined.
        let is_new = !existed && file.metadata()?.len() == 0;
        let mut byte = [0];
        // Any content except `CLEAN` counts as dirty, because a write may have been torn.
        let is_dirty = !is_new && (file.read(&mut byte)? == 0 || byte[0] != CLEAN);
        if is_new {
            // The byte takes its space on the disk now, so that it can be set on a full disk.
            file.write_all(&[CLEAN])?;
            file.sync_data()?;
        }
        Ok(Self {
            file: Mutex::new(file),
            content: AtomicU8::new(if is_dirty { DIRTY } else { CLEAN }),
        })
    }

    /// Returns `true` if the marker is certainly dirty on the disk. Does not wait.
    pub(crate) fn is_dirty(&self) -> bool {
        // Acquire: pairs with the store after the sync.
        self.content.load(Ordering::Acquire) == DIRTY
    }

    /// Makes the marker dirty and syncs it, if the condition holds. The condition is evaluated
    /// while the file is locked, so that of two concurrent calls the later one decides.
    pub(crate) fn set_if(&self, has_pending: impl FnOnce() -> bool) -> io::Result<()> {
        self.write_if(DIRTY, has_pending)
    }

    /// Makes the marker clean and syncs it, if the condition holds.
    pub(crate) fn clear_if(&self, has_none_pending: impl FnOnce() -> bool) -> io::Result<()> {
        self.write_if(CLEAN, has_none_pending)
    }

    /// Makes every later write fail, as on a file system that has become read-only.
    #[cfg(test)]
    pub(crate) fn forbid_writing(&self, directory: &Path) {
        *lock(&self.file) = File::open(directory.join(NAME)).unwrap();
    }

    fn write_if(&self, content: u8, condition: impl FnOnce() -> bool) -> io::Result<()> {
        let mut file = lock(&self.file);
        if self.content.load(Ordering::Acquire) == content || !condition() {
            return Ok(());
        }
        // Release on both stores: a reader that sees `DIRTY` may rely on the sync before it.
        self.content.store(UNKNOWN, Ordering::Release);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[content])?;
        file.sync_data()?;
        self.content.store(content, Ordering::Release);
        Ok(())
    }
}

impl Drop for DirtyMarker {
    /// Unlocks the file. Closing it is not enough: a child process that is being started has it
    /// open until it executes its program, and the lock belongs to all who have it open.
    fn drop(&mut self) {
        // If it fails, the lock ends with the last that has the file open.
        let _ = lock(&self.file).unlock();
    }
}

/// Refuses a directory that has files of something else: the tier would remove them.
fn check_unused(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != IGNORED_ENTRY {
            let name = name.display();
            let problem = format!("it contains `{name}`, which is not part of a disk tier");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_process_reads_what_the_last_one_wrote() {
        let directory = std::env::temp_dir().join(format!("mtc-marker-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        for is_dirty in [false, true, true, false] {
            let marker = DirtyMarker::open(&directory).unwrap();
            marker.set_if(|| is_dirty).unwrap();
            marker.clear_if(|| !is_dirty).unwrap();
            drop(marker);
            assert_eq!(DirtyMarker::open(&directory).unwrap().is_dirty(), is_dirty);
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn directory_is_free_although_a_child_process_still_has_the_file_open() {
        let directory = std::env::temp_dir().join(format!("mtc-child-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let marker = DirtyMarker::open(&directory).unwrap();
        let of_child = lock(&marker.file).try_clone().unwrap();
        let error = DirtyMarker::open(&directory).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(marker);
        DirtyMarker::open(&directory).unwrap();
        drop(of_child);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn torn_marker_is_dirty_and_failed_write_is_neither() {
        let directory = std::env::temp_dir().join(format!("mtc-torn-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(NAME), "").unwrap();
        let marker = DirtyMarker::open(&directory).unwrap();
        assert!(marker.is_dirty(), "an empty file is a torn one");
        marker.clear_if(|| true).unwrap();
        marker.set_if(|| true).unwrap();
        marker.forbid_writing(&directory);
        marker.clear_if(|| true).unwrap_err();
        assert!(!marker.is_dirty(), "the content is not known");
        marker.set_if(|| true).unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn directory_that_is_in_use_or_has_other_files_is_refused() {
        let directory = std::env::temp_dir().join(format!("mtc-refused-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let marker = DirtyMarker::open(&directory).unwrap();
        let second = DirtyMarker::open(&directory).map(drop).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(marker);
        fs::remove_file(directory.join(NAME)).unwrap();
        fs::write(directory.join("letter"), "").unwrap();
        let error = DirtyMarker::open(&directory).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&directory).unwrap();
    }
}
