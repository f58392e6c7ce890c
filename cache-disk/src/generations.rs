//! The records of the store, in two generations.
//!
//! Records are written into the younger generation. When it is full, the older one is dropped as a
//! whole, the younger one takes its place, and an empty one begins. A record that is read from the
//! older generation is copied into the younger one. So the store evicts about what was used longest
//! ago, without a list of all records.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cache_core::unix_millis;
use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// The size of the database's journal. The database accepts no smaller one.
pub(crate) const JOURNAL_BYTES: u64 = 64 << 20;

/// The smallest size of the store: the journal, and two generations that are each several times as
/// large as [`MEMTABLE_BYTES`].
pub(crate) const MIN_BYTES: u64 = JOURNAL_BYTES + (64 << 20);

/// How much of a generation the database keeps in memory before it writes a sorted file.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// The name of a generation's keyspace is this and its number.
const PREFIX: &str = "records-";

/// The length of the expiry time, which stands before each record.
const EXPIRY_LEN: usize = 8;

/// How many keys and bytes of records one step of a walk reads at most.
const STEP_KEYS: usize = 512;
const STEP_BYTES: usize = 1 << 20;

/// One generation.
struct Generation {
    /// Rises by one with each generation.
    number: u64,
    records: Keyspace,
}

/// A walk over the keys of all generations, in steps. It begins with the older generation, because
/// records move from the older into the younger one.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The number of the current generation.
    number: Option<u64>,
    /// The last key of the last step; `None` at the end of the generation.
    after: Option<Vec<u8>>,
}

/// The result of one step of a walk.
#[derive(Debug)]
pub(crate) struct Step {
    /// The number of the generation.
    pub(crate) number: u64,
    /// Keys, each with the time at which its record expires.
    pub(crate) keys: Vec<(String, u64)>,
}

/// The records, in two generations.
pub(crate) struct Generations {
    database: Database,
    /// The size at which a generation is full.
    max_bytes: u64,
    both: RwLock<Both>,
}

struct Both {
    younger: Generation,
    older: Option<Generation>,
    /// About how many bytes were written into the younger generation. Relaxed: it is an estimate,
    /// and `rotate` reads it again under the lock.
    written: AtomicU64,
}

impl Generations {
    pub(crate) fn open(database: Database, max_bytes: u64) -> fjall::Result<Self> {
        let mut numbers: Vec<u64> = database
            .list_keyspace_names()
            .iter()
            .filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok())
            .collect();
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        let number = numbers.first().copied().unwrap_or(0);
        let younger = Generation::open(&database, number)?;
        let older = match numbers.get(1) {
            Some(number) => Some(Generation::open(&database, *number)?),
            None => None,
        };
        // A process that ended during a rotation leaves a third generation.
        for number in numbers.iter().skip(2) {
            database.delete_keyspace(Generation::open(&database, *number)?.records)?;
        }
        let written = AtomicU64::new(younger.records.disk_space());
        Ok(Self {
            database,
            max_bytes: (max_bytes - JOURNAL_BYTES) / 2,
            both: RwLock::new(Both {
                younger,
                older,
                written,
            }),
        })
    }

    /// Returns a record that has not expired, and whether only the older generation has it.
    pub(crate) fn get(&self, key: &str) -> fjall::Result<Option<(Vec<u8>, bool)>> {
        let both = self.read();
        let found = match both.younger.records.get(key)? {
            Some(value) => Some((value, false)),
            None => both.in_older(key)?.map(|value| (value, true)),
        };
        Ok(found.and_then(|(value, is_older)| {
            let (expiry, record) = split(&value)?;
            (expiry > unix_millis()).then(|| (record.to_vec(), is_older))
        }))
    }

    /// Copies the record of a key from the older into the younger generation. The caller holds the
    /// lock of the key: if the key were deleted during the copy, the record would come back.
    pub(crate) fn renew(&self, key: &str) -> fjall::Result<()> {
        let both = self.read();
        if both.younger.records.contains_key(key)? {
            return Ok(());
        }
        match both.in_older(key)? {
            Some(value) => both.insert(key, &value),
            None => Ok(()),
        }
    }

    /// Stores a record, and rotates the generations if the younger one is full.
    pub(crate) fn insert(&self, key: &str, expiry: u64, record: &[u8]) -> fjall::Result<()> {
        let mut value = Vec::with_capacity(EXPIRY_LEN + record.len());
        value.extend(expiry.to_le_bytes());
        value.extend(record);
        let is_full = {
            let both = self.read();
            both.insert(key, &value)?;
            // Without this, the older record would be found again after the new one has expired.
            if let Some(older) = &both.older
                && older.records.contains_key(key)?
            {
                older.records.remove(key)?;
            }
            both.written.load(Ordering::Relaxed) > self.max_bytes
        };
        if is_full {
            self.rotate()?;
        }
        Ok(())
    }

    /// Deletes a key from both generations.
    pub(crate) fn remove(&self, key: &str) -> fjall::Result<()> {
        let both = self.read();
        if let Some(older) = &both.older {
            older.records.remove(key)?;
        }
        both.younger.records.remove(key)
    }

    /// Deletes a record of a generation if it has expired, and returns whether it had. The caller
    /// holds the lock of the key: a record that is stored during the check must not be deleted.
    pub(crate) fn remove_expired(&self, number: u64, key: &str) -> fjall::Result<bool> {
        let both = self.read();
        let Some(generation) = both.numbered(number) else {
            return Ok(false);
        };
        let value = generation.records.get(key)?;
        let expiry = value.and_then(|value| split(&value).map(|(expiry, _)| expiry));
        let has_expired = expiry.is_some_and(|expiry| expiry <= unix_millis());
        if has_expired {
            generation.records.remove(key)?;
        }
        Ok(has_expired)
    }

    /// Returns the next keys of a walk that begin with `prefix`, and `None` at its end. The walk
    /// may miss keys that are stored after it began. Other operations wait for one step at most.
    pub(crate) fn step(&self, walk: &mut Walk, prefix: &str) -> fjall::Result<Option<Step>> {
        let both = self.read();
        loop {
            let mut rest = both.older.iter().chain([&both.younger]);
            let generation = match walk.number {
                Some(number) if walk.after.is_some() => both.numbered(number),
                Some(number) => rest.find(|generation| generation.number > number),
                None => rest.next(),
            };
            let Some(generation) = generation else {
                // The generation was dropped since the last step, or the walk is at its end.
                if walk.after.take().is_some() {
                    continue;
                }
                return Ok(None);
            };
            walk.number = Some(generation.number);
            let keys = generation.step(walk, prefix)?;
            if !keys.is_empty() {
                let number = generation.number;
                return Ok(Some(Step { number, keys }));
            }
        }
    }

    /// Rotates the generations before the younger one is full.
    #[cfg(test)]
    pub(crate) fn rotate_now(&self) -> fjall::Result<()> {
        let both = self.read();
        both.written.store(self.max_bytes + 1, Ordering::Relaxed);
        drop(both);
        self.rotate()
    }

    /// Returns about how many bytes were written into the younger generation.
    #[cfg(test)]
    pub(crate) fn written(&self) -> u64 {
        self.read().written.load(Ordering::Relaxed)
    }

    /// Drops the older generation and begins a new one, if the younger one is full.
    fn rotate(&self) -> fjall::Result<()> {
        let mut both = self.both.write().unwrap_or_else(PoisonError::into_inner);
        // Several writers may have seen the full generation; only the first one rotates.
        if both.written.load(Ordering::Relaxed) <= self.max_bytes {
            return Ok(());
        }
        let number = both.younger.number + 1;
        let begun = Generation::open(&self.database, number)?;
        let full = std::mem::replace(&mut both.younger, begun);
        let dropped = both.older.replace(full);
        both.written.store(0, Ordering::Relaxed);
        drop(both);
        tracing::debug!(
            target: "multi_tier_cached::disk",
            generation = number,
            "a new generation of the disk tier has begun"
        );
        match dropped {
            Some(dropped) => self.database.delete_keyspace(dropped.records),
            None => Ok(()),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Both> {
        self.both.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Both {
    fn in_older(&self, key: &str) -> fjall::Result<Option<fjall::Slice>> {
        match &self.older {
            Some(older) => older.records.get(key),
            None => Ok(None),
        }
    }

    fn numbered(&self, number: u64) -> Option<&Generation> {
        let mut all = self.older.iter().chain([&self.younger]);
        all.find(|generation| generation.number == number)
    }

    fn insert(&self, key: &str, value: &[u8]) -> fjall::Result<()> {
        self.younger.records.insert(key, value)?;
        let bytes = (key.len() + value.len()) as u64;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Generation {
    fn open(database: &Database, number: u64) -> fjall::Result<Self> {
        let records = database.keyspace(&format!("{PREFIX}{number}"), || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
        })?;
        Ok(Self { number, records })
    }

    /// Returns the keys after the last step of the walk, up to the limits of a step, and advances
    /// the walk. Returns none at the end of the generation.
    fn step(&self, walk: &mut Walk, prefix: &str) -> fjall::Result<Vec<(String, u64)>> {
        let start = match walk.after.take() {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix.as_bytes().to_vec()),
        };
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for item in self.records.range((start, Bound::Unbounded)) {
            let (key, value) = item.into_inner()?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            bytes += value.len();
            // A value without an expiry time is damaged, and is treated as expired.
            let expiry = split(&value).map_or(0, |(expiry, _)| expiry);
            walk.after = Some(key.to_vec());
            keys.push((String::from_utf8_lossy(&key).into_owned(), expiry));
            if keys.len() >= STEP_KEYS || bytes >= STEP_BYTES {
                break;
            }
        }
        Ok(keys)
    }
}

/// Splits a value into the expiry time and the record.
fn split(value: &[u8]) -> Option<(u64, &[u8])> {
    let (expiry, record) = value.split_first_chunk()?;
    Some((u64::from_le_bytes(*expiry), record))
}

/// Drops expired records whenever the database rewrites its files.
pub(crate) struct DropExpired;

impl DropExpired {
    /// Returns the filter for the keyspaces that hold records.
    pub(crate) fn of(keyspace: &str) -> Option<Arc<dyn Factory>> {
        keyspace
            .starts_with(PREFIX)
            .then(|| Arc::new(Self) as Arc<dyn Factory>)
    }
}

impl Factory for DropExpired {
    fn name(&self) -> &str {
        "expired records"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(ExpiredBy(unix_millis()))
    }
}

/// Drops the records that have expired at this time.
struct ExpiredBy(u64);

impl CompactionFilter for ExpiredBy {
    fn filter_item(
        &mut self,
        item: ItemAccessor<'_>,
        _: &Context,
    ) -> fjall::compaction::filter::CompactionFilterResult {
        let value = item.value()?;
        Ok(match split(&value) {
            Some((expiry, _)) if expiry <= self.0 => Verdict::Remove,
            _ => Verdict::Keep,
        })
    }
}
