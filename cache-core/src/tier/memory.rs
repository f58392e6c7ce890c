//! The memory tier: typed entries behind one of two engines.
//!
//! An engine only stores and evicts. Whether an entry still counts (its time, its fence) is decided by who reads it, so
//! an engine may insert as late as it likes.

mod moka;
#[cfg(feature = "quick_cache")]
mod quick_cache;

use std::fmt;

use crate::clock::Moment;
use crate::entry::Entry;
use crate::error::Error;
use crate::key::{FunctionId, Key, KeyRef};

/// Stores entries under keys and evicts some when a bound is reached.
trait MemoryEngine {
    /// The entry of a key, whatever its age.
    fn get(&self, key: &KeyRef<'_>) -> Option<Entry>;

    /// The same, without counting as a use: a miss that looks twice must not make its key look popular.
    fn peek(&self, key: &KeyRef<'_>) -> Option<Entry>;

    /// Stores an entry, unless the one under the same key is [to stay](Entry::is_newer_than). Returns `true` if it was stored.
    fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool;

    /// Removes an entry. May take effect late.
    fn remove(&self, key: &KeyRef<'_>);

    /// The keys of a function; looks at all.
    fn keys_of(&self, function: FunctionId) -> Vec<Key>;

    /// How many entries there are, about.
    fn len(&self) -> u64;
}

/// Which engine a memory tier runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// [moka](https://docs.rs/moka): W-TinyLFU, the default for its wide use.
    #[default]
    Moka,
    /// [quick_cache](https://docs.rs/quick_cache): S3-FIFO; a hit costs a fraction of moka's and, on the traces this
    /// project measures with, more of them are hits.
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

/// What keeps a memory tier from growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    Entries(u64),
    Bytes(u64),
}

/// The memory tier of a runtime, as it is asked for: `Memory::builder().max_bytes(256 << 20)`.
///
/// Default: moka, 10,000 entries.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    engine: Engine,
    /// The default where there is none.
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
}

/// Entries of a memory tier that says nothing else: enough for a service's hot set, and with values of a few KiB no
/// more than some ten MiB.
const DEFAULT_ENTRIES: u64 = 10_000;

impl Memory {
    /// A memory tier with the defaults.
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Which engine it runs on. Default: [`Engine::Moka`].
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Bounds it by a number of entries, of all functions together. Default: 10,000. Not together with
    /// [`max_bytes`](Self::max_bytes): an error at `install`.
    #[must_use]
    pub fn max_entries(mut self, max_entries: u64) -> Self {
        self.max_entries = Some(max_entries);
        self
    }

    /// Bounds it by what keys and values take, in bytes, of all functions together. A value is weighed by
    /// [`Weigh`](crate::Weigh) if it says, else by its size and what serde finds behind it.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// Bounded by these in place of what was said before.
    pub(crate) fn bounded(mut self, max_entries: Option<u64>, max_bytes: Option<u64>) -> Self {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self
    }

    pub(crate) fn build(self) -> Result<MemoryTier, Error> {
        let bound = match (self.max_entries, self.max_bytes) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "memory has a maximum of entries and one of bytes: only one of them can be set",
                ));
            }
            (_, Some(bytes)) => Capacity::Bytes(bytes),
            (entries, None) => Capacity::Entries(entries.unwrap_or(DEFAULT_ENTRIES)),
        };
        if matches!(bound, Capacity::Entries(0) | Capacity::Bytes(0)) {
            return Err(Error::configuration(
                "capacity of memory is zero: nothing would be kept",
            ));
        }
        let engine = match self.engine {
            Engine::Moka => Running::Moka(moka::Moka::new(bound)),
            #[cfg(feature = "quick_cache")]
            Engine::QuickCache => Running::QuickCache(quick_cache::QuickCache::new(bound)),
        };
        Ok(MemoryTier {
            engine,
            weighs: matches!(bound, Capacity::Bytes(_)),
        })
    }
}

/// The engine of a memory tier. Not a trait object: a look-up is compiled into its caller, so that an entry's fields stay in
/// registers.
enum Running {
    Moka(moka::Moka),
    #[cfg(feature = "quick_cache")]
    QuickCache(quick_cache::QuickCache),
}

/// Calls a method of whichever engine runs.
macro_rules! with_engine {
    ($running:expr, $engine:ident => $call:expr) => {
        match $running {
            Running::Moka($engine) => $call,
            #[cfg(feature = "quick_cache")]
            Running::QuickCache($engine) => $call,
        }
    };
}

/// The memory tier of a runtime.
pub(crate) struct MemoryTier {
    engine: Running,
    /// Whether the weight of an entry matters: weighing walks through the value.
    pub(crate) weighs: bool,
}

impl MemoryTier {
    #[inline]
    pub(crate) fn get(&self, key: &KeyRef<'_>) -> Option<Entry> {
        with_engine!(&self.engine, engine => engine.get(key))
    }

    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Entry> {
        with_engine!(&self.engine, engine => engine.peek(key))
    }

    pub(crate) fn insert(&self, key: Key, entry: Entry, now: Moment) -> bool {
        with_engine!(&self.engine, engine => engine.insert(key, entry, now))
    }

    pub(crate) fn remove(&self, key: &KeyRef<'_>) {
        with_engine!(&self.engine, engine => engine.remove(key));
    }

    /// The keys of a function. Looks at all entries.
    pub(crate) fn keys_of(&self, function: FunctionId) -> Vec<Key> {
        with_engine!(&self.engine, engine => engine.keys_of(function))
    }

    pub(crate) fn len(&self) -> u64 {
        with_engine!(&self.engine, engine => engine.len())
    }
}

impl fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTier")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What an entry counts against the bound.
fn weight(key: &Key, entry: &Entry) -> u32 {
    u32::try_from(key.size() + size_of::<Key>())
        .unwrap_or(u32::MAX)
        .saturating_add(entry.weight)
}

#[cfg(test)]
mod tests;
