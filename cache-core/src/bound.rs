//! A function bound to a runtime: the one place that reads, commits and invalidates its values.
//!
//! Whatever makes a value (a miss, a refresh, a put, a copy from a lower tier) stores it through [`Bound::keep`] and
//! [`Bound::fill`], under the number of its load and the lease that was taken before.

mod lower;
mod resolve;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

pub(crate) use self::lower::LowerTiers;
use self::lower::{Lower, RecordsWork};
pub(crate) use self::resolve::Resolved;
use crate::codec::{Encoding, Shape, ValueType};
use crate::definition::Definition;
use crate::entry::{Entry, Held};
use crate::error::Error;
use crate::fence::FunctionFence;
use crate::key::{FunctionId, Key, KeyRef, Piece, function_seed, name_hash};
use crate::level::Level;
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};
use crate::tier::stack::Stack;
use crate::tier::{FunctionKey, Target};

/// A function in one runtime.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) id: FunctionId,
    /// What the hash of its keys begins with.
    pub(crate) seed: u64,
    pub(crate) stack: Arc<Stack>,
    pub(crate) counters: FunctionCounters,
    pub(crate) fence: FunctionFence,
    name: String,
    /// Of a function that was made at run time and may go away.
    life: Option<Weak<()>>,
    /// In the digest of each record.
    name_hash: u64,
    function: Arc<FunctionKey>,
    template: &'static [Piece],
    /// How long values live in memory; `None` where the function does not use it.
    memory: Option<(Duration, TierCounters)>,
    lower: Vec<Lower>,
    encoding: Encoding,
    shape: OnceLock<Shape>,
    records: RecordsWork,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Bound {
    pub(crate) fn new(
        name: String,
        definition: &Definition,
        life: Option<Weak<()>>,
        stack: Arc<Stack>,
        resolved: Resolved,
    ) -> Self {
        let id = FunctionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Self {
            id,
            seed: function_seed(stack.seed, id),
            counters: FunctionCounters::default(),
            fence: FunctionFence::new(),
            function: Arc::new(FunctionKey::new(&name, definition.policy.version)),
            template: definition.policy.template,
            memory: resolved.memory.map(|ttl| (ttl, TierCounters::default())),
            lower: resolved.lower,
            encoding: resolved.encoding,
            shape: OnceLock::new(),
            records: RecordsWork::unknown(),
            name_hash: name_hash(&name),
            name,
            life,
            stack,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life
            .as_ref()
            .is_none_or(|life| life.strong_count() > 0)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value in memory, if it counts: its time is not over, its fence not raised.
    #[inline]
    pub(crate) fn hit<V>(&self, key: &KeyRef<'_>, value_type: &ValueType<V>) -> Option<V> {
        let (_, counters) = self.memory.as_ref()?;
        let value = self.live(key).and_then(value_type.give);
        match value {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        value
    }

    /// What memory has of a key that still counts. The same for every type, and compiled once.
    fn live(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.judge(key, self.stack.memory.as_ref()?.get(key)?)
    }

    /// The same for a second look: no hit, no use.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.memory.as_ref()?;
        self.judge(key, self.stack.memory.as_ref()?.peek(key)?)
    }

    /// Whether memory answers those who come after a load.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some() && self.stack.memory.is_some()
    }

    #[inline]
    fn judge(&self, key: &KeyRef<'_>, entry: Entry) -> Option<Held> {
        let counts = self.stack.fences.admits(entry.start, key.hash, &self.fence)
            && entry.dies > self.stack.clock.now();
        counts.then_some(entry.value)
    }

    /// Puts a value into memory, unless its load began before a fence. The reader checks again: this only spares a
    /// newer entry from being replaced by one that nobody will read.
    ///
    /// The value as it is held, for those who wait.
    pub(crate) fn keep<V>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        longest: Option<Duration>,
        value_type: &ValueType<V>,
    ) -> Held {
        let held = (value_type.hold)(value);
        let (Some((ttl, _)), Some(memory)) = (&self.memory, &self.stack.memory) else {
            return held;
        };
        if !self
            .stack
            .fences
            .admits(start, key.as_ref().hash, &self.fence)
        {
            return held;
        }
        let life = longest.map_or(*ttl, |longest| longest.min(*ttl));
        let weight = if memory.weighs {
            (value_type.weigh)(value) + value_type.behind
        } else {
            size_of::<V>()
        };
        let dies = self.stack.clock.now().after(life);
        memory.insert(
            key.clone(),
            Entry::new(Arc::clone(&held), start, dies, weight),
        );
        held
    }

    /// Drops a key everywhere, the lowest tier first.
    ///
    /// The fence is raised before, so that loads under way are not kept, and after, so that what was read from a lower
    /// tier in between is not either.
    pub(crate) async fn invalidate(&self, key: &Key) -> Result<(), Error> {
        self.counters.invalidations.add_one();
        let fence_off = || {
            self.stack.fences.raise(key.as_ref().hash);
            if let Some(memory) = &self.stack.memory {
                memory.remove(&key.as_ref());
            }
        };
        fence_off();
        if self.lower.is_empty() {
            return Ok(());
        }
        let record_key = self.record_key(key);
        let result = self.invalidate_lower(Target::Key(&record_key)).await;
        fence_off();
        result
    }

    /// Drops every key of the function everywhere, at a cost that does not depend on how many there are.
    pub(crate) async fn invalidate_all(&self) -> Result<(), Error> {
        self.counters.invalidations.add_one();
        self.stack.fences.raise_function(&self.fence);
        let result = self
            .invalidate_lower(Target::Function(&self.function))
            .await;
        self.stack.fences.raise_function(&self.fence);
        result
    }

    pub(crate) fn stats(&self) -> FunctionStats {
        let memory = self
            .memory
            .iter()
            .map(|(_, counters)| counters.snapshot(Level::L1));
        let lower = self.lower.iter().map(Lower::stats);
        let tiers = memory.chain(lower).collect();
        self.counters
            .snapshot(self.name.clone(), self.function.version, tiers)
    }
}
