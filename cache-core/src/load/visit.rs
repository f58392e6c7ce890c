//! The lower tiers during one call: what was read, the leases, and the time that is left.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use super::gather::Place;
use crate::cached_function::{CachedFunction, TierBinding};
use crate::entry::KnownRecord;
use crate::error::Error;
use crate::events::EventKind;
use crate::flight::HeldLeases;
use crate::function::options::Consistency;
use crate::key::Key;
use crate::tag::TagSet;
use crate::tier::store::StoreShard;
use crate::tier::time_limit::Budget;
use crate::tier::watch::Operation;
use crate::tier::{
    BackOff, FillResult, HeldLease, Lease, LeaseMode, LeaseResult, Ledger, Marks, MarksState,
    ReadOptions, ReadResult, RecordKey, Refusal, Stamp, Target,
};

/// One lower tier during one call.
#[derive(Debug)]
pub(crate) struct TierVisit<'a> {
    function: &'a CachedFunction,
    /// The place of the tier among the lower tiers of the function.
    at: usize,
    pub(super) tier: &'a TierBinding,
    /// The part of the tier that has the key.
    pub(super) shard: &'a StoreShard,
    /// The time that the call may still spend on the tier.
    budget: Budget<'a>,
    /// Set for a key of a batch, whose operations are sent together with those of other keys.
    batch: Option<Place<'a>>,
    /// The answer of the tier, if it was read before the load began. It is counted already.
    known_read: Option<Result<ReadResult, Error>>,
    /// The header of the record that was read and is not valid, empty if there was none. A lease
    /// replaces this record only.
    pub(super) expected_header: Vec<u8>,
    /// Set if reading the tier failed.
    pub(super) read_failed: bool,
    /// Set if the tier has a record that the call ignored: a private tier cannot tell whether its
    /// record is current.
    pub(super) is_passed_over: bool,
    /// The stamp of a record that was intact and carried another stamp than expected.
    pub(super) stale_stamp: Option<Stamp>,
    pub(super) lease: Option<Lease>,
}

impl TierVisit<'_> {
    pub(super) async fn read(
        &mut self,
        key: &Arc<RecordKey>,
        options: ReadOptions,
    ) -> Result<ReadResult, Error> {
        let (tier, at) = (&self.shard.tier, self.at);
        if let Some(known) = self.known_read.take() {
            return known;
        }
        let result = match self.batch {
            Some(batch) => {
                let read = |within| batch.read((at, key), options, within);
                self.budget.charge(read).await
            }
            None => {
                let read = |within| tier.read(key, options, within);
                let span = self.shard.span(Operation::Read.name());
                self.budget.spend((Operation::Read, span), read).await
            }
        };
        self.note(Operation::Read, result)
    }

    pub(super) async fn lease(
        &mut self,
        key: &Arc<RecordKey>,
        mode: LeaseMode,
    ) -> Result<LeaseResult, Error> {
        let (tier, at, expected) = (&self.shard.tier, self.at, &self.expected_header);
        let result = match self.batch {
            Some(batch) => {
                let lease = |within| batch.lease((at, key), mode, expected, within);
                self.budget.charge(lease).await
            }
            None => {
                let lease = |within| tier.lease(key, mode, expected, within);
                let span = self.shard.span(Operation::Lease.name());
                self.budget.spend((Operation::Lease, span), lease).await
            }
        };
        if let Ok(LeaseResult::Refused(refusal)) = result {
            self.fill_refused(key.digest, refusal);
            return result;
        }
        self.note(Operation::Lease, result)
    }

    /// Asks the ledger in the store about a record, within the time that the call has left.
    pub(super) async fn state_in_store(
        &mut self,
        ledger: &dyn Ledger,
        marks: Marks<'_>,
    ) -> Result<MarksState, Error> {
        // The other loads of the batch wait for this one, as for an operation that they share.
        let _waiting = self.batch.map(Place::waits);
        let ask = |within| ledger.state_in_store(marks, within);
        let span = self.shard.span(Operation::Read.name());
        let result = self.budget.spend((Operation::Read, span), ask).await;
        self.note(Operation::Read, result)
    }

    /// Stores a record, which is kept for `life`, under a lease. Returns `true` if it is stored.
    pub(super) async fn store(
        &mut self,
        key: &Arc<RecordKey>,
        lease: Lease,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<bool, Error> {
        let (tier, at) = (&self.shard.tier, self.at);
        let result = match self.batch {
            Some(batch) => {
                let fill = |within| batch.fill((at, key), lease, (record, life), within);
                self.budget.charge(fill).await
            }
            None => {
                let fill = |within| tier.fill(key, &lease, record, life, within);
                let span = self.shard.span(Operation::Fill.name());
                self.budget.spend((Operation::Fill, span), fill).await
            }
        };
        if let Ok(FillResult::Refused(refusal)) = result {
            self.fill_refused(key.digest, refusal);
            self.shard.refused(refusal);
            return Ok(false);
        }
        self.note(Operation::Fill, result).map(|_| true)
    }

    /// Counts and notes a value of the key with this digest that the tier does not store.
    pub(super) fn fill_refused(&self, digest: u64, reason: Refusal) {
        self.tier.counters.refused_fills.add_one(reason);
        let kind = EventKind::FillRefused { reason };
        self.function
            .note(Some(self.tier.level), Some(digest), kind);
    }

    /// Counts the success or the failure of an operation.
    fn note<T>(&self, operation: Operation, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => self.shard.succeeded(operation),
            Err(error) => {
                self.shard.failed(operation, error);
                let (what, function) = (operation.name(), self.function.name());
                self.tier.failed(what, function, error);
            }
        }
        result
    }
}

/// The lower tiers during one call, in look-up order, and the state that they share.
#[derive(Debug)]
pub(crate) struct TierVisits<'a> {
    pub(super) function: &'a CachedFunction,
    pub(super) key: Arc<Key>,
    pub(super) record_key: Arc<RecordKey>,
    pub(super) visits: Vec<TierVisit<'a>>,
    /// The leases that other instances wait for.
    pub(super) exclusive: Vec<HeldLease>,
    pub(super) consistency: Consistency,
    /// The time of the tier when its record was read, if it need not be asked for each record.
    pub(super) read_at: Option<u64>,
    /// A record that is fresh for no longer than this is due: it is not used, and is replaced.
    pub(super) due_within: Duration,
    /// The visits are part of a load in the background: a record that they find answers no call.
    pub(super) is_revalidation: bool,
    /// The value in memory and its record, which a tier compares with its own.
    pub(super) known: Option<(KnownRecord, Held)>,
    /// A write guard is held for the key, so the value is not stored.
    pub(super) is_guarded: bool,
    /// A tier could not tell whether a write guard is held.
    pub(super) guard_is_unknown: bool,
    /// The value replaces the records of the tiers, as that of a refresh or a put does.
    pub(super) replaces: bool,
    /// The value's own ttl, in place of the function's.
    pub(super) ttl: Option<Duration>,
    /// The tags of the value that is loaded or put: those of the arguments, and later also those of
    /// the value and the body.
    pub(super) tags: TagSet,
}

impl<'a> TierVisits<'a> {
    pub(super) fn new(function: &'a CachedFunction, key: &Arc<Key>) -> Self {
        let record_key = match function.is_memory_alone() {
            true => function.record_key_without_arguments(),
            false => function.record_key(key),
        };
        Self::of(function, key, Arc::new(record_key))
    }

    /// Makes the visits of a key whose record has this name.
    pub(super) fn of(
        function: &'a CachedFunction,
        key: &Arc<Key>,
        record_key: Arc<RecordKey>,
    ) -> Self {
        let digest = record_key.digest;
        let visit = |(at, tier): (usize, &'a TierBinding)| TierVisit {
            function,
            at,
            tier,
            shard: tier.store.of(digest),
            budget: Budget::new(
                tier.store.times(),
                function.tokio_context_of(tier),
                tier.store.settings(),
            ),
            batch: None,
            known_read: None,
            expected_header: Vec::new(),
            read_failed: false,
            is_passed_over: false,
            stale_stamp: None,
            lease: None,
        };
        Self {
            function,
            key: Arc::clone(key),
            record_key,
            visits: function.lower.iter().enumerate().map(visit).collect(),
            exclusive: Vec::new(),
            known: None,
            consistency: function.consistency,
            read_at: None,
            due_within: Duration::ZERO,
            is_revalidation: false,
            is_guarded: false,
            guard_is_unknown: false,
            replaces: false,
            ttl: None,
            tags: function.tags_of(key),
        }
    }

    /// Sets the time of the tier at which its records were read, together with those of other keys.
    pub(super) fn read_at(mut self, now: u64) -> Self {
        self.read_at = Some(now);
        self
    }

    /// Begins the visits of another key, of which nothing was read. For several keys whose records
    /// were read together, and that have no leases.
    pub(super) fn next_key(&mut self, key: &Key, record_key: RecordKey) {
        for visit in &mut self.visits {
            visit.shard = visit.tier.store.of(record_key.digest);
            visit.expected_header.clear();
        }
        self.tags = self.function.tags_of(key);
        // No allocation, because nothing else has them.
        Arc::make_mut(&mut self.key).clone_from(key);
        *Arc::make_mut(&mut self.record_key) = record_key;
    }

    /// Sends the operations with those of other keys, if the key is one of a batch.
    pub(super) fn in_batch(mut self, batch: Option<Place<'a>>) -> Self {
        for visit in &mut self.visits {
            visit.batch = batch;
        }
        self
    }

    /// Sets what the highest tier has answered already, and how long it took.
    pub(super) fn after_read(
        mut self,
        known: Option<Result<ReadResult, Error>>,
        took: Duration,
    ) -> Self {
        if let Some(highest) = self.visits.first_mut() {
            highest.known_read = known;
            highest.budget.took(took);
        }
        self
    }

    /// Sets the value's own ttl, if it has one.
    pub(super) fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes the reads strong. `known` is the value in memory, which a tier need not send again.
    pub(super) fn make_strong(&mut self, known: Option<(KnownRecord, Held)>) {
        self.consistency = Consistency::Strong;
        self.known = known;
    }

    /// Stops reading records with a stale stamp again: any lease that is granted is taken.
    pub(super) fn accept_stale_stamps(&mut self) {
        for visit in &mut self.visits {
            visit.stale_stamp = None;
        }
    }

    /// Returns `true` if a tier granted a lease.
    pub(super) fn holds_a_lease(&self) -> bool {
        self.visits.iter().any(|visit| visit.lease.is_some())
    }

    /// The leases that other instances wait for.
    pub(super) fn exclusive_leases(&self) -> HeldLeases {
        let leases = self.exclusive.as_slice();
        (!leases.is_empty()).then(|| leases.into())
    }

    /// The number of loads of the key that failed in a row before, as far as a tier knows.
    pub(super) fn failures(&self) -> u32 {
        let leases = self.visits.iter().filter_map(|visit| visit.lease.as_ref());
        leases.map(|lease| lease.failures).max().unwrap_or(0)
    }

    /// Releases the leases of a load that failed, and notifies those that wait for them.
    pub(super) fn load_failed(&mut self, back_off: Option<BackOff>) {
        let visits = self.visits.iter_mut();
        let leases = visits.filter_map(|visit| visit.lease.take());
        leases.for_each(|lease| lease.load_failed(back_off));
    }

    /// Has the record of a tier deleted later, without awaiting it.
    pub(super) fn invalidate_later(&self, tier: &TierBinding) {
        let target = Target::Key(&self.record_key);
        tier.store.invalidate_later(target);
    }
}
