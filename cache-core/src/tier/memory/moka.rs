//! moka as the engine.

use moka::sync::Cache;

use super::{Bound, MemoryEngine, weight};
use crate::entry::Entry;
use crate::key::{CarriedHash, Key, KeyRef};

/// Without moka's own expiry: it would read another clock and knows nothing of fences.
pub(super) struct Moka {
    cache: Cache<Key, Entry, CarriedHash>,
}

impl Moka {
    pub(super) fn new(bound: Bound) -> Self {
        let builder = Cache::builder();
        let builder = match bound {
            Bound::Entries(entries) => builder.max_capacity(entries),
            Bound::Bytes(bytes) => builder.max_capacity(bytes).weigher(weight),
        };
        Self {
            cache: builder.build_with_hasher(CarriedHash::default()),
        }
    }
}

impl MemoryEngine for Moka {
    #[inline]
    fn get(&self, key: &KeyRef<'_>) -> Option<Entry> {
        self.cache.get(key)
    }

    fn peek(&self, key: &KeyRef<'_>) -> Option<Entry> {
        // moka has no look without a trace; what is not there leaves none this way.
        if self.cache.contains_key(key) {
            self.cache.get(key)
        } else {
            None
        }
    }

    fn insert(&self, key: Key, entry: Entry) {
        self.cache.insert(key, entry);
    }

    fn remove(&self, key: &KeyRef<'_>) {
        self.cache.invalidate(key);
    }

    fn len(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }
}
