//! The lower tiers during one call: what was read, the leases, and the time that is left.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use crate::cached_function::{CachedFunction, TierBinding};
use crate::error::Error;
use crate::flight::HeldLeases;
use crate::function::options::Consistency;
use crate::key::Key;
use crate::record::Etag;
use crate::tier::store::StoreShard;
use crate::tier::time_limit::Budget;
use crate::tier::watch::Operation;
use crate::tier::{
    BackOff, FillResult, HeldLease, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult,
    RecordKey, Stamp, Target,
};

/// One lower tier during one call.
#[derive(Debug)]
pub(crate) struct TierVisit<'a> {
    function: &'a CachedFunction,
    pub(super) tier: &'a TierBinding,
    /// The part of the tier that has the key.
    pub(super) shard: &'a StoreShard,
    /// The time that the call may still spend on the tier.
    budget: Budget<'a>,
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
        key: &RecordKey,
        options: ReadOptions,
    ) -> Result<ReadResult, Error> {
        let tier = &self.shard.tier;
        let read = self.budget.spend(|within| tier.read(key, options, within));
        let result = read.await;
        self.note(Operation::Read, result)
    }

    pub(super) async fn lease(
        &mut self,
        key: &RecordKey,
        mode: LeaseMode,
    ) -> Result<LeaseResult, Error> {
        let (tier, expected) = (&self.shard.tier, &self.expected_header);
        let lease = self
            .budget
            .spend(|within| tier.lease(key, mode, expected, within));
        let result = lease.await;
        if let Ok(LeaseResult::Refused(refusal)) = result {
            self.tier.counters.refused_fills.add_one(refusal);
            return result;
        }
        self.note(Operation::Lease, result)
    }

    /// Stores a record under a lease. Returns `true` if it is stored.
    pub(super) async fn store(
        &mut self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
    ) -> Result<bool, Error> {
        let tier = &self.shard.tier;
        let fill = self
            .budget
            .spend(|within| tier.fill(key, lease, record, life, within));
        let result = fill.await;
        if let Ok(FillResult::Refused(refusal)) = result {
            self.tier.counters.refused_fills.add_one(refusal);
            self.shard.refused(refusal);
            return Ok(false);
        }
        self.note(Operation::Fill, result).map(|_| true)
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
    /// A record that is fresh for no longer than this is due: it is not used, and is replaced.
    pub(super) due_within: Duration,
    /// The visits are part of a load in the background: a record that they find answers no call.
    pub(super) is_revalidation: bool,
    /// The value in memory and the etag of its record, which a tier compares with its own.
    pub(super) known: Option<(Etag, Held)>,
    /// A write guard is held for the key, so the value is not stored.
    pub(super) is_guarded: bool,
    /// A tier could not tell whether a write guard is held.
    pub(super) guard_is_unknown: bool,
    /// The value replaces the records of the tiers, as that of a refresh or a put does.
    pub(super) replaces: bool,
    /// The value's own ttl, in place of the function's.
    pub(super) ttl: Option<Duration>,
}

impl<'a> TierVisits<'a> {
    pub(super) fn new(function: &'a CachedFunction, key: &Arc<Key>) -> Self {
        let record_key = match function.is_memory_alone() {
            true => function.record_key_without_arguments(),
            false => function.record_key(key),
        };
        let digest = record_key.digest;
        let visit = |tier: &'a TierBinding| TierVisit {
            function,
            tier,
            shard: tier.store.of(digest),
            budget: Budget::new(
                &function.state.clock,
                function.tokio_context_of(tier),
                tier.store.settings(),
            ),
            expected_header: Vec::new(),
            read_failed: false,
            is_passed_over: false,
            stale_stamp: None,
            lease: None,
        };
        Self {
            function,
            key: Arc::clone(key),
            record_key: Arc::new(record_key),
            visits: function.lower.iter().map(visit).collect(),
            exclusive: Vec::new(),
            known: None,
            consistency: function.consistency,
            due_within: Duration::ZERO,
            is_revalidation: false,
            is_guarded: false,
            guard_is_unknown: false,
            replaces: false,
            ttl: None,
        }
    }

    /// Sets the value's own ttl, if it has one.
    pub(super) fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes the reads strong. `known` is the value in memory, which a tier need not send again.
    pub(super) fn make_strong(&mut self, known: Option<(Etag, Held)>) {
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
        self.exclusive.as_slice().into()
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
