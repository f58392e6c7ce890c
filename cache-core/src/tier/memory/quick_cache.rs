//! The quick_cache engine.

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::engine::{Capacity, MemoryEngine, weight};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::{CarriedHash, FunctionId, Key, KeyRef};
use crate::stats::Counter;
use crate::sync::{Mutex, lock};

/// The number of locks for inserts. Keys that share one insert in turn.
const INSERT_LOCKS: usize = 64;

pub(super) struct QuickCache {
    cache: Cache<Key, Entry, EntryWeight, CarriedHash, KeepsEvicted>,
    /// Held while an insert checks the present entry and replaces it. The engine's own function for
    /// that counts the insert as a use, which costs five points of the hit ratio on the traces.
    insert_locks: Vec<Mutex<()>>,
    evictions: Counter,
}

/// The entries that an insert evicted.
type Evicted = Vec<(Key, Entry)>;

/// Hands evicted entries to the caller of the insert, who drops them after the engine's lock is
/// released.
#[derive(Clone)]
struct KeepsEvicted;

impl Lifecycle<Key, Entry> for KeepsEvicted {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, key: Key, entry: Entry) {
        evicted.push((key, entry));
    }
}

/// Weighs each entry as one, or by its weight in bytes.
#[derive(Clone)]
struct EntryWeight {
    weighs: bool,
}

impl Weighter<Key, Entry> for EntryWeight {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        if self.weighs {
            u64::from(weight(key, entry))
        } else {
            1
        }
    }
}

impl QuickCache {
    pub(super) fn new(capacity: Capacity) -> Self {
        let (weight_capacity, weighs) = match capacity {
            Capacity::Entries(entries) => (entries, false),
            Capacity::Bytes(bytes) => (bytes, true),
        };
        let entries = capacity.entries();
        let mut options = OptionsBuilder::new();
        // The tables are allocated for that many entries at once. A capacity that is only a limit
        // must not allocate gigabytes.
        options.estimated_items_capacity(usize::try_from(entries.min(1 << 20)).unwrap_or(1 << 20));
        options.weight_capacity(weight_capacity);
        let cache = match options.build() {
            Ok(options) => Cache::with_options(
                options,
                EntryWeight { weighs },
                CarriedHash::default(),
                KeepsEvicted,
            ),
            // The options are refused only if a capacity is missing, and both are set.
            Err(_) => Cache::with(
                1,
                weight_capacity,
                EntryWeight { weighs },
                CarriedHash::default(),
                KeepsEvicted,
            ),
        };
        let insert_locks = (0..INSERT_LOCKS).map(|_| Mutex::default()).collect();
        Self {
            cache,
            insert_locks,
            evictions: Counter::default(),
        }
    }

    /// Counts what an insert has evicted. The engine also hands out the entry that was replaced.
    fn count_evictions(&self, evicted: &Evicted, replaced: Option<&Entry>) {
        let is_replaced = |entry: &Entry| replaced.is_some_and(|replaced| replaced.is_same(entry));
        let others = evicted.iter().filter(|(_, entry)| !is_replaced(entry));
        match others.count() {
            0 => {}
            number => self.evictions.add(number as u64),
        }
    }

    fn insert_lock(&self, key: &Key) -> &Mutex<()> {
        &self.insert_locks[key.as_ref().hash as usize % INSERT_LOCKS]
    }
}

impl MemoryEngine for QuickCache {
    #[inline]
    fn get(&self, key: &KeyRef<'_>) -> Option<Entry> {
        self.cache.get(key)
    }

    fn peek(&self, key: &KeyRef<'_>) -> Option<Entry> {
        self.cache.peek(key)
    }

    fn look(&self, key: &KeyRef<'_>) -> Option<Entry> {
        self.cache.peek(key)
    }

    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool {
        // Dropped after the lock is released, because the drop of a value runs the user's code.
        let mut evicted = Evicted::default();
        let (is_stored, replaced) = {
            let _lock = lock(self.insert_lock(&key));
            let known = self.cache.peek(&key.as_ref());
            let is_stored = !known
                .as_ref()
                .is_some_and(|known| known.is_newer_than(&entry, now));
            if is_stored {
                self.cache.insert_with_lifecycle(key, entry, &mut evicted);
            }
            (is_stored, known)
        };
        self.count_evictions(&evicted, replaced.as_ref());
        is_stored
    }

    fn update(&self, key: Key, change: impl FnOnce(&Entry) -> Option<Entry>) -> bool {
        let mut evicted = Evicted::default();
        let (is_replaced, known) = {
            let _lock = lock(self.insert_lock(&key));
            let known = self.cache.peek(&key.as_ref());
            // It fails if the entry was evicted or removed since, because these do not take the
            // lock. It is soft: the key does not become hotter.
            let replace = |new| {
                let evicted = &mut evicted;
                let replaced = self.cache.replace_with_lifecycle(key, new, true, evicted);
                replaced.is_ok()
            };
            (known.as_ref().and_then(change).is_some_and(replace), known)
        };
        self.count_evictions(&evicted, known.as_ref());
        is_replaced
    }

    fn remove(&self, key: &KeyRef<'_>) {
        self.cache.remove(key);
    }

    fn keys_of(&self, function: FunctionId) -> Vec<Key> {
        let keys = self.cache.iter().map(|(key, _)| key);
        keys.filter(|key| key.is_of(function)).collect()
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    fn count(&self) -> u64 {
        self.len()
    }

    fn weight(&self) -> u64 {
        self.cache.weight()
    }

    fn evictions(&self) -> Option<u64> {
        Some(self.evictions.get())
    }
}
