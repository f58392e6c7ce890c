//! The state of a key in a tier, for operators.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operation::ReadResult;
use crate::record::Stamp;

/// The result of [`Tier::inspect`](super::Tier::inspect).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The bytes of the record, if the store holds one that has not expired.
    pub record: Option<Vec<u8>>,
    /// The stamp that a valid record carries at this moment. `None` if the store does not know:
    /// then no record of the function is valid.
    pub stamp: Option<Stamp>,
    /// How long the store still keeps the record, if it says so.
    pub left: Option<Duration>,
    /// The lease on the key, if the store tells of one.
    pub lease: Option<LeaseSeen>,
    /// How long no load begins for a caller that has a value, because the load of the key failed:
    /// it is [backed off](super::BackOff).
    pub back_off: Option<Duration>,
    /// The number of write guards of the key that the store has. `None` if that is not known.
    pub guards: Option<u64>,
}

/// A lease on a key, as an observer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseSeen {
    /// Set if other callers wait for the holder. Otherwise several callers load and may fill.
    pub exclusive: bool,
    /// Set if a caller has waited for the holder.
    pub waited: bool,
    /// The time until the lease expires, if its holder does not renew it. `None` if it ends with
    /// its holder alone.
    pub left: Option<Duration>,
}

impl LeaseSeen {
    /// Creates the description of a lease.
    #[must_use]
    pub fn new(exclusive: bool, waited: bool, left: Option<Duration>) -> Self {
        Self {
            exclusive,
            waited,
            left,
        }
    }
}

impl From<ReadResult> for Inspection {
    fn from(read: ReadResult) -> Self {
        Self {
            record: read.record,
            stamp: read.stamp,
            ..Self::default()
        }
    }
}
