//! Two generations of records: what is written goes into the younger; when that is full the older is dropped whole, and the younger
//! takes its place. What is read from the older is written into the younger, so that it is the unused that goes.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cache_core::unix_millis;
use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

/// What may wait in the database's own journal: it takes no less.
pub(crate) const JOURNAL: u64 = 64 << 20;

/// Smallest size: the journal, and two generations, each some times what is kept in memory until it is written.
pub(crate) const LEAST_BYTES: u64 = JOURNAL + (64 << 20);

/// What is kept in memory of each generation until it is written in order.
const IN_MEMORY: u64 = 8 << 20;

/// Before the number of a generation.
const PREFIX: &str = "records-";

/// Of the time at which a record is dead, before it.
const EXPIRY: usize = 8;

/// How much a walk looks at in one step.
const STEP_KEYS: usize = 512;
const STEP_BYTES: usize = 1 << 20;

struct Generation {
    number: u64,
    records: Keyspace,
}

/// A walk over all generations, in steps: the older first, since what is renewed goes from there into the younger.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// What is walked, or was.
    number: Option<u64>,
    /// The last key of the last step.
    after: Option<Vec<u8>>,
}

/// What a step of a walk came by.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) number: u64,
    /// Keys, each with the time at which its record is dead.
    pub(crate) keys: Vec<(String, u64)>,
}

pub(crate) struct Generations {
    database: Database,
    /// Of one generation.
    max_bytes: u64,
    both: RwLock<Both>,
}

struct Both {
    younger: Generation,
    older: Option<Generation>,
    /// Bytes that were written into the younger, about.
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
        // Left by a process that ended between two steps.
        for number in numbers.iter().skip(2) {
            database.delete_keyspace(Generation::open(&database, *number)?.records)?;
        }
        let written = AtomicU64::new(younger.records.disk_space());
        Ok(Self {
            database,
            max_bytes: (max_bytes - JOURNAL) / 2,
            both: RwLock::new(Both {
                younger,
                older,
                written,
            }),
        })
    }

    /// A record that is not dead, and whether it is in the older generation alone.
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

    /// Writes what the older generation has of a key into the younger. To be called while nobody else changes the key: what is
    /// removed in between would be back.
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

    pub(crate) fn insert(&self, key: &str, expiry: u64, record: &[u8]) -> fjall::Result<()> {
        let mut value = Vec::with_capacity(EXPIRY + record.len());
        value.extend(expiry.to_le_bytes());
        value.extend(record);
        let is_full = {
            let both = self.read();
            both.insert(key, &value)?;
            // When this one is dead the older must not be found behind it.
            if let Some(older) = &both.older
                && older.records.contains_key(key)?
            {
                older.records.remove(key)?;
            }
            both.written.load(Ordering::Relaxed) > self.max_bytes
        };
        if is_full {
            self.turn()?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, key: &str) -> fjall::Result<()> {
        let both = self.read();
        if let Some(older) = &both.older {
            older.records.remove(key)?;
        }
        both.younger.records.remove(key)
    }

    /// Removes a record of a generation if it is dead, and says whether it was. To be called while nobody else changes the key.
    pub(crate) fn remove_dead(&self, number: u64, key: &str) -> fjall::Result<bool> {
        let both = self.read();
        let Some(generation) = both.numbered(number) else {
            return Ok(false);
        };
        let value = generation.records.get(key)?;
        let expiry = value.and_then(|value| split(&value).map(|(expiry, _)| expiry));
        let is_dead = expiry.is_some_and(|expiry| expiry <= unix_millis());
        if is_dead {
            generation.records.remove(key)?;
        }
        Ok(is_dead)
    }

    /// The next keys of a walk that begin with `prefix`; `None` when it is over. What is written behind its back it may not come by.
    ///
    /// Nobody waits for more than a step of it.
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
                // It was dropped, or all were walked.
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

    /// The same before it is full.
    #[cfg(test)]
    pub(crate) fn turn_now(&self) -> fjall::Result<()> {
        let both = self.read();
        both.written.store(self.max_bytes + 1, Ordering::Relaxed);
        drop(both);
        self.turn()
    }

    /// Drops the older generation, and begins another.
    fn turn(&self) -> fjall::Result<()> {
        let mut both = self.both.write().unwrap_or_else(PoisonError::into_inner);
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
            generation = number,
            "the disk tier begins another generation"
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
            KeyspaceCreateOptions::default().max_memtable_size(IN_MEMORY)
        })?;
        Ok(Self { number, records })
    }

    /// The keys behind the last step, so many at most, and the walk is behind them; none when the generation is walked.
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
            // What is no record of ours is dead.
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

fn split(value: &[u8]) -> Option<(u64, &[u8])> {
    let (expiry, record) = value.split_first_chunk()?;
    Some((u64::from_le_bytes(*expiry), record))
}

/// Leaves out what is dead whenever records are written anew.
pub(crate) struct DropsTheDead;

impl DropsTheDead {
    /// For the keyspaces that hold records.
    pub(crate) fn of(keyspace: &str) -> Option<Arc<dyn Factory>> {
        keyspace
            .starts_with(PREFIX)
            .then(|| Arc::new(Self) as Arc<dyn Factory>)
    }
}

impl Factory for DropsTheDead {
    fn name(&self) -> &str {
        "dead records"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(DeadBy(unix_millis()))
    }
}

/// By this time.
struct DeadBy(u64);

impl CompactionFilter for DeadBy {
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
