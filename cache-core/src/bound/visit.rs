//! The lower tiers in the course of one call.

use std::sync::Arc;
use std::time::Duration;

use super::lower::Lower;
use crate::entry::Held;
use crate::flight::HeldLeases;
use crate::policy::Consistency;
use crate::record::Seal;
use crate::tier::stack::Budget;
use crate::tier::{HeldLease, Lease, RecordKey, Stamp, Wakeup};

/// A lower tier in the course of one call.
#[derive(Debug)]
pub(crate) struct TierVisit<'a> {
    pub(super) tier: &'a Lower,
    /// The time that the call may still spend on it.
    pub(super) budget: Budget<'a>,
    /// The beginning of the record that was read and could not be used; only that one may be replaced.
    pub(super) unusable: Vec<u8>,
    /// Whether the tier could not be read.
    pub(super) is_unread: bool,
    /// Whether it has a record that was not considered, because the tier cannot tell whether it is current.
    pub(super) is_passed_over: bool,
    /// The stamp of a record that was intact and carried another stamp than expected.
    pub(super) stale_stamp: Option<Stamp>,
    pub(super) lease: Option<Lease>,
}

/// The lower tiers in the course of one call, in look-up order, and what the call has learned of its key.
#[derive(Debug)]
pub(crate) struct LowerTiers<'a> {
    pub(super) record_key: Arc<RecordKey>,
    pub(super) visits: Vec<TierVisit<'a>>,
    /// The leases that other instances wait for.
    pub(super) exclusive: Vec<HeldLease>,
    pub(super) consistency: Consistency,
    /// What memory has, to be told by its seal.
    pub(super) known: Option<(Seal, Held)>,
    /// Somebody changes what is loaded: the value is kept nowhere.
    pub(super) is_guarded: bool,
    /// What is loaded is to take the place of what is there.
    pub(super) replaces: bool,
    /// How long the value is fresh, where its function does not say it.
    pub(super) ttl: Option<Duration>,
    /// A tier could not say whether somebody does.
    pub(super) is_unasked: bool,
}

impl LowerTiers<'_> {
    /// Gives what is put the time that it has, if it has one of its own.
    pub(crate) fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Asks for what is so at this moment, with what memory has in hand.
    pub(crate) fn ask_strongly(&mut self, known: Option<(Seal, Held)>) {
        self.consistency = Consistency::Strong;
        self.known = known;
    }

    /// Takes each tier's lease as it comes: whether what was passed over is valid after all was asked often enough.
    pub(crate) fn look_no_more(&mut self) {
        for visit in &mut self.visits {
            visit.stale_stamp = None;
        }
    }

    /// The name of the key's record.
    pub(crate) fn record_key(&self) -> Arc<RecordKey> {
        Arc::clone(&self.record_key)
    }

    /// Whether a tier has given a lease.
    pub(crate) fn holds_a_lease(&self) -> bool {
        self.visits.iter().any(|visit| visit.lease.is_some())
    }

    /// Whether what is loaded replaces what the lower tiers have.
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
pub(crate) enum Search {
    /// A value.
    Found(Hit),
    /// They were asked and have none.
    Nowhere,
    /// Not all could be asked, beside those that this instance has to itself while it has others that it shares.
    Unanswered,
}

/// A value that a lower tier has.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) value: Held,
    /// How long it may live above.
    pub(crate) left: Duration,
    /// The number of its load, where this runtime has counted it: the value is as old as that, whenever it was read.
    pub(crate) number: Option<u64>,
    /// The place of the tier and the seal of the record, by which the record is recognized.
    pub(crate) record: Option<(usize, Seal)>,
    /// Whether a tier above has a record that was not considered.
    pub(crate) passed_record: bool,
    /// Whether it is to be copied to the tiers above.
    pub(crate) is_promoted: bool,
}

/// Which caller runs the load.
#[derive(Debug)]
pub(crate) enum Turn {
    /// This one.
    Load,
    /// Another, which holds the lease of the tier at that place. Read the key again when the wakeup resolves.
    Wait(Wakeup, usize),
}
