//! The lower tiers in the course of one call.

use std::sync::Arc;
use std::time::Duration;

use super::lower::TierBinding;
use crate::entry::Held;
use crate::flight::HeldLeases;
use crate::function::options::Consistency;
use crate::record::Etag;
use crate::state::Budget;
use crate::tier::{HeldLease, Lease, RecordKey, Stamp, Wakeup};

/// A lower tier in the course of one call.
#[derive(Debug)]
pub(crate) struct TierVisit<'a> {
    pub(super) tier: &'a TierBinding,
    /// The time that the call may still spend on it.
    pub(super) budget: Budget<'a>,
    /// The beginning of the record that was read and is not valid. A lease replaces this record only.
    pub(super) unusable: Vec<u8>,
    /// Set if reading the tier failed.
    pub(super) is_unread: bool,
    /// Set if the tier has a record that the call ignored: a private tier cannot tell whether its record
    /// is current.
    pub(super) is_passed_over: bool,
    /// The stamp of a record that was intact and carried another stamp than expected.
    pub(super) stale_stamp: Option<Stamp>,
    pub(super) lease: Option<Lease>,
}

/// The lower tiers in the course of one call, in look-up order, and the state that they share.
#[derive(Debug)]
pub(crate) struct TierVisits<'a> {
    pub(super) record_key: Arc<RecordKey>,
    pub(super) visits: Vec<TierVisit<'a>>,
    /// The leases that other instances wait for.
    pub(super) exclusive: Vec<HeldLease>,
    pub(super) consistency: Consistency,
    /// The value in memory and the etag of its record, which a tier compares with its own.
    pub(super) known: Option<(Etag, Held)>,
    /// A write guard is held for the key, so the value is not stored.
    pub(super) is_guarded: bool,
    /// The value replaces the records of the tiers, as that of a refresh or a put does.
    pub(super) replaces: bool,
    /// The value's own ttl, in place of the function's.
    pub(super) ttl: Option<Duration>,
    /// A tier could not tell whether a write guard is held.
    pub(super) guard_is_unknown: bool,
}

impl TierVisits<'_> {
    /// Sets the value's own ttl, if it has one.
    pub(crate) fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes the reads strong. `known` is the value in memory, which a tier need not send again.
    pub(crate) fn make_strong(&mut self, known: Option<(Etag, Held)>) {
        self.consistency = Consistency::Strong;
        self.known = known;
    }

    /// Stops reading records with a stale stamp again: any lease that is granted is taken.
    pub(crate) fn accept_stale_stamps(&mut self) {
        for visit in &mut self.visits {
            visit.stale_stamp = None;
        }
    }

    /// The name of the key's record.
    pub(crate) fn record_key(&self) -> Arc<RecordKey> {
        Arc::clone(&self.record_key)
    }

    /// Returns `true` if a tier granted a lease.
    pub(crate) fn holds_a_lease(&self) -> bool {
        self.visits.iter().any(|visit| visit.lease.is_some())
    }

    /// Returns `true` if the value replaces the records of the tiers.
    pub(crate) fn replaces(&self) -> bool {
        self.replaces
    }

    /// The leases that other instances wait for.
    pub(crate) fn exclusive_leases(&self) -> HeldLeases {
        self.exclusive.as_slice().into()
    }

    /// Releases the leases of a load that failed.
    pub(crate) fn load_failed(&mut self) {
        let leases = self
            .visits
            .iter_mut()
            .filter_map(|visit| visit.lease.take());
        leases.for_each(Lease::load_failed);
    }

    /// Returns `true` if a tier could not tell whether a write guard is held.
    pub(crate) fn guard_is_unknown(&self) -> bool {
        self.guard_is_unknown
    }

    /// Returns `true` if a write guard is held for the key, so the value must not be stored.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
    }
}

/// The result of reading the lower tiers.
#[derive(Debug)]
pub(crate) enum TierLookup {
    /// A value.
    Hit(TierHit),
    /// No tier has a valid record.
    Miss,
    /// A shared tier could not be read. (Failures of private tiers beside shared ones are ignored.)
    Unavailable,
}

/// A value that was found in a lower tier.
#[derive(Debug)]
pub(crate) struct TierHit {
    pub(crate) value: Held,
    /// The longest time that a copy of it may live.
    pub(crate) left: Duration,
    /// The fence's number when its load began, if this runtime loaded it. A read does not make the value
    /// newer.
    pub(crate) number: Option<u64>,
    /// The place of the tier and the etag of the record, by which the record is recognized.
    pub(crate) record: Option<(usize, Etag)>,
    /// Set if a tier above has a record that the call ignored.
    pub(crate) passed_record: bool,
    /// Set if it is to be copied to the tiers above.
    pub(crate) is_promoted: bool,
}

/// Which caller runs the load.
#[derive(Debug)]
pub(crate) enum LeaseTurn {
    /// This caller.
    Load,
    /// Another caller, which holds the lease of the tier at that place. The key is read again when the
    /// wakeup resolves.
    Wait(Wakeup, usize),
}
