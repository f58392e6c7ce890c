//! The interface of an engine, and the weight of entries.

use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::{FunctionId, Key, KeyRef};

/// Stores entries under keys, and evicts some when the capacity is reached.
pub(super) trait MemoryEngine {
    /// Returns the entry of a key, valid or not.
    fn get(&self, key: &KeyRef<'_>) -> Option<Entry>;

    /// Returns the entry of a key without counting as a use. A miss looks twice, and must not make
    /// its key look popular.
    fn peek(&self, key: &KeyRef<'_>) -> Option<Entry>;

    /// Returns the entry of a key, and leaves the order of eviction exactly as it is. May visit
    /// every entry, so it is for operators.
    fn look(&self, key: &KeyRef<'_>) -> Option<Entry>;

    /// Stores an entry, unless the one under the same key [is newer](Entry::is_newer_than). Returns
    /// `true` if it was stored.
    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool;

    /// Replaces the entry of a key by what `change` makes of it. Returns `true` if it was replaced.
    /// In one step with respect to [`insert`](Self::insert): otherwise an entry that was inserted
    /// since the old one was read would be lost.
    ///
    /// It is no use of the key, as far as the engine can tell the two apart.
    fn update(&self, key: Key, change: impl FnOnce(&Entry) -> Option<Entry>) -> bool;

    /// Removes an entry. May take effect late.
    fn remove(&self, key: &KeyRef<'_>);

    /// Returns the keys of a function. Visits every entry.
    fn keys_of(&self, function: FunctionId) -> Vec<Key>;

    /// Returns the number of entries, approximately. May do the engine's maintenance first.
    fn len(&self) -> u64;

    /// Returns the number of entries as of the engine's last maintenance.
    fn count(&self) -> u64;

    /// Returns the sum of the weights of all entries as of the engine's last maintenance.
    fn weight(&self) -> u64;

    /// Returns the number of entries that were evicted, or not admitted, to keep to the capacity.
    /// `None` if the engine does not say so without a cost for each insert.
    fn evictions(&self) -> Option<u64>;
}

/// The capacity of a memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    Entries(u64),
    Bytes(u64),
}

/// The assumed size of an entry, in bytes, when tables are laid out for a capacity in bytes. A
/// wrong guess costs a few reallocations, and makes the fences of keys too many or too few.
const GUESSED_ENTRY: u64 = 1024;

impl Capacity {
    /// Returns how many entries the memory may hold, as far as that is known.
    pub(super) fn entries(self) -> u64 {
        match self {
            Self::Entries(entries) => entries,
            Self::Bytes(bytes) => bytes / GUESSED_ENTRY + 1,
        }
    }
}

/// Returns the weight of an entry in bytes.
pub(super) fn weight(key: &Key, entry: &Entry) -> u32 {
    u32::try_from(key.size() + size_of::<Key>())
        .unwrap_or(u32::MAX)
        .saturating_add(entry.weight())
}
