//! Leases that are granted: to this instance, or to another caller.

use cache_core::tier::Stamp;
use cache_core::tier::kit::StoreLease;

use crate::keys::{Keys, RecordNames};

/// A lease that this instance holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantedLease {
    pub(crate) names: RecordNames,
    /// The CAS number that the item must have for a fill.
    pub(crate) cas: u64,
    /// The stamp that the record must carry.
    pub(crate) stamp: Stamp,
    pub(crate) item: LeasedItem,
    /// The number of loads that failed in a row before.
    pub(crate) failures: u32,
}

impl GrantedLease {
    /// Returns the name and the CAS number of the item that other callers wait for, and that ends
    /// with the lease.
    pub(crate) fn held_item(&self) -> (String, u64) {
        let record = &self.names.record;
        match self.item {
            LeasedItem::BesideRecord { cas } => (Keys::refresh(record), cas),
            _ => (record.clone(), self.cas),
        }
    }
}

/// The item of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeasedItem {
    /// A placeholder that other callers wait for.
    AwaitedPlaceholder,
    /// A placeholder that no caller waits for.
    SharedPlaceholder,
    /// An item beside the record whose CAS number is the lease.
    BesideRecord { cas: u64 },
    /// A record that may still be valid, or nothing. It does not end with the lease.
    Other,
}

impl StoreLease for GrantedLease {
    fn is_renewed(&self) -> bool {
        self.item != LeasedItem::Other
    }

    fn is_released(&self) -> bool {
        use LeasedItem::{AwaitedPlaceholder, BesideRecord};
        matches!(self.item, AwaitedPlaceholder | BesideRecord { .. })
    }
}

/// Identifies a lease that another caller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseId {
    pub(crate) item: HeldItem,
    /// If the stamp of the function is another, the lease is void although its item is still there.
    pub(crate) stamp: Stamp,
}

/// The item of a lease that another caller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldItem {
    /// A placeholder with this CAS number under the name of the record.
    Placeholder { cas: u64 },
    /// An item with this CAS number, beside the record with that CAS number.
    Beside { cas: u64, record: u64 },
}
