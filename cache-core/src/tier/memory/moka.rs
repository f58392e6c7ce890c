//! The moka engine.

use equivalent::Equivalent;
use moka::ops::compute::Op;
use moka::sync::Cache;

use super::engine::{Capacity, MemoryEngine, weight};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::{CarriedHash, FunctionId, Key, KeyRef};

/// moka, without its own expiry: that reads another clock and knows nothing about fences.
pub(super) struct Moka {
    cache: Cache<Key, Entry, CarriedHash>,
}

impl Moka {
    pub(super) fn new(capacity: Capacity) -> Self {
        let builder = Cache::builder();
        let builder = match capacity {
            Capacity::Entries(entries) => builder.max_capacity(entries),
            Capacity::Bytes(bytes) => builder.max_capacity(bytes).weigher(weight),
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
        // moka counts every `get` as a use, also of keys that it does not have. This way a key that
        // it does not have is not counted.
        if self.cache.contains_key(key) {
            self.cache.get(key)
        } else {
            None
        }
    }

    fn look(&self, key: &KeyRef<'_>) -> Option<Entry> {
        // moka counts every `get` as a use, and has no other way to one entry. A walk is no use.
        if !self.cache.contains_key(key) {
            return None;
        }
        let mut entries = self.cache.iter();
        let found = entries.find(|(known, _)| key.equivalent(known));
        found.map(|(_, entry)| entry)
    }

    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool {
        let mut replaced = None;
        let mut is_stored = false;
        self.cache.entry(key).and_compute_with(|known| {
            let known = known.map(moka::Entry::into_value);
            if known
                .as_ref()
                .is_some_and(|known| known.is_newer_than(&entry, now))
            {
                return Op::Nop;
            }
            // Dropped after the engine's lock is released, because the drop runs the user's code.
            replaced = known;
            is_stored = true;
            Op::Put(entry)
        });
        is_stored
    }

    fn update(&self, key: Key, change: impl FnOnce(&Entry) -> Option<Entry>) -> bool {
        let mut is_replaced = false;
        let mut present = None;
        // moka counts this as one use. A key is updated once for each of its loads, and after a use
        // that found it older than an invalidation, so this does not make it look popular.
        self.cache.entry(key).and_compute_with(|known| {
            // Dropped after the engine's lock is released, because the drop runs the user's code.
            present = known.map(moka::Entry::into_value);
            let new = present.as_ref().and_then(change);
            is_replaced = new.is_some();
            new.map_or(Op::Nop, Op::Put)
        });
        is_replaced
    }

    fn remove(&self, key: &KeyRef<'_>) {
        self.cache.invalidate(key);
    }

    fn keys_of(&self, function: FunctionId) -> Vec<Key> {
        let keys = self.cache.iter().map(|(key, _)| key);
        let keys = keys.filter(|key| key.is_of(function));
        keys.map(|key| Key::clone(&key)).collect()
    }

    fn len(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    fn count(&self) -> u64 {
        self.cache.entry_count()
    }

    fn weight(&self) -> u64 {
        self.cache.weighted_size()
    }

    fn evictions(&self) -> Option<u64> {
        // Only a listener is informed, and with one each insert takes a lock of its key.
        None
    }
}
