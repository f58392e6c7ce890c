//! A byte beside the store that says whether an invalidation was owed to it: a process that ends before it could write it must
//! not leave what was invalidated to the next. Its file is locked by who uses the directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// The file's name. That it is there says that the directory is a tier's.
const NAME: &str = "owed";

const CLEAR: u8 = b'-';
const SET: u8 = b'+';
/// Of a write that may be there or not.
const UNKNOWN: u8 = b'?';

/// What a file system puts into a directory of its own.
const FOREIGN_AND_HARMLESS: &str = "lost+found";

pub(crate) struct Mark {
    file: Mutex<File>,
    /// What the file says. Changed under its lock.
    says: AtomicU8,
}

impl Mark {
    /// The mark of a directory, made with it where there is none; as the last process left it. Until it is dropped, nobody else
    /// can open it.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) for a directory that something else is in,
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) for one that is in use.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        let was_there = path.exists();
        if !was_there {
            for entry in fs::read_dir(directory)? {
                let name = entry?.file_name();
                if name != FOREIGN_AND_HARMLESS {
                    return Err(io::Error::new(
                        io::ErrorKind::AlreadyExists,
                        format!(
                            "there is `{}` in it, which is not a disk tier's",
                            name.display()
                        ),
                    ));
                }
            }
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
        // Another may have made it in between.
        let is_new = !was_there && file.metadata()?.len() == 0;
        let mut byte = [0];
        // Whatever else it says, it does not say that nothing is owed.
        let is_set = !is_new && (file.read(&mut byte)? == 0 || byte[0] != CLEAR);
        if is_new {
            // Its room is taken now: setting it later needs none.
            file.write_all(&[CLEAR])?;
            file.sync_data()?;
        }
        Ok(Self {
            file: Mutex::new(file),
            says: AtomicU8::new(if is_set { SET } else { CLEAR }),
        })
    }

    /// Whether it says for certain that something is owed. Waits for nobody.
    pub(crate) fn is_set(&self) -> bool {
        self.says.load(Ordering::Acquire) == SET
    }

    /// Says that something is owed, if it is, when that would outlive the machine. Asked under the lock: of two at a time the later
    /// is right.
    pub(crate) fn set_if(&self, is_owed: impl FnOnce() -> bool) -> io::Result<()> {
        self.change(true, is_owed)
    }

    /// Says that nothing is owed, if nothing is.
    pub(crate) fn clear_if(&self, is_paid: impl FnOnce() -> bool) -> io::Result<()> {
        self.change(false, is_paid)
    }

    /// From now on it can be read alone, as on a file system that has failed.
    #[cfg(test)]
    pub(crate) fn forbid_writing(&self, directory: &Path) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        *file = File::open(directory.join(NAME)).unwrap();
    }

    fn change(&self, is_set: bool, is_so: impl FnOnce() -> bool) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let says = if is_set { SET } else { CLEAR };
        if self.says.load(Ordering::Acquire) == says || !is_so() {
            return Ok(());
        }
        self.says.store(UNKNOWN, Ordering::Release);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[says])?;
        file.sync_data()?;
        self.says.store(says, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_read_by_the_next() {
        let directory = std::env::temp_dir().join(format!("mtc-mark-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        for is_owed in [false, true, true, false] {
            let mark = Mark::open(&directory).unwrap();
            mark.set_if(|| is_owed).unwrap();
            mark.clear_if(|| !is_owed).unwrap();
            drop(mark);
            assert_eq!(Mark::open(&directory).unwrap().is_set(), is_owed);
        }
        let mark = Mark::open(&directory).unwrap();
        let second = Mark::open(&directory).map(drop).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(mark);
        fs::write(directory.join(NAME), "").unwrap();
        assert!(Mark::open(&directory).unwrap().is_set(), "it was torn");
        let mark = Mark::open(&directory).unwrap();
        mark.clear_if(|| true).unwrap();
        mark.set_if(|| true).unwrap();
        mark.forbid_writing(&directory);
        mark.clear_if(|| true).unwrap_err();
        assert!(!mark.is_set(), "nobody knows what it says");
        mark.set_if(|| true).unwrap_err();
        drop(mark);
        fs::remove_file(directory.join(NAME)).unwrap();
        fs::write(directory.join("letter"), "").unwrap();
        let error = Mark::open(&directory).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&directory).unwrap();
    }
}
