//! The store: each operation as it is done to objects.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{
    Claim, Fill, Found, Leased, LocalLeases, Owed, RecordKey, Refusal, SEEN, Stamp, Target, Wakeup,
};
use cache_core::unix_millis;
use opendal::{Error, ErrorKind, Operator};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use crate::controls::Controls;
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
    /// must have landed before.
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
    paying: Mutex<()>,
}

impl Store {
    pub(crate) fn new(operator: Operator, prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self {
            controls: Controls::new(operator.clone(), prefix.clone()),
            operator,
            prefix,
            leases: Arc::default(),
            owed: Owed::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            paying: Mutex::default(),
        }
    }

    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) async fn read(&self, key: &RecordKey) -> opendal::Result<Found> {
        // Before the record: a function that is invalidated in between has another by then.
        let stamp = self.controls.stamp(&key.function).await?;
        if stamp.is_none() || self.owed.covers(key) {
            return Ok(Found::new(None, stamp));
        }
        let record = self.get(key).await?;
        Ok(Found::new(record.filter(|_| !self.owed.covers(key)), stamp))
    }

    pub(crate) async fn lease(
        &self,
        key: &RecordKey,
        claim: Claim,
        seen: &[u8],
    ) -> opendal::Result<Leased> {
        if self.owed.covers(key) {
            self.pay().await?;
        }
        let stamp = self.controls.stamp_or_begin(&key.function).await?;
        if claim == Claim::Only
            && let Some(record) = self.get(key).await?
            && record[..record.len().min(SEEN)] != *seen
        {
            return Ok(Leased::Taken(Wakeup::new(std::future::ready(()))));
        }
        Ok(self.leases.take(key, claim, stamp))
    }

    pub(crate) async fn fill(
        &self,
        key: &RecordKey,
        token: u64,
        leased: Stamp,
        record: &[u8],
        life: Duration,
    ) -> opendal::Result<Fill> {
        let _stripe = self.stripe(key).await;
        if !self.leases.holds(key, token) {
            return Ok(Fill::Refused(Refusal::Lease));
        }
        if self.owed.covers(key) {
            return Ok(Fill::Refused(Refusal::Queued));
        }
        match self.controls.stamp(&key.function).await? {
            Some(now) if now == leased => {}
            Some(now) if now.history == leased.history => {
                return Ok(Fill::Refused(Refusal::Function));
            }
            _ => return Ok(Fill::Refused(Refusal::History)),
        }
        let object = object_of(key, record, life);
        let written = timeout(LONGEST_WRITE, self.operator.write(&self.path(key), object)).await;
        let written = written
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "no answer to a write")));
        if let Err(error) = written {
            // It may land yet, whenever: what is under this epoch must never count again.
            let target = Target::Function(&key.function);
            self.owed.add(target);
            self.leases.void(target);
            return Err(error);
        }
        self.leases.used(key);
        Ok(Fill::Stored)
    }

    /// Does in the storage what is owed to it. Those who come meanwhile find it done.
    pub(crate) async fn pay(&self) -> opendal::Result<()> {
        let _paying = self.paying.lock().await;
        let bill = self.owed.bill();
        if bill.all {
            self.controls.void_all().await?;
        }
        for function in &bill.functions {
            self.controls.void(function).await?;
        }
        for key in &bill.keys {
            let _stripe = self.stripe(key).await;
            self.operator.delete(&self.path(key)).await?;
        }
        self.owed.paid(&bill);
        Ok(())
    }

    /// Asks for what is not there.
    pub(crate) async fn ping(&self) -> opendal::Result<()> {
        let path = format!("{}/ping", self.prefix);
        self.operator.exists(&path).await.map(drop)
    }

    /// A record that is not dead.
    async fn get(&self, key: &RecordKey) -> opendal::Result<Option<Vec<u8>>> {
        match self.operator.read(&self.path(key)).await {
            Ok(object) => Ok(record_in(&object.to_vec(), key)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of a fixed length, whatever the key: services differ in what names they take.
    fn path(&self, key: &RecordKey) -> String {
        let digest = xxh3_128(key.name().as_bytes());
        format!("{}/records/{:02x}/{digest:032x}", self.prefix, digest as u8)
    }

    async fn stripe(&self, key: &RecordKey) -> MutexGuard<'_, ()> {
        let at = self.hasher.hash_one(key.name()) as usize % STRIPES;
        self.stripes[at].lock().await
    }
}

/// When it is dead, and the key's name with its length, before the record.
fn object_of(key: &RecordKey, record: &[u8], life: Duration) -> Vec<u8> {
    let name = key.name();
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1);
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut object = Vec::with_capacity(12 + name.len() + record.len());
    object.extend(unix_millis().saturating_add(life).to_le_bytes());
    object.extend(length.to_le_bytes());
    object.extend(name.as_bytes());
    object.extend(record);
    object
}

/// The record in an object, if it is this key's and not dead.
fn record_in(object: &[u8], key: &RecordKey) -> Option<Vec<u8>> {
    let (expiry, rest) = object.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, record) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let is_it = u64::from_le_bytes(*expiry) > unix_millis() && name == key.name().as_bytes();
    is_it.then(|| record.to_vec())
}

#[cfg(test)]
mod tests {
    use cache_core::tier::FunctionKey;

    use super::*;

    #[test]
    fn an_object_is_its_keys_until_it_is_dead() {
        let key = |arguments: &str| {
            RecordKey::new(Arc::new(FunctionKey::new("f", 1)), arguments.to_owned(), 1)
        };
        let minute = Duration::from_secs(60);
        let object = object_of(&key("1"), b"abc", minute);
        assert_eq!(record_in(&object, &key("1")).as_deref(), Some(&b"abc"[..]));
        assert_eq!(record_in(&object, &key("2")), None);
        for torn in 0..15 {
            assert_eq!(record_in(&object[..torn], &key("1")), None);
        }
        let mut dead = object;
        dead[..8].copy_from_slice(&unix_millis().to_le_bytes());
        assert_eq!(record_in(&dead, &key("1")), None);
    }
}
