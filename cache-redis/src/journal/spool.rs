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
        format!("use `{}` as the journal of Redis", path.display()),
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
        let (mut found, whole) = parse(&bytes);
        let len = whole as u64;
        file.set_len(len).map_err(cannot)?;
        file.seek(SeekFrom::Start(len)).map_err(cannot)?;
        let mut spool = Self {
            path: path.to_owned(),
            file,
            len,
            longest: LARGE,
        };
        if whole < bytes.len() {
            tracing::warn!(
                path = %path.display(),
                bytes = bytes.len() - whole,
                "the end of the journal cannot be read: everything is invalidated in its place"
            );
            spool.append(&[Invalidated::All]).map_err(cannot)?;
            found.push(Invalidated::All);
        }
        Ok((spool, found))
    }

    /// Adds some; when this has returned they are on disk.
    pub(crate) fn append(&mut self, added: &[Invalidated]) -> io::Result<()> {
        let frames: Vec<u8> = added.iter().flat_map(frame).collect();
        if frames.is_empty() {
            return Ok(());
        }
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
        let frames: Vec<u8> = all.flat_map(|what| frame(&what)).collect();
        if frames.is_empty() && self.len == 0 {
            return Ok(());
        }
        if frames.is_empty() {
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
        self.file = file;
        self.len = frames.len() as u64;
        // Not each time where that many are queued.
        self.longest = LARGE.max(self.len * 2);
        Ok(())
    }
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
    let mut rest = bytes;
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
        let bytes = frames.concat();
        assert_eq!(parse(&bytes), (all.clone(), bytes.len()));
        for cut in 0..bytes.len() {
            let (found, whole) = parse(&bytes[..cut]);
            assert_eq!(found, all[..found.len()]);
            assert_eq!(whole, frames[..found.len()].concat().len());
            assert!(whole <= cut && (cut - whole) < frames[found.len()].len());
        }
        let mut turned = bytes;
        turned[frames[0].len() + HEAD] ^= 1;
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
        std::fs::remove_file(path).unwrap();
    }
}
