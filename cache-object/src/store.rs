//! Where the objects of keys are, and how they are read, written and deleted. Only a write has a
//! time limit of its own; the callers of the other operations have one.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::{KeyLocks, PrivateState};
use cache_core::tier::{FunctionKey, RecordKey, Stamp, Target};
use opendal::{Error, ErrorKind, Operator};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use crate::epochs::ObjectEpochs;
use crate::object::{HEADER_LEN, Header, record_in, to_object};
use crate::owner::WRITE_LIMIT;

#[derive(Debug)]
pub(crate) struct Store {
    operator: Operator,
    prefix: String,
    pub(crate) epochs: ObjectEpochs,
    pub(crate) state: PrivateState,
    /// Held while the lease of a key is checked and its object written, and while it is deleted;
    /// also across the request, because a write must have ended before the object is deleted. A
    /// task that holds one waits for nothing but a permit and the storage.
    locks: KeyLocks<Arc<Mutex<()>>>,
}

impl Store {
    pub(crate) fn new(operator: Operator, prefix: &str) -> Self {
        Self {
            operator,
            prefix: prefix.trim_end_matches('/').to_owned(),
            epochs: ObjectEpochs::default(),
            state: PrivateState::default(),
            locks: KeyLocks::default(),
        }
    }

    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the folder of the records whose names end with this byte. There are 256 folders,
    /// because some services are slow in larger ones.
    pub(crate) fn shard(&self, shard: u8) -> String {
        format!("{}/records/{shard:02x}/", self.prefix)
    }

    /// Returns the path of a key's object. It has a fixed length and few characters, because
    /// services differ in the names that they accept.
    pub(crate) fn path(&self, key: &RecordKey) -> String {
        let digest = xxh3_128(key.name().as_bytes());
        format!("{}{digest:032x}", self.shard(digest as u8))
    }

    pub(crate) async fn lock(&self, path: &str) -> OwnedMutexGuard<()> {
        Arc::clone(self.locks.of(path)).lock_owned().await
    }

    /// Returns `true` if operations on the two paths wait for each other.
    #[cfg(test)]
    pub(crate) fn share_a_lock(&self, one: &str, other: &str) -> bool {
        Arc::ptr_eq(self.locks.of(one), self.locks.of(other))
    }

    /// Returns the record of a key, unless it has expired.
    pub(crate) async fn get(&self, key: &RecordKey) -> opendal::Result<Option<Vec<u8>>> {
        match self.operator.read(&self.path(key)).await {
            Ok(object) => Ok(record_in(&object.to_vec(), key)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a record. If the result of the write is unknown, also because this is dropped, the
    /// records of the function are void.
    pub(crate) async fn put(
        &self,
        key: &RecordKey,
        stamp: Stamp,
        record: &[u8],
        life: Duration,
    ) -> opendal::Result<()> {
        let object = to_object(key, stamp, record, life);
        let mut unless_written = VoidUnlessWritten {
            store: self,
            function: &key.function,
            is_written: false,
        };
        let written = timeout(WRITE_LIMIT, self.operator.write(&self.path(key), object)).await;
        written.map_err(|_| Error::new(ErrorKind::Unexpected, "no reply to a write"))??;
        unless_written.is_written = true;
        Ok(())
    }

    pub(crate) async fn delete(&self, path: &str) -> opendal::Result<()> {
        self.operator.delete(path).await
    }

    /// Returns `true` if the path has an object whose record cannot be valid.
    pub(crate) async fn is_void(&self, path: &str) -> opendal::Result<bool> {
        let header = self
            .operator
            .read_with(path)
            .range(0..HEADER_LEN as u64)
            .await;
        let header = match header {
            Ok(bytes) => bytes.to_vec(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            // The object is shorter than a header.
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => Vec::new(),
            Err(error) => return Err(error),
        };
        let may_be_valid = |header: &Header| {
            !header.is_expired() && self.epochs.is_current(header.function, header.stamp)
        };
        Ok(!Header::parse(&header).as_ref().is_some_and(may_be_valid))
    }

    /// Looks for an object that does not exist, to see whether the storage answers.
    pub(crate) async fn ping(&self) -> opendal::Result<()> {
        let path = format!("{}/ping", self.prefix);
        self.operator.exists(&path).await.map(drop)
    }
}

/// Voids the records of a function, unless the write in progress is known to be done. Otherwise the
/// write may still land at any time, also after an invalidation, and nothing that was stored under
/// this epoch may be valid again.
struct VoidUnlessWritten<'a> {
    store: &'a Store,
    function: &'a FunctionKey,
    is_written: bool,
}

impl Drop for VoidUnlessWritten<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.store.epochs.void(self.function);
            let target = Target::Function(self.function);
            self.store.state.leases().void(target);
        }
    }
}
