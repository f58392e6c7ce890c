//! The file in which queued invalidations outlive their process.
//!
//! A frame for each: its length, the checksum (XXH3-64) of what follows, and the names. Where it cannot be read to its end,
//! everything is invalidated in place of the rest. The file is emptied when all is sent, and written anew when it has grown.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cache_core::{Error, ErrorKind};
use xxhash_rust::xxh3::xxh3_64;

use super::names::Invalidated;

/// From here on it is written anew, with what is still queued: far more than that is, and little for a disk.
const LARGE: u64 = 16 << 20;

/// What the file begins with, unless it is empty.
const MAGIC: [u8; 8] = *b"MTCjrnl1";

/// Bytes before what a frame holds.
const HEAD: usize = 4 + 8;

/// Locked as long as it lives: one process uses it.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: File,
    len: u64,
    /// From this length on it is written anew.
    longest: u64,
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

impl Spool {
    /// Opens the file, and reads what is in it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Invalidated>), Error> {
        let cannot = |source| cannot_use(path, source);
        let mut file = open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let is_ours = bytes.starts_with(&MAGIC) || MAGIC.starts_with(&bytes);
        if !is_ours {
            return Err(cannot(io::Error::other("it is another's file")));
        }
        let (mut found, whole) = parse(&bytes);
        let mut spool = Self {
            path: path.to_owned(),
            file,
            len: bytes.len() as u64,
            longest: LARGE,
        };
        if whole < bytes.len() {
            tracing::warn!(
                path = %path.display(),
                bytes = bytes.len() - whole,
                "the end of the journal cannot be read: everything is invalidated in its place"
            );
            found.push(Invalidated::All);
            // In place of the old file in one step.
            spool.replace(found.iter().cloned()).map_err(cannot)?;
        }
        Ok((spool, found))
    }

    /// Adds some; when this has returned they are on disk.
    pub(crate) fn append(&mut self, added: &[Invalidated]) -> io::Result<()> {
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
            // What is torn would hide what comes after it.
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
        } else {
            self.len += frames.len() as u64;
        }
        written
    }

    pub(crate) fn is_large(&self) -> bool {
        self.len > self.longest
    }

    /// Begins anew, with these.
    pub(crate) fn replace(&mut self, all: impl Iterator<Item = Invalidated>) -> io::Result<()> {
        let mut frames = MAGIC.to_vec();
        frames.extend(all.flat_map(|what| frame(&what)));
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
        // Not each time where that many are queued.
        self.longest = LARGE.max(self.len * 2);
        Ok(())
    }
}

/// So that a new name outlives the machine.
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

fn frame(what: &Invalidated) -> Vec<u8> {
    let body = what.to_bytes();
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(xxh3_64(&body).to_le_bytes());
    frame.extend(body);
    frame
}

/// What is in a file, and how much of it is whole.
fn parse(bytes: &[u8]) -> (Vec<Invalidated>, usize) {
    let mut found = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        return (found, 0);
    };
    while let Some((what, after)) = parse_one(rest) {
        found.push(what);
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
    Some((Invalidated::from_bytes(body)?, rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::tier::{FunctionKey, RecordKey, Target};

    use super::*;

    fn some() -> Vec<Invalidated> {
        let function = Arc::new(FunctionKey::new("users::get", 3));
        let key = RecordKey::new(Arc::clone(&function), "42 and\nmore: é".into(), 99);
        vec![
            Invalidated::of(Target::Key(&key)),
            Invalidated::of(Target::Function(&function)),
            Invalidated::of(Target::All),
        ]
    }

    #[test]
    fn what_is_torn_off_is_left_out_and_nothing_else() {
        let all = some();
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
    fn a_file_is_used_by_one_process_and_outlives_it() {
        let path = std::env::temp_dir().join(format!("mtc-spool-{}", std::process::id()));
        let all = some();
        let (mut spool, found) = Spool::open(&path).unwrap();
        assert!(found.is_empty());
        spool.append(&all[..1]).unwrap();
        spool.append(&all[1..]).unwrap();
        let error = Spool::open(&path).unwrap_err();
        assert!(
            format!("{error:?}").contains("another process"),
            "{error:?}"
        );
        drop(spool);
        let (mut spool, found) = Spool::open(&path).unwrap();
        assert_eq!(found, all);
        spool.replace(all[..1].iter().cloned()).unwrap();
        spool.append(&all[2..]).unwrap();
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (spool, found) = Spool::open(&path).unwrap();
        assert_eq!(
            found,
            [all[0].clone(), Invalidated::All],
            "of the second nobody knows"
        );
        drop(spool);
        std::fs::write(&path, &whole).unwrap();
        let (mut spool, found) = Spool::open(&path).unwrap();
        assert_eq!(found, [all[0].clone(), all[2].clone()]);
        spool.replace(std::iter::empty()).unwrap();
        drop(spool);
        assert!(Spool::open(&path).unwrap().1.is_empty());
        // Cut in its first bytes; what was found is there for the next who opens it, too.
        std::fs::write(&path, &MAGIC[..3]).unwrap();
        for _ in 0..2 {
            assert_eq!(Spool::open(&path).unwrap().1, [Invalidated::All]);
        }
        std::fs::write(&path, "a letter to a friend").unwrap();
        let error = format!("{:?}", Spool::open(&path).unwrap_err());
        assert!(error.contains("another's file"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"a letter to a friend");
        std::fs::remove_file(path).unwrap();
    }
}
