//! Result of judging a history.

use std::fmt;

use crate::history::{Life, Micros};
use crate::items::Item;

/// Way in which the version of a read is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Older than what any instance had invalidated, by more than the bound.
    Stale,
    /// Older than what the same instance had invalidated.
    OwnStale,
    /// Older than what had settled.
    Unsettled,
    /// Older than what the same instance had returned before, without a fault.
    Backwards,
    /// Newer than what was committed.
    Invented,
    /// Replaced in the database for longer than a value may be returned after its load.
    TooOld,
    /// Not the newest, after nothing was pending any more.
    Unconverged,
    /// Older than what was invalidated, after all queued invalidations were sent.
    Undelivered,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A read returned a wrong version.
    Read {
        /// Way in which it is wrong.
        fault: Fault,
        /// Instance of the read.
        life: Life,
        /// Key of the read.
        item: Item,
        /// Version that was returned.
        version: u64,
        /// Oldest version that was allowed, or the newest one for [`Fault::Invented`].
        expected: u64,
        /// Begin of the read.
        start: Micros,
    },
    /// Code in an instance panicked.
    Panicked {
        /// The instance.
        life: Life,
        /// Time of the panic.
        at: Micros,
    },
    /// A key was loaded twice without an invalidation in between, and without a fault.
    TwoLoads {
        /// The key.
        item: Item,
        /// Time of the first load.
        first: Micros,
        /// Time of the second load.
        second: Micros,
    },
    /// A call without a fault took too long.
    Slow {
        /// Instance of the call.
        life: Life,
        /// Key of the call.
        item: Item,
        /// Begin of the call.
        start: Micros,
        /// Duration of the call.
        took: Micros,
        /// Longest allowed duration.
        limit: Micros,
    },
    /// An instance reported that it is not well, without a fault and with time to recover.
    Unwell {
        /// The instance.
        life: Life,
        /// Time of the request.
        start: Micros,
    },
    /// An instance reported that it is well while it could not reach the server.
    WronglyWell {
        /// The instance.
        life: Life,
        /// Time of the request.
        start: Micros,
    },
    /// An instance was isolated without a fault.
    Isolated {
        /// The instance.
        life: Life,
        /// Time of the first request for its health after that.
        start: Micros,
    },
    /// An instance did not report its health in a time in which it had to.
    NoHealth {
        /// The instance.
        instance: u16,
        /// Begin of that time.
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
            Self::WronglyWell { .. } => "wrongly well",
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

/// Result of judging a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Number of judged reads.
    pub reads: usize,
    /// Number of invalidations that returned.
    pub invalidations: usize,
    /// Number of invalidations of a whole function, dropped ones included.
    pub of_functions: usize,
    /// Number of invalidations of a tag.
    pub of_tags: usize,
    /// Number of invalidations that were queued.
    pub queued: usize,
    /// Number of invalidations that settled.
    pub settled: usize,
    /// Number of loads.
    pub loads: usize,
    /// Longest time after an acknowledgement in which another instance returned the old value.
    pub worst_staleness: Micros,
    /// Number of reads with an older version than one before on the same instance, during faults.
    /// Each is within the bound.
    pub backwards_in_faults: usize,
    /// Number of reads with an older version than one before on the same instance, while two loads
    /// of the key overlapped there.
    pub backwards_beside_loads: usize,
    /// Times that other instances took to see an invalidation without faults, sorted.
    pub propagation: Vec<Micros>,
    /// Number of times without a fault that each followed some faults.
    pub quiet: usize,
    /// Number of calls in those times, whose duration was judged.
    pub calls: usize,
    /// Longest of the calls that had one quick load at most.
    pub slowest_call: Micros,
    /// Number of reports of health.
    pub reports: usize,
    /// Longest time from the end of some faults until an instance was well, of those that were not
    /// well at first.
    pub longest_recovery: Micros,
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
}
