//! A byte beside the store that says whether an invalidation was owed to it: a process that ends before it could write it must
//! not leave what was invalidated to the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file's name. That it is there says that the directory is a tier's.
const NAME: &str = "owed";

const CLEAR: u8 = b'-';
const SET: u8 = b'+';

/// What a file system puts into a directory of its own.
const FOREIGN_AND_HARMLESS: &str = "lost+found";

pub(crate) struct Mark(Mutex<State>);

struct State {
    file: File,
    is_set: bool,
}

impl Mark {
    /// The mark of a directory, made with it where there is none; as the last process left it.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) for a directory that something else is in.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        let is_new = !path.exists();
        if is_new {
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
        let mut byte = [0];
        // Whatever else it says, it does not say that nothing is owed.
        let is_set = !is_new && (file.read(&mut byte)? == 0 || byte[0] != CLEAR);
        if is_new {
            // Its room is taken now: setting it later needs none.
            file.write_all(&[CLEAR])?;
            file.sync_data()?;
        }
        Ok(Self(Mutex::new(State { file, is_set })))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().is_set
    }

    /// Says that something is owed, if it is, when that would outlive the machine. Asked under the lock: of two at a time the later
    /// is right.
    pub(crate) fn set_if(&self, is_owed: impl FnOnce() -> bool) -> io::Result<()> {
        self.lock().change(true, is_owed)
    }

    /// Says that nothing is owed, if nothing is.
    pub(crate) fn clear_if(&self, is_paid: impl FnOnce() -> bool) -> io::Result<()> {
        self.lock().change(false, is_paid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, is_set: bool, is_so: impl FnOnce() -> bool) -> io::Result<()> {
        if self.is_set == is_set || !is_so() {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&[if is_set { SET } else { CLEAR }])?;
        self.file.sync_data()?;
        self.is_set = is_set;
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
        fs::write(directory.join(NAME), "").unwrap();
        assert!(Mark::open(&directory).unwrap().is_set(), "it was torn");
        fs::remove_file(directory.join(NAME)).unwrap();
        fs::write(directory.join("letter"), "").unwrap();
        let error = Mark::open(&directory).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&directory).unwrap();
    }
}
