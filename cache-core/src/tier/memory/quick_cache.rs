//! quick_cache as the engine.

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::{Capacity, MemoryEngine, weight};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::{CarriedHash, FunctionId, Key, KeyRef};
use crate::sync::{Mutex, lock};

/// Entries a bound in bytes is taken for when the tables are laid out; a guess costs a few reallocations.
const GUESSED_ENTRY: u64 = 1024;

/// Keys whose inserts are told apart.
const TURNS: usize = 64;

pub(super) struct QuickCache {
    cache: Cache<Key, Entry, Scale, CarriedHash, KeepsEvicted>,
    /// Held from the look at what is there until it is replaced. The engine's own way to do both at once takes what is inserted
    /// for asked for in between, and costs five points of the hit ratio.
    turns: Vec<Mutex<()>>,
}

/// What was evicted by an insert.
type Evicted = Vec<(Key, Entry)>;

/// Hands what is evicted to who inserted, in place of dropping it under the engine's lock.
#[derive(Clone)]
struct KeepsEvicted;

impl Lifecycle<Key, Entry> for KeepsEvicted {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, key: Key, entry: Entry) {
        evicted.push((key, entry));
    }
}

/// One per entry, or what the entry says.
#[derive(Clone)]
struct Scale {
    weighs: bool,
}

impl Weighter<Key, Entry> for Scale {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        if self.weighs {
            u64::from(weight(key, entry))
        } else {
            1
        }
    }
}

impl QuickCache {
    pub(super) fn new(bound: Capacity) -> Self {
        let (capacity, entries, weighs) = match bound {
            Capacity::Entries(entries) => (entries, entries, false),
            Capacity::Bytes(bytes) => (bytes, bytes / GUESSED_ENTRY + 1, true),
        };
        let mut options = OptionsBuilder::new();
        // The tables are laid out for that many at once: a bound that is a mere limit must not allocate gigabytes.
        options.estimated_items_capacity(usize::try_from(entries.min(1 << 20)).unwrap_or(1 << 20));
        options.weight_capacity(capacity);
        let cache = match options.build() {
            Ok(options) => Cache::with_options(
                options,
                Scale { weighs },
                CarriedHash::default(),
                KeepsEvicted,
            ),
            // Only a missing capacity is refused, and both are set.
            Err(_) => Cache::with(
                1,
                capacity,
                Scale { weighs },
                CarriedHash::default(),
                KeepsEvicted,
            ),
        };
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        Self { cache, turns }
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

    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool {
        // Dropped after the lock: what is replaced or evicted is the user's.
        let mut evicted = Evicted::default();
        let (is_stored, _replaced) = {
            let _turn = lock(&self.turns[key.as_ref().hash as usize % TURNS]);
            let known = self.cache.peek(&key.as_ref());
            let is_stored = !known
                .as_ref()
                .is_some_and(|known| known.is_newer_than(&entry, now));
            if is_stored {
                self.cache.insert_with_lifecycle(key, entry, &mut evicted);
            }
            (is_stored, known)
        };
        is_stored
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
}
