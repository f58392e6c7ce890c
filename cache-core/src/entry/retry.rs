//! The pacing of the loads that replace one entry.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// The time for which no other caller begins a load after one has claimed it. If the load that was
/// claimed did not begin, because the background had no place, it is attempted again after that.
const CLAIM: Duration = Duration::from_secs(1);

/// When the next load of an entry may begin, for callers that have its value.
///
/// Invariant: of the callers that claim at the same moment one succeeds, and none does before
/// `not_before`.
///
/// Both fields are `Relaxed`: they pace loads and order no other accesses. A reader that sees one
/// of them before the other begins a load too early or too late, which does no harm.
#[derive(Debug)]
pub(crate) struct Retry {
    /// Nanoseconds of the runtime's clock.
    not_before: AtomicI64,
    /// The number of loads that have failed in a row.
    failures: AtomicU32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            not_before: AtomicI64::new(Moment::FIRST.nanos()),
            failures: AtomicU32::new(0),
        }
    }
}

impl Retry {
    /// Returns `true` for the one caller that begins a load now.
    pub(crate) fn claim(&self, now: Moment) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        let until = now.after(CLAIM).nanos();
        self.may_claim(now)
            && self
                .not_before
                .compare_exchange(not_before, until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Returns `true` if a caller could begin a load now.
    pub(crate) fn may_claim(&self, now: Moment) -> bool {
        now >= Moment::at_nanos(self.not_before.load(Ordering::Relaxed))
    }

    /// Returns `true` if a load failed and the next one may not begin yet.
    pub(crate) fn is_backed_off(&self, now: Moment) -> bool {
        self.failures() > 0 && now < Moment::at_nanos(self.not_before.load(Ordering::Relaxed))
    }

    /// Notes that this many loads have failed in a row, and that none is to begin before `until`.
    pub(crate) fn back_off(&self, failures: u32, until: Moment) {
        self.failures.store(failures, Ordering::Relaxed);
        self.not_before.store(until.nanos(), Ordering::Relaxed);
    }

    /// Returns the number of loads that have failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}
