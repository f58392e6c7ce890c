//! What a history shows.

use std::fmt;

use crate::history::{Item, Life, Micros};

/// What a read may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Older than what any instance had invalidated, by more than the bound.
    Stale,
    /// Older than what the same instance had invalidated.
    OwnStale,
    /// Older than what had settled.
    Unsettled,
    /// Older than what the same instance had answered before, without a fault.
    Backwards,
    /// Newer than what was committed.
    Invented,
    /// Not the newest, when all was said to have come to rest.
    Unconverged,
    /// Older than what was invalidated, when all that was queued was said to have been sent.
    Undelivered,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// By a read.
    Read {
        /// Which.
        fault: Fault,
        /// By whom it was read.
        life: Life,
        /// Which key.
        item: Item,
        /// What was read.
        version: u64,
        /// What it must at least, or at most, have been.
        expected: u64,
        /// When the read began.
        start: Micros,
    },
    /// Code in an instance panicked.
    Panicked {
        /// In which instance.
        life: Life,
        /// When.
        at: Micros,
    },
    /// Loaded twice without an invalidation between, and without a fault.
    TwoLoads {
        /// Which key.
        item: Item,
        /// The first load.
        first: Micros,
        /// The second.
        second: Micros,
    },
    /// A call without a fault took too long.
    Slow {
        /// Of which instance.
        life: Life,
        /// Of which key.
        item: Item,
        /// When it began.
        start: Micros,
        /// How long it took.
        took: Micros,
        /// How long it may take.
        limit: Micros,
    },
    /// An instance reported that it was not well, where there was no fault and it had time to recover.
    Unwell {
        /// Which instance.
        life: Life,
        /// When it was asked.
        start: Micros,
    },
    /// An instance reported that it was well while it could not reach the server.
    SaidWell {
        /// Which instance.
        life: Life,
        /// When it was asked.
        start: Micros,
    },
    /// An instance was isolated without a fault.
    Isolated {
        /// Which instance.
        life: Life,
        /// When it was asked for its health the first time after that.
        start: Micros,
    },
    /// An instance did not report its health where it had to.
    NoHealth {
        /// Which instance.
        instance: u16,
        /// When that time began.
        start: Micros,
    },
}

impl Violation {
    /// Name of the promise, for a count of such violations.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "staleness",
            Self::Panicked { .. } => "panicked",
            Self::TwoLoads { .. } => "loaded again",
            Self::Slow { .. } => "slow",
            Self::Unwell { .. } => "not well",
            Self::SaidWell { .. } => "said to be well",
            Self::Isolated { .. } => "isolated",
            Self::NoHealth { .. } => "no report of health",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a history shows.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Reads that were judged.
    pub reads: usize,
    /// Invalidations that returned.
    pub invalidations: usize,
    /// Of those, of a whole function.
    pub of_functions: usize,
    /// Of those, queued.
    pub queued: usize,
    /// Of those, settled.
    pub settled: usize,
    /// Loads.
    pub loads: usize,
    /// How long after an acknowledgement its old value was still read, at worst, by another instance.
    pub worst_staleness: Micros,
    /// Reads that were older than one before, on the same instance, while there were faults. Each is within the bound.
    pub backwards_in_faults: usize,
    /// How long other instances took to see an invalidation, without faults; sorted.
    pub propagation: Vec<Micros>,
    /// Times without a fault, each after some faults.
    pub quiet: usize,
    /// Calls in them whose time was judged.
    pub calls: usize,
    /// The slowest of those that had one quick load at most.
    pub slowest_call: Micros,
    /// Reports of health.
    pub reports: usize,
    /// Longest time from the end of some faults until an instance was well, of those that were not well at first.
    pub longest_recovery: Micros,
    /// What was not kept.
    pub violations: Vec<Violation>,
}
