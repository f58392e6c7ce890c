//! A function's dealings with the tiers below memory: find a record, take a lease, fill, invalidate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use super::Bound;
use crate::codec::{RecordType, Shape, ValueType, check_round_trip};
use crate::coherence::Coherence;
use crate::entry::Held;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, render};
use crate::level::Level;
use crate::policy::Consistency;
use crate::record::{Header, Seal, Unusable, seal_of};
use crate::stats::{TierCounters, TierStats};
use crate::tier::config::TierConfig;
use crate::tier::stack::Budget;
use crate::tier::{
    Breaker, Claim, Fill, Guard, Lease, Leased, Question, Receipt, RecordKey, Refusal, SEEN, Stamp,
    Target, Tier, Wakeup,
};

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
pub(super) struct RecordsWork {
    state: AtomicU8,
    reported: AtomicBool,
}

impl RecordsWork {
    pub(super) fn unknown() -> Self {
        Self {
            state: AtomicU8::new(Self::UNKNOWN),
            reported: AtomicBool::new(false),
        }
    }

    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
}

/// One call's dealings with the lower tiers: the record's name, what time is left on each, the leases taken.
#[derive(Debug)]
pub(crate) struct LowerTiers<'a> {
    record_key: RecordKey,
    budgets: Vec<Budget<'a>>,
    /// The beginning of what was read and could not be used.
    seen: Vec<Vec<u8>>,
    /// The stamp of a record that was whole and carried another than it was to.
    passed_over: Vec<Option<Stamp>>,
    leases: Vec<Option<Lease>>,
    consistency: Consistency,
    /// What memory has, to be told by its seal.
    known: Option<(Seal, Held)>,
    /// Somebody changes what is loaded: the value is kept nowhere.
    is_guarded: bool,
    /// A tier could not say whether somebody does.
    is_unasked: bool,
}

impl LowerTiers<'_> {
    /// Asks for what is so at this moment, with what memory has in hand.
    pub(crate) fn ask_strongly(&mut self, known: Option<(Seal, Held)>) {
        self.consistency = Consistency::Strong;
        self.known = known;
    }

    /// Whether it is not known if a change of the key is under way.
    pub(crate) fn is_unasked(&self) -> bool {
        self.is_unasked
    }

    /// Whether a change of the key is under way, so that what is loaded now is kept nowhere.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
    }
}

/// What a search of the lower tiers came to.
#[derive(Debug)]
pub(crate) enum Search<V> {
    /// A value, how long it may live above, and the seal of its record.
    Found(V, Duration, Option<Seal>),
    /// They were asked and have none.
    Nowhere,
    /// Not all could be asked.
    Unanswered,
}

/// Whose turn it is to load.
#[derive(Debug)]
pub(crate) enum Turn {
    /// This caller's.
    Load,
    /// Another instance's; it is worth to look again when this ends.
    Wait(Wakeup),
}

impl Bound {
    /// Asks the lower tiers in order.
    pub(crate) async fn find<V>(
        &self,
        key: &Key,
        lookup: &mut LowerTiers<'_>,
        value_type: &ValueType<V>,
    ) -> Search<V> {
        let Some(records) = value_type.records else {
            return Search::Nowhere;
        };
        let mut nowhere = Search::Nowhere;
        for at in 0..self.lower.len() {
            match self
                .find_in(at, key, lookup, &records, value_type.give)
                .await
            {
                Search::Nowhere => {}
                Search::Unanswered => nowhere = Search::Unanswered,
                found @ Search::Found(..) => return found,
            }
        }
        nowhere
    }

    async fn find_in<V>(
        &self,
        at: usize,
        key: &Key,
        lookup: &mut LowerTiers<'_>,
        records: &RecordType<V>,
        give: fn(Held) -> Option<V>,
    ) -> Search<V> {
        let lower = &self.lower[at];
        let LowerTiers {
            record_key,
            budgets,
            seen,
            passed_over,
            known,
            consistency,
            ..
        } = lookup;
        // One tier alone: another's record is another, though it may be of the same value.
        let known = known.as_ref().filter(|_| at == 0);
        let question = Question {
            consistency: *consistency,
            known: known.map(|(seal, _)| *seal),
        };
        let found = budgets[at]
            .spend(|within| lower.tier.read(record_key, question, within))
            .await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                lower.failed("read", &self.name, &error);
                return Search::Unanswered;
            }
        };
        let Some(bytes) = found.record else {
            lower.counters.misses.add_one();
            return Search::Nowhere;
        };
        let opened = match known {
            Some((seal, held)) if bytes.len() == SEEN && seal_of(&bytes) == Some(*seal) => self
                .open_known(lower, key, found.stamp, &bytes, *seal, records)
                .and_then(|left| {
                    let value = (give)(Arc::clone(held)).ok_or(Some(Unusable::Mismatch))?;
                    Ok((value, left))
                }),
            _ => self.open(lower, key, found.stamp, &bytes, records),
        };
        match opened {
            Ok((value, left)) => {
                lower.counters.hits.add_one();
                Search::Found(value, left, seal_of(&bytes).filter(|_| at == 0))
            }
            Err(unusable) => {
                lower.counters.misses.add_one();
                seen[at] = bytes[..bytes.len().min(SEEN)].to_vec();
                match unusable {
                    None => {
                        let own = Header::open(&bytes).ok().map(|(header, _)| header.stamp());
                        passed_over[at] = own.filter(|own| found.stamp != Some(*own));
                    }
                    Some(Unusable::Damaged) => lower.counters.decode_errors.add_one(),
                    Some(Unusable::Mismatch) => lower.counters.mismatches.add_one(),
                }
                Search::Nowhere
            }
        }
    }

    /// Reads a record. `Err(None)` is a record that was good once: its time, its epoch or its history is over.
    fn open<V>(
        &self,
        lower: &Lower,
        key: &Key,
        stamp: Option<Stamp>,
        bytes: &[u8],
        records: &RecordType<V>,
    ) -> Result<(V, Duration), Option<Unusable>> {
        let (header, payload) = Header::open(bytes).map_err(Some)?;
        let left = self.judge_header(lower, key, stamp, &header, records)?;
        let value = (records.decode)(&self.encoding, payload).map_err(|_| {
            // Whole, of this codec, and still unreadable: another build's, or a type that does not survive its codec for
            // some values. The next write tells which.
            self.records
                .state
                .store(RecordsWork::UNKNOWN, Ordering::Relaxed);
            Some(Unusable::Damaged)
        })?;
        Ok((value, left))
    }

    /// The same of a record whose value memory has.
    fn open_known<V>(
        &self,
        lower: &Lower,
        key: &Key,
        stamp: Option<Stamp>,
        head: &[u8],
        seal: Seal,
        records: &RecordType<V>,
    ) -> Result<Duration, Option<Unusable>> {
        let header = Header::of_known(head, seal).map_err(Some)?;
        self.judge_header(lower, key, stamp, &header, records)
    }

    /// How long a record is still good, by its header.
    fn judge_header<V>(
        &self,
        lower: &Lower,
        key: &Key,
        stamp: Option<Stamp>,
        header: &Header,
        records: &RecordType<V>,
    ) -> Result<Duration, Option<Unusable>> {
        let same = header.codec == self.encoding.id()
            && header.version == self.function.version
            && header.shape == self.shape(records).fingerprint
            && header.digest == key.digest(self.name_hash);
        if !same {
            return Err(Some(Unusable::Mismatch));
        }
        if stamp != Some(header.stamp()) {
            return Err(None);
        }
        header.left(lower.tier.now()).ok_or(None)
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
    ) -> Turn {
        if value_type.records.is_none()
            || self.records.state.load(Ordering::Relaxed) == RecordsWork::NO
        {
            return Turn::Load;
        }
        for (at, lower) in self.lower.iter().enumerate() {
            let LowerTiers {
                record_key,
                budgets,
                seen,
                passed_over,
                leases,
                is_guarded,
                is_unasked,
                ..
            } = &mut *lookup;
            match budgets[at]
                .spend(|within| lower.tier.lease(record_key, claim, &seen[at], within))
                .await
            {
                // The store says now that the record was valid: what was known of its stamp was too old.
                Ok(Leased::Given(lease)) if passed_over[at] == Some(lease.stamp) => {
                    return Turn::Wait(Wakeup::new(std::future::ready(())));
                }
                Ok(Leased::Given(lease)) => leases[at] = Some(lease),
                Ok(Leased::Taken(wakeup)) => {
                    lower.counters.lease_waits.add_one();
                    return Turn::Wait(wakeup);
                }
                Ok(Leased::Refused(refusal)) => {
                    lower.counters.refused_fills.add_one(refusal);
                    *is_guarded |= refusal == Refusal::Guard;
                }
                Err(error) => {
                    lower.failed("lease", &self.name, &error);
                    *is_unasked |= lower.tier.coherence().is_some();
                }
            }
        }
        if lookup.is_guarded {
            lookup.leases.fill_with(|| None);
        }
        Turn::Load
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
                epoch: lease.stamp.epoch,
                history: lease.stamp.history,
                shape: self.shape(records).fingerprint,
                digest: key.digest(self.name_hash),
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
                Ok(Fill::Refused(refusal)) => lower.counters.refused_fills.add_one(refusal),
                Err(error) => lower.failed("fill", &self.name, &error),
            }
        }
    }

    /// The payload of a record; `None` when the type does not survive the codec. The first is read back.
    fn payload<V>(&self, value: &V, records: &RecordType<V>) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        if let Err(source) = (records.encode)(&self.encoding, value, &mut payload) {
            // Of this value, and not always of its type: the next may be written.
            self.report(&Error::with_source(
                ErrorKind::Codec,
                format!("write a value with {}", self.encoding),
                source,
            ));
            return None;
        }
        let checked = if self.encoding.needs_every_field() && (records.skips)(value) {
            Err(Error::new(
                ErrorKind::Codec,
                format!(
                    "write a value that skips a field with {}, which needs them all",
                    self.encoding
                ),
            ))
        } else if self.records.state.load(Ordering::Relaxed) == RecordsWork::UNKNOWN {
            check_round_trip(records, &self.encoding, &payload).map(|()| {
                self.records
                    .state
                    .store(RecordsWork::YES, Ordering::Relaxed)
            })
        } else {
            Ok(())
        };
        match checked {
            Ok(()) => Some(payload),
            Err(error) => {
                self.records_do_not_work(&error);
                None
            }
        }
    }

    fn records_do_not_work(&self, error: &Error) {
        self.records.state.store(RecordsWork::NO, Ordering::Relaxed);
        self.report(error);
    }

    /// Says once that values of this function do not survive their codec.
    fn report(&self, error: &Error) {
        if !self.records.reported.swap(true, Ordering::Relaxed) {
            tracing::error!(
                function = %self.name,
                codec = %self.encoding,
                error = ?error,
                "a value does not survive its codec and stays out of the shared tiers; use `codec = \"json\"` or \
                 `codec = \"msgpack\"`, or change the serde attributes of its type"
            );
        }
    }

    /// Goes on where a tier fails: the others are to drop it all the same.
    pub(super) async fn invalidate_lower(&self, target: Target<'_>) -> Result<Receipt, Error> {
        let mut result = Ok(Receipt::Acked);
        for lower in self.lower.iter().rev() {
            match lower.tier.invalidate(target, lower.tier.time_limit()).await {
                Ok(receipt) => result = result.map(|worst| receipt.max(worst)),
                Err(error) => {
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
        }
        result
    }

    /// Guards a key in every lower tier; those that could not are missing.
    pub(super) async fn guard_lower(&self, record_key: &RecordKey) -> Vec<Guard> {
        let mut guards = Vec::new();
        for lower in self.lower.iter().rev() {
            match lower.tier.guard(record_key, lower.tier.time_limit()).await {
                Ok(guard) => guards.push(guard),
                Err(error) => lower.failed("guard", &self.name, &error),
            }
        }
        guards
    }

    /// What one call needs to ask the lower tiers.
    pub(crate) fn lower_tiers(&self, key: &Key) -> LowerTiers<'_> {
        let budget = |lower: &Lower| Budget::new(&self.stack.clock, lower.tier.time_limit());
        LowerTiers {
            record_key: if self.lower.is_empty() {
                RecordKey::new(Arc::clone(&self.function), String::new(), 0)
            } else {
                self.record_key(key)
            },
            budgets: self.lower.iter().map(budget).collect(),
            seen: self.lower.iter().map(|_| Vec::new()).collect(),
            passed_over: self.lower.iter().map(|_| None).collect(),
            leases: self.lower.iter().map(|_| None).collect(),
            known: None,
            consistency: self.policy.consistency,
            is_guarded: false,
            is_unasked: false,
        }
    }

    pub(super) fn record_key(&self, key: &Key) -> RecordKey {
        RecordKey::new(
            Arc::clone(&self.function),
            render(key.as_ref().arguments, self.template),
            self.digest(key),
        )
    }
}

impl Lower {
    pub(super) fn new(config: TierConfig, tier: &Arc<dyn Tier>, ttl: Duration) -> Self {
        Self {
            level: config.level(),
            tier: Arc::clone(tier),
            ttl: config.life(ttl),
            counters: TierCounters::default(),
        }
    }

    pub(super) fn stats(&self) -> TierStats {
        self.counters.snapshot(self.level)
    }

    pub(super) fn coherence(&self) -> Option<Arc<Coherence>> {
        self.tier.coherence().cloned()
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.tier.coherence().is_some() && self.tier.breaker() != Breaker::Closed
    }

    pub(super) async fn replicated(&self, replicas: u32) -> Result<(), Error> {
        let within = self.tier.time_limit();
        self.tier.replicated(replicas, within).await
    }

    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.tier.settle().await
    }

    fn failed(&self, operation: &'static str, function: &str, error: &Error) {
        self.counters.tier_errors.add_one();
        tracing::debug!(tier = %self.level, kind = self.tier.kind(), operation, function, error = ?error, "a tier failed");
    }
}
