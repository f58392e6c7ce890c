//! The store: where the objects of keys are, and how they are read, written and removed. No operation here has a limit of its own
//! but the write; whoever asks has one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{FunctionKey, LocalLeases, Owed, RecordKey, Refusal, Stamp, Target};
use opendal::{Error, ErrorKind, Operator};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use crate::controls::Controls;
use crate::object::{HEADER, Header, object_of, record_in};
use crate::owner::LONGEST_WRITE;

/// Keys that are told apart by locks.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(crate) struct Store {
    operator: Operator,
    prefix: String,
    pub(crate) controls: Controls,
    pub(crate) leases: Arc<LocalLeases>,
    pub(crate) owed: Owed,
    /// Held while a key's lease is looked at and its object written, or removed. Across the wait for the storage: what is removed
    /// must have landed before. Who holds one waits for nothing but a place and the storage.
    stripes: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

impl Store {
    pub(crate) fn new(operator: Operator, prefix: &str) -> Self {
        Self {
            operator,
            prefix: prefix.trim_end_matches('/').to_owned(),
            controls: Controls::new(),
            leases: Arc::default(),
            owed: Owed::default(),
            stripes: (0..STRIPES).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where the records are whose names begin with that byte. One folder for each: some services are slow in larger ones.
    pub(crate) fn shard(&self, shard: u8) -> String {
        format!("{}/records/{shard:02x}/", self.prefix)
    }

    /// Of a fixed length, whatever the key: services differ in what names they take.
    pub(crate) fn path(&self, key: &RecordKey) -> String {
        let digest = xxh3_128(key.name().as_bytes());
        format!("{}{digest:032x}", self.shard(digest as u8))
    }

    pub(crate) async fn stripe(&self, path: &str) -> OwnedMutexGuard<()> {
        Arc::clone(&self.stripes[self.stripe_of(path)])
            .lock_owned()
            .await
    }

    pub(crate) fn stripe_of(&self, path: &str) -> usize {
        self.hasher.hash_one(path) as usize % STRIPES
    }

    /// A record that is not dead.
    pub(crate) async fn get(&self, key: &RecordKey) -> opendal::Result<Option<Vec<u8>>> {
        match self.operator.read(&self.path(key)).await {
            Ok(object) => Ok(record_in(&object.to_vec(), key)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why the key may not be filled under that lease. Asked and answered while its stripe is held.
    pub(crate) fn refuses(&self, key: &RecordKey, token: u64, leased: Stamp) -> Option<Refusal> {
        let now = self.controls.stamp(&key.function);
        if !self.leases.holds(key, token) {
            Some(Refusal::Lease)
        } else if self.owed.covers(key) {
            Some(Refusal::Queued)
        } else if now.history != leased.history {
            Some(Refusal::History)
        } else if now.epoch != leased.epoch {
            Some(Refusal::Function)
        } else {
            None
        }
    }

    /// Writes a record. Where it is not known whether that was done, be it that this is dropped, the whole function is void.
    pub(crate) async fn put(
        &self,
        key: &RecordKey,
        stamp: Stamp,
        record: &[u8],
        life: Duration,
    ) -> opendal::Result<()> {
        let object = object_of(key, stamp, record, life);
        let mut end = EndOfWrite {
            store: self,
            function: &key.function,
            is_known: false,
        };
        let written = timeout(LONGEST_WRITE, self.operator.write(&self.path(key), object)).await;
        written.map_err(|_| Error::new(ErrorKind::Unexpected, "no answer to a write"))??;
        end.is_known = true;
        Ok(())
    }

    pub(crate) async fn delete(&self, path: &str) -> opendal::Result<()> {
        self.operator.delete(path).await
    }

    /// Whether an object is there that nobody will read any more.
    pub(crate) async fn is_void(&self, path: &str) -> opendal::Result<bool> {
        let beginning = self.operator.read_with(path).range(0..HEADER as u64).await;
        let beginning = match beginning {
            Ok(bytes) => bytes.to_vec(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            // It is shorter than that.
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => Vec::new(),
            Err(error) => return Err(error),
        };
        let counts = |header: &Header| {
            !header.is_dead() && self.controls.counts(header.function, header.stamp)
        };
        Ok(!Header::of(&beginning).as_ref().is_some_and(counts))
    }

    /// Asks for what is not there.
    pub(crate) async fn ping(&self) -> opendal::Result<()> {
        let path = format!("{}/ping", self.prefix);
        self.operator.exists(&path).await.map(drop)
    }
}

/// A write that may land at any time, unless its end is known: what was stored under this epoch must never count again.
struct EndOfWrite<'a> {
    store: &'a Store,
    function: &'a FunctionKey,
    is_known: bool,
}

impl Drop for EndOfWrite<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.store.controls.void(self.function);
            self.store.leases.void(Target::Function(self.function));
        }
    }
}
