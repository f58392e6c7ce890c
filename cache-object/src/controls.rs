//! Epochs and the history: what a record must carry to be valid. Read once from the storage, then kept in memory: nobody else
//! changes them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, Stamp};
use opendal::{ErrorKind, Operator};
use xxhash_rust::xxh3::xxh3_128;

#[derive(Debug)]
pub(crate) struct Controls {
    operator: Operator,
    prefix: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    history: Option<u64>,
    /// By function: as many as there are.
    epochs: HashMap<String, u64>,
}

impl Controls {
    pub(crate) fn new(operator: Operator, prefix: String) -> Self {
        Self {
            operator,
            prefix,
            known: Mutex::default(),
        }
    }

    /// Nothing is known: another may have used the prefix.
    pub(crate) fn forget(&self) {
        *self.lock() = Known::default();
    }

    /// What a valid record of the function carries; `None` where it was never leased.
    pub(crate) async fn stamp(&self, function: &FunctionKey) -> opendal::Result<Option<Stamp>> {
        let name = function.versioned();
        let (epoch, history) = {
            let known = self.lock();
            (known.epochs.get(&name).copied(), known.history)
        };
        let history = match history {
            Some(history) => Some(history),
            None => self.read_history().await?,
        };
        let epoch = match epoch {
            Some(epoch) => Some(epoch),
            None => match self.read(&self.path_of(&name)).await? {
                // Whoever changed it meanwhile knows better.
                Some(epoch) => Some(*self.lock().epochs.entry(name).or_insert(epoch)),
                None => self.lock().epochs.get(&name).copied(),
            },
        };
        Ok(epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history }))
    }

    /// The same, made where there is none.
    ///
    /// One that is lost before it is written is another afterwards, and what was stored under it is void.
    pub(crate) async fn stamp_or_begin(&self, function: &FunctionKey) -> opendal::Result<Stamp> {
        if let Some(stamp) = self.stamp(function).await? {
            return Ok(stamp);
        }
        let name = function.versioned();
        let (history, begun) = {
            let mut known = self.lock();
            let begun = known.history.is_none().then(fresh);
            (
                *known
                    .history
                    .get_or_insert_with(|| begun.unwrap_or_default()),
                begun,
            )
        };
        if begun.is_some() {
            self.write(&self.history_path(), history).await?;
        }
        let (epoch, begun) = {
            let mut known = self.lock();
            let begun = !known.epochs.contains_key(&name);
            (
                *known.epochs.entry(name.clone()).or_insert_with(fresh),
                begun,
            )
        };
        if begun {
            self.write(&self.path_of(&name), epoch).await?;
        }
        Ok(Stamp { epoch, history })
    }

    /// Voids all records of a function, from now on in memory; in the storage when it returns.
    pub(crate) async fn void(&self, function: &FunctionKey) -> opendal::Result<()> {
        let (name, epoch) = (function.versioned(), fresh());
        self.lock().epochs.insert(name.clone(), epoch);
        self.write(&self.path_of(&name), epoch).await
    }

    /// Voids all records.
    pub(crate) async fn void_all(&self) -> opendal::Result<()> {
        let history = fresh();
        self.lock().history = Some(history);
        self.write(&self.history_path(), history).await
    }

    async fn read_history(&self) -> opendal::Result<Option<u64>> {
        let read = self.read(&self.history_path()).await?;
        let mut known = self.lock();
        known.history = known.history.or(read);
        Ok(known.history)
    }

    async fn read(&self, path: &str) -> opendal::Result<Option<u64>> {
        match self.operator.read(path).await {
            // What cannot be read is void, and so is all under it.
            Ok(bytes) => {
                let bytes = <[u8; 8]>::try_from(&bytes.to_vec()[..]);
                Ok(bytes.ok().map(u64::from_le_bytes))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, path: &str, number: u64) -> opendal::Result<()> {
        let bytes = number.to_le_bytes().to_vec();
        self.operator.write(path, bytes).await.map(drop)
    }

    fn history_path(&self) -> String {
        format!("{}/history", self.prefix)
    }

    fn path_of(&self, function: &str) -> String {
        format!(
            "{}/functions/{:032x}",
            self.prefix,
            xxh3_128(function.as_bytes())
        )
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Random, never counted: one that was lost must not come back.
fn fresh() -> u64 {
    fastrand::u64(..)
}
