//! The store: each operation as it is done on a thread that may wait for the disk.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::{
    FillResult, FunctionKey, Glob, HEADER_LEN, LeaseMode, LeaseResult, LocalLeases, Owed,
    ReadResult, RecordKey, Refusal, Stamp, Wakeup,
};
use cache_core::unix_millis;
use fjall::{Database, LsmError, PersistMode};

use crate::config::Disk;
use crate::controls::Controls;
use crate::generations::{DropsTheDead, Generations, JOURNAL, Walk};

/// In the tier's directory.
const RECORDS: &str = "records";

/// What could not be read, until it is removed.
const DROPPED: &str = "dropped";

/// Keys that are told apart by locks.
const STRIPES: usize = 64;

/// What is kept of the records' blocks in memory: the system keeps more.
const BLOCKS_IN_MEMORY: u64 = 8 << 20;

pub(crate) struct Store {
    database: Database,
    generations: Generations,
    controls: Controls,
    pub(crate) leases: Arc<LocalLeases>,
    pub(crate) owed: Arc<Owed>,
    /// Held while a key's lease is looked at and its record written, or removed.
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Store {
    /// Opens it. What is there and cannot be read, or was found to be damaged, is dropped, and it begins anew.
    ///
    /// # Errors
    /// Where the disk cannot be used now.
    pub(crate) fn open(
        config: &Disk,
        leases: &Arc<LocalLeases>,
        owed: &Arc<Owed>,
        is_damaged: bool,
    ) -> fjall::Result<Self> {
        let path = config.path.display();
        Self::remove_dropped(config)?;
        let open = || {
            // What it reads may be damaged in ways that it does not expect.
            let open = || Self::open_whole(config, Arc::clone(leases), Arc::clone(owed));
            catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(fjall::Error::Unrecoverable))
        };
        match open() {
            Ok(store) if !is_damaged => return Ok(store),
            Ok(store) => {
                drop(store);
                tracing::warn!(path = %path, "something in the disk tier's directory is damaged: all that is in it is dropped");
            }
            Err(error) if is_damage(&error) => {
                tracing::warn!(path = %path, error = %error, "what is in the disk tier's directory cannot be read, and is dropped");
            }
            Err(error) => return Err(error),
        }
        Self::discard(config)?;
        open()
    }

    /// Moved aside first: what is half removed might be opened, with what it had before something was invalidated.
    fn discard(config: &Disk) -> io::Result<()> {
        Self::remove_dropped(config)?;
        fs::rename(directory(config), config.path.join(DROPPED))?;
        Self::remove_dropped(config)
    }

    fn remove_dropped(config: &Disk) -> io::Result<()> {
        match fs::remove_dir_all(config.path.join(DROPPED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn open_whole(config: &Disk, leases: Arc<LocalLeases>, owed: Arc<Owed>) -> fjall::Result<Self> {
        let database = Database::builder(directory(config))
            .cache_size(BLOCKS_IN_MEMORY)
            .max_journaling_size(JOURNAL)
            .worker_threads(1)
            .with_compaction_filter_factories(Arc::new(DropsTheDead::of))
            .open()?;
        Ok(Self {
            generations: Generations::open(database.clone(), config.max_bytes)?,
            controls: Controls::open(&database)?,
            database,
            leases,
            owed,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        })
    }

    pub(crate) fn read(&self, key: &RecordKey) -> fjall::Result<ReadResult> {
        // Before the record: a function that is invalidated in between has another by then.
        let stamp = Some(self.controls.stamp(&key.function.versioned()));
        if self.owed.covers(key) {
            return Ok(ReadResult::new(None, stamp));
        }
        let name = key.name();
        let Some((record, is_older)) = self.generations.get(&name)? else {
            return Ok(ReadResult::new(None, stamp));
        };
        if is_older {
            let _stripe = self.stripe(&name);
            if !self.owed.covers(key) {
                self.generations.renew(&name)?;
            }
        }
        Ok(ReadResult::new(Some(record), stamp))
    }

    /// Reads what is not there.
    pub(crate) fn ping(&self) -> fjall::Result<()> {
        self.generations.get("#ping").map(drop)
    }

    pub(crate) fn lease(
        &self,
        key: &RecordKey,
        mode: LeaseMode,
        expected_header: &[u8],
    ) -> fjall::Result<LeaseResult> {
        if self.owed.covers(key) {
            return Ok(LeaseResult::Refused(Refusal::Queued));
        }
        let stamp = self.controls.stamp(&key.function.versioned());
        let name = key.name();
        let _stripe = self.stripe(&name);
        if mode == LeaseMode::Exclusive
            && let Some((record, _)) = self.generations.get(&name)?
            && record[..record.len().min(HEADER_LEN)] != *expected_header
        {
            return Ok(LeaseResult::Held(Wakeup::new(std::future::ready(()))));
        }
        Ok(self.leases.take(key, mode, stamp))
    }

    pub(crate) fn fill(
        &self,
        key: &RecordKey,
        token: u64,
        leased: Stamp,
        record: &[u8],
        life: Duration,
    ) -> fjall::Result<FillResult> {
        let name = key.name();
        let _stripe = self.stripe(&name);
        if !self.leases.holds(key, token) {
            return Ok(FillResult::Refused(Refusal::Lease));
        }
        if self.owed.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let now = self.controls.stamp(&key.function.versioned());
        if now.history != leased.history {
            return Ok(FillResult::Refused(Refusal::History));
        }
        if now != leased {
            return Ok(FillResult::Refused(Refusal::Function));
        }
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
        let expiry = unix_millis().saturating_add(life);
        self.generations.insert(&name, expiry, record)?;
        self.leases.used(key, token);
        Ok(FillResult::Stored)
    }

    /// Removes the keys of a function that match, and returns how many there were, when that would outlive the machine.
    pub(crate) fn remove_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
    ) -> fjall::Result<u64> {
        self.leases.void_matching(function, glob);
        // What was looked at before is written by then, and found.
        for stripe in &self.stripes {
            drop(stripe.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let prefix = function.versioned() + ":";
        let (mut removed, mut walk) = (0, Walk::default());
        while let Some(step) = self.generations.step(&mut walk, &prefix)? {
            for (key, _) in step.keys {
                if key
                    .strip_prefix(&prefix)
                    .is_some_and(|arguments| glob.matches(arguments))
                {
                    let _stripe = self.stripe(&key);
                    self.generations.remove(&key)?;
                    removed += 1;
                }
            }
        }
        self.database.persist(PersistMode::SyncData)?;
        Ok(removed)
    }

    /// Removes what is dead among the next records of a walk, and how many those were; `None` when it is over.
    pub(crate) fn sweep(&self, walk: &mut Walk) -> fjall::Result<Option<usize>> {
        let Some(step) = self.generations.step(walk, "")? else {
            return Ok(None);
        };
        let (now, mut removed) = (unix_millis(), 0);
        for (key, expiry) in step.keys {
            if expiry <= now {
                let _stripe = self.stripe(&key);
                removed += usize::from(self.generations.remove_dead(step.number, &key)?);
            }
        }
        Ok(Some(removed))
    }

    /// Voids everything: what the last process owed is not known.
    pub(crate) fn void_all(&self) -> fjall::Result<()> {
        self.controls.void_all()?;
        self.database.persist(PersistMode::SyncData)
    }

    /// Does on the disk what is owed to it, and returns when it would outlive the machine: the number of the last that is done.
    pub(crate) fn pay(&self) -> fjall::Result<u64> {
        let bill = self.owed.bill();
        if bill.is_empty() {
            return Ok(bill.number());
        }
        if bill.all {
            self.controls.void_all()?;
        }
        for function in &bill.functions {
            self.controls.void(&function.versioned())?;
        }
        for key in &bill.keys {
            let name = key.name();
            let _stripe = self.stripe(&name);
            self.generations.remove(&name)?;
        }
        self.database.persist(PersistMode::SyncData)?;
        self.owed.paid(&bill);
        Ok(bill.number())
    }

    fn stripe(&self, key: &str) -> MutexGuard<'_, ()> {
        let at = self.hasher.hash_one(key) as usize % STRIPES;
        self.stripes[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is on the disk cannot be read, now or later; else it is the disk that cannot be used now. That something is missing,
/// or there too early, is of a process that ended while it made the store, or removed it.
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

fn directory(config: &Disk) -> PathBuf {
    config.path.join(RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("mtc-store-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn store(directory: &Directory) -> Store {
        Store::open(
            &Disk::new(&directory.0),
            &Arc::default(),
            &Arc::default(),
            false,
        )
        .unwrap()
    }

    fn key(number: u64) -> RecordKey {
        let function = Arc::new(FunctionKey::new("f", 1));
        RecordKey::new(function, number.to_string(), number)
    }

    fn fill(store: &Store, number: u64, record: &[u8], life: Duration) {
        let key = key(number);
        let LeaseResult::Granted(lease) = store.lease(&key, LeaseMode::Preempt, &[]).unwrap()
        else {
            panic!("no lease");
        };
        let filled = store.fill(&key, lease.token, lease.stamp, record, life);
        assert_eq!(filled.unwrap(), FillResult::Stored);
    }

    const HOUR: Duration = Duration::from_secs(3_600);
    const AT_ONCE: Duration = Duration::from_millis(1);

    fn read(store: &Store, number: u64) -> Option<Vec<u8>> {
        store.read(&key(number)).unwrap().record
    }

    fn swept(store: &Store) -> usize {
        let (mut walk, mut all) = (Walk::default(), 0);
        while let Some(removed) = store.sweep(&mut walk).unwrap() {
            all += removed;
        }
        all
    }

    #[test]
    fn what_the_disk_refuses_now_is_no_damage() {
        let too_many_files = || io::Error::from_raw_os_error(24);
        let cut_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(!is_damage(&fjall::Error::Io(too_many_files())));
        assert!(!is_damage(&fjall::Error::Storage(LsmError::Io(
            too_many_files()
        ))));
        assert!(is_damage(&fjall::Error::Storage(LsmError::Io(cut_short()))));
        assert!(is_damage(&fjall::Error::Storage(LsmError::InvalidTrailer)));
    }

    #[test]
    fn what_is_dead_is_swept_from_both_generations() {
        let directory = Directory::new("swept");
        let store = store(&directory);
        // More than a step.
        for number in 0..1_200 {
            let life = if number % 2 == 0 { AT_ONCE } else { HOUR };
            fill(&store, number, b"record", life);
            if number == 600 {
                store.generations.turn_now().unwrap();
            }
        }
        let began = unix_millis();
        while unix_millis() < began + 5 {
            std::hint::spin_loop();
        }
        assert_eq!(swept(&store), 600);
        assert_eq!(swept(&store), 0);
        assert!((0..1_200).all(|number| read(&store, number).is_some() == (number % 2 == 1)));
    }

    #[test]
    fn what_was_replaced_is_not_found_behind_what_took_its_place() {
        let directory = Directory::new("replaced");
        let store = store(&directory);
        fill(&store, 1, b"old", HOUR);
        store.generations.turn_now().unwrap();
        fill(&store, 1, b"new", AT_ONCE);
        while let Some(record) = read(&store, 1) {
            assert_eq!(record, b"new");
        }
        swept(&store);
        assert_eq!(read(&store, 1), None);
    }

    #[test]
    fn a_pattern_is_looked_for_in_steps() {
        let directory = Directory::new("matching");
        let store = store(&directory);
        for number in 0..1_200 {
            fill(&store, number, b"record", HOUR);
            if number == 600 {
                store.generations.turn_now().unwrap();
            }
        }
        let glob = Glob::new("*7").unwrap();
        let removed = store.remove_matching(&key(1).function, &glob).unwrap();
        assert_eq!(removed, 120);
        assert!((0..1_200).all(|number| read(&store, number).is_some() == (number % 10 != 7)));
    }
}
