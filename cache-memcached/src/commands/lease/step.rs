//! Decides how a lease is taken, by the items that the key has.

use std::time::Duration;

use cache_core::tier::{BackOff, HEADER_LEN, LeaseMode, Stamp};

use super::super::granted::{HeldItem, LeaseId};
use super::super::items::Condition;

use crate::item::{Item, Kind};

/// The items of a key, as they were read in one round trip.
#[derive(Debug)]
pub(super) struct Found {
    /// The item under the name of the record.
    pub(super) item: Option<Item>,
    /// The item beside the record: the lease of a refresh, or the trace of one that failed.
    pub(super) beside: Option<Item>,
    /// The stamp that a valid record carries.
    pub(super) stamp: Stamp,
}

/// The next step towards a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Take it.
    Take(Way),
    /// Wait for this lease.
    Wait(LeaseId),
    /// Read the key again: there is another record.
    ReadAgain,
    /// Do not load for this long: the last load has failed.
    BackOff(Duration),
}

/// The way in which a lease is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Share the lease with this CAS number.
    Join(u64),
    /// Keep the record with this CAS number, and give it another number.
    Renumber(u64),
    /// Store a placeholder.
    Place(Condition),
    /// Keep the record, and store an item beside it.
    PlaceBeside {
        /// The CAS number of the record.
        of_record: u64,
        /// The condition of the item beside it.
        condition: Condition,
    },
}

impl Found {
    /// Returns the back-off of the key: in place of a lease, or beside the record that the load was
    /// to replace.
    pub(super) fn back_off(&self) -> Option<BackOff> {
        let item = self.item.as_ref()?;
        item.back_off(0, self.stamp).or_else(|| {
            let beside = self.beside.as_ref()?;
            beside.back_off(item.cas, self.stamp)
        })
    }

    /// Returns the lease of a refresh of this record.
    fn refresh_of(&self, record: &Item) -> Option<LeaseId> {
        let beside = self.beside.as_ref()?;
        let is_valid = beside.is_refresh_of(record.cas, self.stamp);
        is_valid.then_some(LeaseId {
            item: HeldItem::Beside {
                cas: beside.cas,
                record: record.cas,
            },
            stamp: self.stamp,
        })
    }
}

impl Step {
    /// Returns the step of a caller that has read a record with the header `expected`.
    pub(super) fn to_lease(mode: LeaseMode, expected: &[u8], found: &Found) -> Self {
        let Some(item) = &found.item else {
            return Self::Take(Way::Place(Condition::Missing));
        };
        if mode.waits() {
            return Self::that_waits(mode, expected, found, item);
        }
        Self::Take(match mode {
            LeaseMode::Shared if item.is_lease() => Way::Join(item.cas),
            _ if item.record().is_some() => Way::Renumber(item.cas),
            _ => Way::Place(Condition::Unchanged(item.cas)),
        })
    }

    fn that_waits(mode: LeaseMode, expected: &[u8], found: &Found, item: &Item) -> Self {
        let stamp = found.stamp;
        // A lease with another stamp is void, and will not be filled.
        if item.kind == Some(Kind::ExclusiveLease) && item.stamp() == Some(stamp) {
            let item = HeldItem::Placeholder { cas: item.cas };
            return Self::Wait(LeaseId { item, stamp });
        }
        let record = item.record();
        let is_other = |record: &[u8]| record[..record.len().min(HEADER_LEN)] != *expected;
        if record.is_some_and(is_other) {
            return Self::ReadAgain;
        }
        if let Some(lease) = found.refresh_of(item) {
            return Self::Wait(lease);
        }
        if mode == LeaseMode::Refresh {
            let back_off = found.back_off().filter(|left| !left.lasts.is_zero());
            if let Some(BackOff { lasts, .. }) = back_off {
                return Self::BackOff(lasts);
            }
            if record.is_some() {
                return Self::Take(Way::PlaceBeside {
                    of_record: item.cas,
                    condition: Condition::as_read(found.beside.as_ref()),
                });
            }
        }
        Self::Take(Way::Place(Condition::Unchanged(item.cas)))
    }
}
