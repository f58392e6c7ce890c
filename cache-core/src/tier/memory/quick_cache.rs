//! quick_cache as the engine.

use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};
use quick_cache::{OptionsBuilder, Weighter};

use super::{Bound, MemoryEngine, weight};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::{CarriedHash, Key, KeyRef};

/// Entries a bound in bytes is taken for when the tables are laid out; a guess costs a few reallocations.
const GUESSED_ENTRY: u64 = 1024;

pub(super) struct QuickCache {
    cache: Cache<Key, Entry, Scale, CarriedHash>,
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
    pub(super) fn new(bound: Bound) -> Self {
        let (capacity, entries, weighs) = match bound {
            Bound::Entries(entries) => (entries, entries, false),
            Bound::Bytes(bytes) => (bytes, bytes / GUESSED_ENTRY + 1, true),
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
                DefaultLifecycle::default(),
            ),
            // Only a missing capacity is refused, and both are set.
            Err(_) => Cache::with(
                1,
                capacity,
                Scale { weighs },
                CarriedHash::default(),
                DefaultLifecycle::default(),
            ),
        };
        Self { cache }
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

    fn insert(&self, key: Key, entry: Entry, now: Moment) {
        let mut replaced = None;
        let found = self.cache.entry(&key, None, |_, known| {
            if !known.stays(&entry, now) {
                // Dropped when the engine's lock is not held any more: the value is the user's.
                replaced = Some(std::mem::replace(known, entry.clone()));
            }
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(place) = found {
            let _ = place.insert(entry);
        }
    }

    fn remove(&self, key: &KeyRef<'_>) {
        self.cache.remove(key);
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }
}
