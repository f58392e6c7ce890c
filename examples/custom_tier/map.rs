//! The store: four functions and the settings. The kit makes a tier of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::tier::kit::{PrivateTier, RecordStore, lock};
use multi_tier_cached::tier::{Tier, TierBuilder, TierContext, TierSettings};
use multi_tier_cached::{Error, unix_millis};

/// The greatest number of records.
const MAX_RECORDS: usize = 10_000;

/// Records by key, each with the time at which it expires.
#[derive(Debug, Default)]
pub(crate) struct Map(Mutex<HashMap<String, (Vec<u8>, u64)>>);

impl RecordStore for Map {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let records = lock(&self.0);
        let valid = records.get(key).filter(|record| record.1 > unix_millis());
        Ok(valid.map(|(record, _)| record.clone()))
    }

    async fn put(&self, key: &str, record: Vec<u8>, life: Duration) -> Result<(), Error> {
        let (mut records, now) = (lock(&self.0), unix_millis());
        // Make room: remove expired records first, and then any.
        if records.len() >= MAX_RECORDS {
            records.retain(|_, (_, expiry)| *expiry > now);
        }
        let any = records.keys().next().cloned();
        if let Some(any) = any.filter(|_| records.len() >= MAX_RECORDS) {
            records.remove(&any);
        }
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        records.insert(key.to_owned(), (record, now.saturating_add(life)));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        lock(&self.0).remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), Error> {
        lock(&self.0).clear();
        Ok(())
    }
}

impl TierBuilder for Map {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        let settings =
            TierSettings::new("map", Duration::from_millis(50)).max_record_bytes(1 << 20);
        Ok(Arc::new(PrivateTier::new(settings, *self)))
    }
}
