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

    /// Stores an entry, unless the one under the same key [is newer](Entry::is_newer_than). Returns
    /// `true` if it was stored.
    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool;

    /// Replaces the entry `old` by `new`, if the key still has it. Returns `true` if it was
    /// replaced. In one step with respect to [`insert`](Self::insert): otherwise an entry that was
    /// inserted since `old` was read would be lost.
    ///
    /// It is no use of the key, as far as the engine can tell the two apart.
    fn replace(&self, key: Key, old: &Entry, new: Entry) -> bool;

    /// Removes an entry. May take effect late.
    fn remove(&self, key: &KeyRef<'_>);

    /// Returns the keys of a function. Visits every entry.
    fn keys_of(&self, function: FunctionId) -> Vec<Key>;

    /// Returns the number of entries, approximately.
    fn len(&self) -> u64;
}

/// The capacity of a memory tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    Entries(u64),
    Bytes(u64),
}

/// Returns the weight of an entry in bytes.
pub(super) fn weight(key: &Key, entry: &Entry) -> u32 {
    u32::try_from(key.size() + size_of::<Key>())
        .unwrap_or(u32::MAX)
        .saturating_add(entry.weight)
}
