//! A function bound to a runtime: the one place that reads, commits and invalidates its values.
//!
//! Whatever makes a value (a miss, a refresh, a put, a copy from a lower tier) stores it through [`Bound::keep`] and
//! [`Bound::fill`], under the number of its load and the lease that was taken before.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::codec::{Encoding, RecordType, Shape, ValueType, check_round_trip};
use crate::definition::Definition;
use crate::entry::{Entry, Held};
use crate::error::{Error, ErrorKind};
use crate::fence::FunctionFence;
use crate::key::{FunctionId, Key, KeyRef, Piece, function_seed, render};
use crate::level::Level;
use crate::record::{Header, Unusable};
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};
use crate::tier::stack::{Budget, Stack};
use crate::tier::{Claim, Fill, FunctionKey, Lease, RecordKey, Target, Tier};

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
    function: Arc<FunctionKey>,
    template: &'static [Piece],
    /// How long values live in memory; `None` where the function does not use it.
    memory: Option<(Duration, TierCounters)>,
    lower: Vec<Lower>,
    encoding: Encoding,
    shape: OnceLock<Shape>,
    records: RecordsWork,
}

/// A lower tier as a function uses it.
#[derive(Debug)]
pub(crate) struct Lower {
    level: Level,
    tier: Arc<dyn Tier>,
    ttl: Duration,
    counters: TierCounters,
}

/// Whether the function's values survive being written and read.
#[derive(Debug)]
struct RecordsWork(AtomicU8);

impl RecordsWork {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
}

/// Which tiers a function uses and how, worked out from its policy.
#[derive(Debug)]
pub(crate) struct Resolved {
    memory: Option<Duration>,
    lower: Vec<(Level, Arc<dyn Tier>, Duration)>,
    encoding: Encoding,
}

impl Resolved {
    /// Matches what a function asks against what there is.
    ///
    /// # Errors
    /// A tier that is missing, or without a ttl; a codec nobody knows. The text names the function and its place.
    pub(crate) fn new(definition: &Definition, stack: &Stack) -> Result<Self, Error> {
        let policy = &definition.policy;
        let available = stack.levels();
        let wanted = policy.tiers.as_deref().unwrap_or(&available);
        let ttl = |level| {
            policy.ttl.of(level).ok_or_else(|| {
                Error::configuration(format!(
                    "use {level} for {definition}: its ttl names no time for {level}"
                ))
            })
        };
        policy
            .ttl
            .check()
            .map_err(|error| Error::configuration(format!("{error}, in {definition}")))?;
        let mut resolved = Self {
            memory: None,
            lower: Vec::new(),
            encoding: match &policy.codec {
                Some(name) => stack
                    .encodings
                    .find(name)
                    .map_err(|error| Error::configuration(format!("{error}, for {definition}")))?,
                None => stack.default_encoding.clone(),
            },
        };
        for &level in wanted {
            if !available.contains(&level) {
                let there: Vec<_> = available.iter().map(Level::to_string).collect();
                return Err(Error::new(
                    ErrorKind::MissingTier,
                    format!(
                        "find tier {level} for {definition}: the runtime has {}",
                        there.join(", ")
                    ),
                ));
            }
            match stack.lower.iter().find(|(known, _)| *known == level) {
                Some((_, tier)) => resolved.lower.push((level, Arc::clone(tier), ttl(level)?)),
                None => resolved.memory = Some(ttl(level)?),
            }
        }
        Ok(resolved)
    }

    /// What can be used of a runtime that lacks something: its memory.
    pub(crate) fn memory_alone(definition: &Definition, stack: &Stack) -> Self {
        let policy = &definition.policy;
        let longest = || {
            stack
                .levels()
                .into_iter()
                .filter_map(|level| policy.ttl.of(level))
                .max()
        };
        Self {
            memory: stack
                .memory
                .as_ref()
                .and_then(|_| policy.ttl.of(Level::L1).or_else(longest)),
            lower: Vec::new(),
            encoding: stack.default_encoding.clone(),
        }
    }
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
            lower: resolved
                .lower
                .into_iter()
                .map(|(level, tier, ttl)| Lower {
                    level,
                    tier,
                    ttl,
                    counters: TierCounters::default(),
                })
                .collect(),
            encoding: resolved.encoding,
            shape: OnceLock::new(),
            records: RecordsWork(AtomicU8::new(RecordsWork::UNKNOWN)),
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
    pub(crate) fn peek<V>(&self, key: &KeyRef<'_>, value_type: &ValueType<V>) -> Option<V> {
        self.memory.as_ref()?;
        let held = self.judge(key, self.stack.memory.as_ref()?.peek(key)?)?;
        (value_type.give)(held)
    }

    #[inline]
    fn judge(&self, key: &KeyRef<'_>, entry: Entry) -> Option<Held> {
        let counts = self.stack.fences.admits(entry.start, key.hash, &self.fence)
            && entry.dies > self.stack.clock.now();
        counts.then_some(entry.value)
    }

    /// Puts a value into memory, unless its load began before a fence. The reader checks again: this only spares a
    /// newer entry from being replaced by one that nobody will read.
    pub(crate) fn keep<V: Clone + Send + Sync + 'static>(
        &self,
        key: &Key,
        value: &V,
        start: u64,
        longest: Option<Duration>,
        value_type: &ValueType<V>,
    ) {
        let (Some((ttl, _)), Some(memory)) = (&self.memory, &self.stack.memory) else {
            return;
        };
        if !self
            .stack
            .fences
            .admits(start, key.as_ref().hash, &self.fence)
        {
            return;
        }
        let life = longest.map_or(*ttl, |longest| longest.min(*ttl));
        let weight = if memory.weighs {
            (value_type.weigh)(value)
        } else {
            size_of::<V>()
        };
        let dies = self.stack.clock.now().after(life);
        memory.insert(
            key.clone(),
            Entry::new((value_type.hold)(value), start, dies, weight),
        );
    }

    /// Asks the lower tiers in order. The value of the first that has one, and how long it may live above.
    pub(crate) async fn find<V>(
        &self,
        key: &Key,
        lookup: &mut LowerTiers<'_>,
        value_type: &ValueType<V>,
    ) -> Option<(V, Duration)> {
        let records = value_type.records?;
        for at in 0..self.lower.len() {
            if let Some(found) = self.find_in(at, key, lookup, &records).await {
                return Some(found);
            }
        }
        None
    }

    async fn find_in<V>(
        &self,
        at: usize,
        key: &Key,
        lookup: &mut LowerTiers<'_>,
        records: &RecordType<V>,
    ) -> Option<(V, Duration)> {
        let lower = &self.lower[at];
        let LowerTiers {
            record_key,
            budgets,
            ..
        } = lookup;
        let found = budgets[at]
            .spend(|within| lower.tier.read(record_key, within))
            .await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                lower.failed("read", &self.name, &error);
                return None;
            }
        };
        let Some(bytes) = found.record else {
            lower.counters.misses.add_one();
            return None;
        };
        match self.open(lower, key, found.epoch, &bytes, records) {
            Ok(found) => {
                lower.counters.hits.add_one();
                Some(found)
            }
            Err(unusable) => {
                lower.counters.misses.add_one();
                match unusable {
                    None => {}
                    Some(Unusable::Damaged) => lower.counters.decode_errors.add_one(),
                    Some(Unusable::Mismatch) => lower.counters.mismatches.add_one(),
                }
                None
            }
        }
    }

    /// Reads a record. `Err(None)` is a record that was good once: its time or its epoch is over.
    fn open<V>(
        &self,
        lower: &Lower,
        key: &Key,
        epoch: Option<u64>,
        bytes: &[u8],
        records: &RecordType<V>,
    ) -> Result<(V, Duration), Option<Unusable>> {
        let (header, payload) = Header::open(bytes).map_err(Some)?;
        let same = header.codec == self.encoding.id()
            && header.version == self.function.version
            && header.shape == self.shape(records).fingerprint
            && header.digest == key.digest();
        if !same {
            return Err(Some(Unusable::Mismatch));
        }
        if epoch != Some(header.epoch) {
            return Err(None);
        }
        let left = header.left(lower.tier.now()).ok_or(None)?;
        let value = (records.decode)(&self.encoding, payload).map_err(|_| {
            // Whole, of this codec, and still unreadable: another build's, or a type that does not survive its codec for
            // some values. The next write tells which.
            self.records
                .0
                .store(RecordsWork::UNKNOWN, Ordering::Relaxed);
            Some(Unusable::Damaged)
        })?;
        Ok((value, left))
    }

    /// What the header says of the type, traced on first use.
    fn shape<V>(&self, records: &RecordType<V>) -> Shape {
        *self.shape.get_or_init(|| {
            let shape = (records.shape)();
            if !shape.traced {
                tracing::info!(
                    function = %self.name,
                    value = std::any::type_name::<V>(),
                    "the shape of the value type cannot be traced; its records are told apart by its name, so raise \
                     `version` when its fields change"
                );
            }
            shape
        })
    }

    /// Takes a lease in each lower tier, before the load begins. Where there is none, nothing will be filled.
    pub(crate) async fn lease<V>(
        &self,
        lookup: &mut LowerTiers<'_>,
        claim: Claim,
        value_type: &ValueType<V>,
    ) {
        if value_type.records.is_none() || self.records.0.load(Ordering::Relaxed) == RecordsWork::NO
        {
            return;
        }
        for (at, lower) in self.lower.iter().enumerate() {
            let LowerTiers {
                record_key,
                budgets,
                leases,
                ..
            } = lookup;
            match budgets[at]
                .spend(|within| lower.tier.lease(record_key, claim, within))
                .await
            {
                Ok(lease) => leases[at] = Some(lease),
                Err(error) => lower.failed("lease", &self.name, &error),
            }
        }
    }

    /// Stores a value in every lower tier that gave a lease. A lease that is void by now is refused there.
    pub(crate) async fn fill<V>(
        &self,
        key: &Key,
        value: &V,
        load: Duration,
        lookup: &mut LowerTiers<'_>,
        value_type: &ValueType<V>,
    ) {
        let Some(records) = &value_type.records else {
            return;
        };
        if lookup.leases.iter().all(Option::is_none) {
            return;
        }
        let Some(payload) = self.payload(value, records) else {
            return;
        };
        for (at, lower) in self.lower.iter().enumerate() {
            let LowerTiers {
                record_key,
                budgets,
                leases,
                ..
            } = lookup;
            let Some(lease) = leases[at].take() else {
                continue;
            };
            let header = Header {
                codec: self.encoding.id(),
                created: lower.tier.now(),
                life: u64::try_from(lower.ttl.as_millis())
                    .unwrap_or(u64::MAX)
                    .max(1),
                load: u32::try_from(load.as_millis()).unwrap_or(u32::MAX),
                version: self.function.version,
                epoch: lease.epoch,
                shape: self.shape(records).fingerprint,
                digest: key.digest(),
            };
            let record = header.seal(&payload);
            if record.len() > lower.tier.max_record_bytes() {
                lower.counters.too_large.add_one();
                tracing::debug!(
                    function = %self.name,
                    tier = %lower.level,
                    bytes = record.len(),
                    "a value is too large for the tier and was not sent"
                );
                continue;
            }
            let life = lower.ttl;
            match budgets[at]
                .spend(|within| lower.tier.fill(record_key, &lease, record, life, within))
                .await
            {
                Ok(Fill::Stored) => {}
                Ok(Fill::Refused) => lower.counters.refused_fills.add_one(),
                Err(error) => lower.failed("fill", &self.name, &error),
            }
        }
    }

    /// The payload of a record; `None` when the type does not survive the codec. The first is read back.
    fn payload<V>(&self, value: &V, records: &RecordType<V>) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        let written = (records.encode)(&self.encoding, value, &mut payload).map_err(|source| {
            Error::with_source(
                ErrorKind::Codec,
                format!("write a value with {}", self.encoding),
                source,
            )
        });
        let checked = written.and_then(|()| {
            if self.records.0.load(Ordering::Relaxed) == RecordsWork::UNKNOWN {
                check_round_trip(records, &self.encoding, &payload)?;
                self.records.0.store(RecordsWork::YES, Ordering::Relaxed);
            }
            Ok(())
        });
        match checked {
            Ok(()) => Some(payload),
            Err(error) => {
                self.records_do_not_work(&error);
                None
            }
        }
    }

    fn records_do_not_work(&self, error: &Error) {
        if self.records.0.swap(RecordsWork::NO, Ordering::Relaxed) != RecordsWork::NO {
            tracing::error!(
                function = %self.name,
                codec = %self.encoding,
                error = ?error,
                "the value type does not survive its codec and stays out of the shared tiers; use `codec = \"json\"` or \
                 `codec = \"msgpack\"`, or change its serde attributes"
            );
        }
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

    /// Goes on where a tier fails: the others are to drop it all the same.
    async fn invalidate_lower(&self, target: Target<'_>) -> Result<(), Error> {
        let mut result = Ok(());
        for lower in self.lower.iter().rev() {
            if let Err(error) = lower.tier.invalidate(target, lower.tier.time_limit()).await {
                lower.failed("invalidate", &self.name, &error);
                result = Err(Error::with_source(
                    error.kind(),
                    format!(
                        "invalidate `{}` in {} ({})",
                        self.name,
                        lower.level,
                        lower.tier.kind()
                    ),
                    error,
                ));
            }
        }
        result
    }

    /// What one call needs to ask the lower tiers.
    pub(crate) fn lower_tiers(&self, key: &Key) -> LowerTiers<'_> {
        let budget = |lower: &Lower| Budget::new(&self.stack.clock, lower.tier.time_limit());
        LowerTiers {
            record_key: if self.lower.is_empty() {
                RecordKey::new(Arc::clone(&self.function), String::new())
            } else {
                self.record_key(key)
            },
            budgets: self.lower.iter().map(budget).collect(),
            leases: self.lower.iter().map(|_| None).collect(),
        }
    }

    fn record_key(&self, key: &Key) -> RecordKey {
        RecordKey::new(
            Arc::clone(&self.function),
            render(key.as_ref().arguments, self.template),
        )
    }

    pub(crate) fn stats(&self) -> FunctionStats {
        let memory = self
            .memory
            .iter()
            .map(|(_, counters)| counters.snapshot(Level::L1));
        let lower = self
            .lower
            .iter()
            .map(|lower| lower.counters.snapshot(lower.level));
        let tiers = memory.chain(lower).collect();
        self.counters
            .snapshot(self.name.clone(), self.function.version, tiers)
    }
}

impl Lower {
    fn failed(&self, operation: &'static str, function: &str, error: &Error) {
        self.counters.tier_errors.add_one();
        tracing::debug!(tier = %self.level, kind = self.tier.kind(), operation, function, error = ?error, "a tier failed");
    }
}

/// One call's dealings with the lower tiers: the record's name, what time is left on each, the leases taken.
#[derive(Debug)]
pub(crate) struct LowerTiers<'a> {
    record_key: RecordKey,
    budgets: Vec<Budget<'a>>,
    leases: Vec<Option<Lease>>,
}
