//! What the tier keeps, and what invalidating does to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multi_tier_cached::tier::{
    LocalLeases, RecordKey, Stamp, Target, Tier, TierBuilder, TierContext,
};
use multi_tier_cached::{Error, ErrorKind, unix_millis};

/// What is given to the runtime's builder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map(Arc<Store>);

impl TierBuilder for Map {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(self.0)
    }
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) leases: Arc<LocalLeases>,
    pub(super) contents: Arc<Mutex<Contents>>,
    pub(super) has_ended: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// With the time at which each is dead.
    records: HashMap<String, (Vec<u8>, u64)>,
    /// By function: what its valid records carry.
    epochs: HashMap<String, u64>,
    history: u64,
}

/// Records at most.
const MOST: usize = 10_000;

impl Contents {
    pub(super) fn stamp(&self, key: &RecordKey) -> Stamp {
        let function = key.function.versioned();
        let epoch = self.epochs.get(&function).copied().unwrap_or(0);
        Stamp {
            epoch,
            history: self.history,
        }
    }

    pub(super) fn record(&self, key: &RecordKey) -> Option<&Vec<u8>> {
        let (record, dies) = self.records.get(&key.name())?;
        (*dies > unix_millis()).then_some(record)
    }

    /// Makes room first: of the dead, and of any where none is.
    pub(super) fn insert(&mut self, key: &RecordKey, record: Vec<u8>, life: Duration) {
        let now = unix_millis();
        if self.records.len() >= MOST {
            self.records.retain(|_, (_, dies)| *dies > now);
        }
        if self.records.len() >= MOST
            && let Some(any) = self.records.keys().next().cloned()
        {
            self.records.remove(&any);
        }
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let dies = now.saturating_add(life);
        self.records.insert(key.name(), (record, dies));
    }

    pub(super) fn invalidate(&mut self, target: Target<'_>) {
        match target {
            Target::Key(key) => drop(self.records.remove(&key.name())),
            Target::Function(function) => {
                *self.epochs.entry(function.versioned()).or_default() += 1;
            }
            Target::All => self.history += 1,
        }
    }
}

impl Store {
    pub(super) fn contents(&self) -> Result<MutexGuard<'_, Contents>, Error> {
        if self.has_ended.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "use a tier that has ended",
            ));
        }
        Ok(self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
