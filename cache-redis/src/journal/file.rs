//! The file in which queued invalidations outlive their process.
//!
//! The file begins with a magic number. Each invalidation follows in a frame: its length, a
//! checksum (XXH3-64), and its encoding. If the end of the file cannot be read, everything is
//! invalidated in place of the rest. The file is emptied when all invalidations were sent, and
//! replaced when it has grown large.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cache_core::tier::Target;
use cache_core::{Error, ErrorKind};
use xxhash_rust::xxh3::xxh3_64;

use super::encoding::{decode, encode};
use super::invalidated::Invalidated;

/// The length from which the file is replaced by one with the pending invalidations. It is far more
/// than these usually need, and little for a disk.
const LARGE: u64 = 16 << 20;

/// The beginning of every file that is not empty.
const MAGIC: [u8; 8] = *b"MTCjrnl1";

/// The number of bytes in a frame before the encoded invalidation.
const HEAD: usize = 4 + 8;

/// An open journal file. It is locked while this lives, so that one process uses it.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
    len: u64,
    /// The length from which the file is replaced.
    longest: u64,
}

impl Drop for JournalFile {
    /// Unlocks the file. Closing it is not enough: a child process that is being started has it
    /// open until it executes its program, and the lock belongs to all who have it open.
    fn drop(&mut self) {
        // If it fails, the lock ends with the last that has the file open.
        let _ = self.file.unlock();
    }
}

pub(super) fn cannot_use(path: &Path, source: io::Error) -> Error {
    Error::with_source(
        ErrorKind::Configuration,
        format!(
            "`{}` cannot be used as the journal of Redis",
            path.display()
        ),
        source,
    )
}

impl JournalFile {
    /// Opens the file, and reads the invalidations in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Invalidated>), Error> {
        let cannot = |source| cannot_use(path, source);
        let mut file = open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let is_ours = bytes.starts_with(&MAGIC) || MAGIC.starts_with(&bytes);
        if !is_ours {
            return Err(cannot(io::Error::other("the file is not a journal")));
        }
        let (mut found, whole) = parse(&bytes);
        let mut journal = Self {
            path: path.to_owned(),
            file,
            len: bytes.len() as u64,
            longest: LARGE,
        };
        if whole < bytes.len() {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                path = %path.display(),
                bytes = bytes.len() - whole,
                "the end of the journal's file is damaged; everything is invalidated in its place"
            );
            found.push(Invalidated::of(Target::All));
            // The new file takes the place of the damaged one in one step, so that nothing is lost
            // if the process ends here.
            journal.replace(&found).map_err(cannot)?;
        }
        Ok((journal, found))
    }

    /// Appends invalidations. They are on disk when this has returned.
    pub(super) fn append(&mut self, added: &[Invalidated]) -> io::Result<()> {
        if added.is_empty() {
            return Ok(());
        }
        let magic = if self.len == 0 { &MAGIC[..] } else { &[] };
        let frames = added.iter().flat_map(frame);
        let frames: Vec<u8> = magic.iter().copied().chain(frames).collect();
        let written = self
            .file
            .write_all(&frames)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Remove the torn frame: it would make later frames unreadable.
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
        } else {
            self.len += frames.len() as u64;
        }
        written
    }

    pub(super) fn is_large(&self) -> bool {
        self.len > self.longest
    }

    /// Replaces the content by these invalidations, in one step.
    pub(super) fn replace(&mut self, all: &[Invalidated]) -> io::Result<()> {
        let mut frames = MAGIC.to_vec();
        frames.extend(all.iter().flat_map(frame));
        let is_empty = frames.len() == MAGIC.len();
        if is_empty && self.len == 0 {
            return Ok(());
        }
        if is_empty {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.sync_data()?;
            self.len = 0;
            self.longest = LARGE;
            return Ok(());
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let mut file = open(Path::new(&name))?;
        file.set_len(0)?;
        file.write_all(&frames)?;
        file.sync_data()?;
        std::fs::rename(&name, &self.path)?;
        sync_directory(&self.path)?;
        self.file = file;
        self.len = frames.len() as u64;
        // With a fixed limit, the file would be replaced with each write while so much is pending.
        self.longest = LARGE.max(self.len * 2);
        Ok(())
    }
}

/// Syncs the directory of a file, so that its new name survives a crash of the machine.
fn sync_directory(file: &Path) -> io::Result<()> {
    let directory = match file.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another process uses it"),
        TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

fn frame(invalidated: &Invalidated) -> Vec<u8> {
    let body = encode(invalidated);
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(xxh3_64(&body).to_le_bytes());
    frame.extend(body);
    frame
}

/// Parses the invalidations in a file. Also returns the number of bytes up to the first damaged
/// frame.
fn parse(bytes: &[u8]) -> (Vec<Invalidated>, usize) {
    let mut found = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        return (found, 0);
    };
    while let Some((invalidated, after)) = parse_one(rest) {
        found.push(invalidated);
        rest = after;
    }
    (found, bytes.len() - rest.len())
}

fn parse_one(bytes: &[u8]) -> Option<(Invalidated, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    Some((decode(body)?, rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::tier::kit::OwnedTarget;
    use cache_core::tier::{FunctionKey, RecordKey};

    use super::*;

    fn everything() -> Vec<Invalidated> {
        let function = FunctionKey::new("users::get", 3);
        let arguments = "42 and\nmore: é".into();
        let key = RecordKey::new(Arc::new(function.clone()), arguments, 99);
        let targets = [
            OwnedTarget::Key(key),
            OwnedTarget::Function(function),
            OwnedTarget::All,
        ];
        let tags = [Invalidated::Tags(vec![7, u64::MAX]), Invalidated::AllTags];
        let targets = targets.into_iter().map(Invalidated::Target);
        targets.chain(tags).collect()
    }

    #[test]
    fn torn_end_of_a_file_is_left_out_and_nothing_else() {
        let all = everything();
        let frames: Vec<_> = all.iter().map(frame).collect();
        let bytes = [&MAGIC[..], &frames.concat()].concat();
        assert_eq!(parse(&bytes), (all.clone(), bytes.len()));
        for cut in MAGIC.len()..bytes.len() {
            let (found, whole) = parse(&bytes[..cut]);
            assert_eq!(found, all[..found.len()]);
            assert_eq!(whole, MAGIC.len() + frames[..found.len()].concat().len());
            assert!(whole <= cut && (cut - whole) < frames[found.len()].len());
        }
        for cut in 0..MAGIC.len() {
            assert_eq!(parse(&bytes[..cut]), (vec![], 0));
        }
        let mut turned = bytes;
        turned[MAGIC.len() + frames[0].len() + HEAD] ^= 1;
        assert_eq!(parse(&turned).0, all[..1]);
    }

    #[test]
    fn file_is_used_by_one_process_and_outlives_it() {
        let path = std::env::temp_dir().join(format!("mtc-journal-file-{}", std::process::id()));
        let all = everything();
        let (mut journal, found) = JournalFile::open(&path).unwrap();
        assert!(found.is_empty());
        journal.append(&all[..1]).unwrap();
        journal.append(&all[1..]).unwrap();
        let error = JournalFile::open(&path).unwrap_err();
        assert!(
            format!("{error:?}").contains("another process"),
            "{error:?}"
        );
        // A child process that is being started still has the file open.
        let of_child = journal.file.try_clone().unwrap();
        drop(journal);
        let (mut journal, found) = JournalFile::open(&path).unwrap();
        assert_eq!(found, all);
        drop(of_child);
        journal.replace(&all[..1]).unwrap();
        journal.append(&all[2..]).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (journal, found) = JournalFile::open(&path).unwrap();
        let everything = Invalidated::of(Target::All);
        assert_eq!(
            found,
            [&all[..1], &all[2..4], &[everything]].concat(),
            "the last one is unknown"
        );
        drop(journal);
        std::fs::write(&path, &whole).unwrap();
        let (mut journal, found) = JournalFile::open(&path).unwrap();
        assert_eq!(found, [&all[..1], &all[2..]].concat());
        journal.replace(&[]).unwrap();
        drop(journal);
        assert!(JournalFile::open(&path).unwrap().1.is_empty());
        // A file that is cut in its first bytes. The same is found again the next time.
        std::fs::write(&path, &MAGIC[..3]).unwrap();
        for _ in 0..2 {
            let found = JournalFile::open(&path).unwrap().1;
            assert_eq!(found, [Invalidated::of(Target::All)]);
        }
        std::fs::write(&path, "a letter to a friend").unwrap();
        let error = format!("{:?}", JournalFile::open(&path).unwrap_err());
        assert!(error.contains("not a journal"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"a letter to a friend");
        std::fs::remove_file(path).unwrap();
    }
}
