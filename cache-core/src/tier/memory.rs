//! The memory tier: typed entries behind one of two engines.
//!
//! An engine only stores and evicts. The reader checks whether an entry is valid (its expiry, its
//! fence), so it does not matter when an engine inserts.

mod engine;
mod moka;
#[cfg(feature = "quick_cache")]
mod quick_cache;

use std::fmt;

use self::engine::{Capacity, MemoryEngine};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::error::Error;
use crate::key::{FunctionId, Key, KeyRef};

/// The engine of a memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// [moka](https://docs.rs/moka), with the eviction policy W-TinyLFU. The default, because it is
    /// widely used.
    #[default]
    Moka,
    /// [quick_cache](https://docs.rs/quick_cache), with the eviction policy S3-FIFO. A hit costs a
    /// fraction of moka's and, on the traces that this project measures with, more calls are hits.
    #[cfg(feature = "quick_cache")]
    QuickCache,
}

impl std::str::FromStr for Engine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "moka" => Ok(Self::Moka),
            #[cfg(feature = "quick_cache")]
            "quick_cache" => Ok(Self::QuickCache),
            _ => Err(Error::configuration(format!(
                "unknown memory engine `{text}`: the engines are moka and quick_cache (feature `quick_cache`)"
            ))),
        }
    }
}

/// Settings of the memory tier: `Memory::builder().max_bytes(256 << 20)`.
///
/// Default: moka, 10,000 entries.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    engine: Engine,
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
}

/// The default capacity in entries: enough for the hot set of a service, and with values of a few
/// KiB no more than some ten MiB.
const DEFAULT_ENTRIES: u64 = 10_000;

impl Memory {
    /// Makes settings with the defaults.
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the engine. Default: [`Engine::Moka`].
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Limits the number of entries, of all functions together. Default: 10,000. `install` fails if
    /// [`max_bytes`](Self::max_bytes) is set too.
    #[must_use]
    pub fn max_entries(mut self, max_entries: u64) -> Self {
        self.max_entries = Some(max_entries);
        self
    }

    /// Limits the bytes of keys and values, of all functions together. The size of a value is what
    /// [`Weigh`](crate::Weigh) returns, or else its size on the stack and what serde finds behind
    /// it.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// Replaces the capacity that was set before.
    pub(crate) fn bounded(mut self, max_entries: Option<u64>, max_bytes: Option<u64>) -> Self {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self
    }

    pub(crate) fn build(self) -> Result<MemoryTier, Error> {
        let capacity = match (self.max_entries, self.max_bytes) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "memory has a maximum of entries and one of bytes: only one of them can be set",
                ));
            }
            (_, Some(bytes)) => Capacity::Bytes(bytes),
            (entries, None) => Capacity::Entries(entries.unwrap_or(DEFAULT_ENTRIES)),
        };
        if matches!(capacity, Capacity::Entries(0) | Capacity::Bytes(0)) {
            return Err(Error::configuration(
                "capacity of memory is zero: nothing would be kept",
            ));
        }
        let engine = match self.engine {
            Engine::Moka => Running::Moka(moka::Moka::new(capacity)),
            #[cfg(feature = "quick_cache")]
            Engine::QuickCache => Running::QuickCache(quick_cache::QuickCache::new(capacity)),
        };
        Ok(MemoryTier {
            engine,
            weighs: matches!(capacity, Capacity::Bytes(_)),
            entries: capacity.entries(),
            capacity,
        })
    }
}

/// The engine of a memory tier. It is not a trait object, so that a look-up is compiled into its
/// caller and the fields of an entry stay in registers.
enum Running {
    Moka(moka::Moka),
    #[cfg(feature = "quick_cache")]
    QuickCache(quick_cache::QuickCache),
}

/// Calls a method of the engine.
macro_rules! with_engine {
    ($running:expr, $engine:ident => $call:expr) => {
        match $running {
            Running::Moka($engine) => $call,
            #[cfg(feature = "quick_cache")]
            Running::QuickCache($engine) => $call,
        }
    };
}

impl Running {
    fn name(&self) -> &'static str {
        match self {
            Self::Moka(_) => "moka",
            #[cfg(feature = "quick_cache")]
            Self::QuickCache(_) => "quick_cache",
        }
    }
}

/// The memory tier of a runtime.
pub(crate) struct MemoryTier {
    engine: Running,
    /// Set if the weight of entries matters. Weighing visits all parts of a value.
    pub(crate) weighs: bool,
    /// The number of entries that the memory may hold, as far as that is known.
    pub(crate) entries: u64,
    capacity: Capacity,
}

/// The state of a memory tier, for metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryUsage {
    /// The name of the engine, as [`Engine`] reads it.
    pub(crate) engine: &'static str,
    /// The number of entries, as of the engine's last maintenance.
    pub(crate) entries: u64,
    /// The maximum of entries, if the memory has one.
    pub(crate) max_entries: Option<u64>,
    /// The bytes of all entries and their maximum, if the memory has one.
    pub(crate) bytes: Option<(u64, u64)>,
    /// The number of entries that were evicted, if the engine counts them.
    pub(crate) evictions: Option<u64>,
}

impl MemoryTier {
    #[inline]
    pub(crate) fn get(&self, key: &KeyRef<'_>) -> Option<Entry> {
        with_engine!(&self.engine, engine => engine.get(key))
    }

    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Entry> {
        with_engine!(&self.engine, engine => engine.peek(key))
    }

    /// Returns the entry of a key, and leaves the order of eviction exactly as it is. May visit
    /// every entry.
    pub(crate) fn look(&self, key: &KeyRef<'_>) -> Option<Entry> {
        with_engine!(&self.engine, engine => engine.look(key))
    }

    pub(crate) fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool {
        with_engine!(&self.engine, engine => engine.insert(key, entry, now))
    }

    /// Replaces the entry `old` by `new`, if the key still has it. Returns `true` if it was
    /// replaced.
    pub(crate) fn replace(&self, key: Key, old: &Entry, new: Entry) -> bool {
        // An entry that is not used is dropped here, after the engine's lock is released.
        let mut new = Some(new);
        let change = |known: &Entry| new.take_if(|_| known.is_same(old));
        with_engine!(&self.engine, engine => engine.update(key, change))
    }

    /// Dates the entry of a key up to `until`: the key was not invalidated after `since` up to that
    /// number.
    pub(crate) fn date_up(&self, key: &KeyRef<'_>, since: u64, until: u64) {
        let change = |known: &Entry| known.dated_up(since, until);
        let key = KeyRef::to_owned(*key);
        with_engine!(&self.engine, engine => engine.update(key, change));
    }

    pub(crate) fn remove(&self, key: &KeyRef<'_>) {
        with_engine!(&self.engine, engine => engine.remove(key));
    }

    /// Returns the keys of a function. Visits every entry.
    pub(crate) fn keys_of(&self, function: FunctionId) -> Vec<Key> {
        with_engine!(&self.engine, engine => engine.keys_of(function))
    }

    pub(crate) fn len(&self) -> u64 {
        with_engine!(&self.engine, engine => engine.len())
    }

    /// Returns the state of the memory, without the engine's maintenance.
    pub(crate) fn usage(&self) -> MemoryUsage {
        let (max_entries, max_bytes) = match self.capacity {
            Capacity::Entries(entries) => (Some(entries), None),
            Capacity::Bytes(bytes) => (None, Some(bytes)),
        };
        with_engine!(&self.engine, engine => MemoryUsage {
            engine: self.engine.name(),
            entries: engine.count(),
            max_entries,
            bytes: max_bytes.map(|most| (engine.weight(), most)),
            evictions: engine.evictions(),
        })
    }
}

impl fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTier")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
