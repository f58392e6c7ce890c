//! A limit on how often one kind of event is logged.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// Shortest time between two lines. During an outage each call may be an event: a line for each
/// would hide all others in the log.
const INTERVAL: Duration = Duration::from_secs(60);

/// Admits the first event, and then one event a minute, to the log.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    /// Nanoseconds of the runtime's clock before which no event is admitted. Relaxed, as the other
    /// one: neither orders other accesses.
    not_before: AtomicI64,
    /// Events since the last one that was admitted.
    events: AtomicU64,
}

/// Limits on the lines about the loads of one function.
#[derive(Debug, Default)]
pub(crate) struct LoadLogLimits {
    pub(crate) refresh_errors: LogLimit,
    pub(crate) stale_on_error: LogLimit,
    pub(crate) abandoned: LogLimit,
    pub(crate) shed: LogLimit,
}

impl LogLimit {
    /// Returns the number of events since the last one that was admitted, this one included.
    /// Returns `None` if this event is not to be logged.
    pub(crate) fn admit(&self, now: Moment) -> Option<u64> {
        self.events.fetch_add(1, Ordering::Relaxed);
        let not_before = self.not_before.load(Ordering::Relaxed);
        if now.nanos() < not_before {
            return None;
        }
        // If two threads are here at once, the one whose exchange fails does not log.
        let next = now.after(INTERVAL).nanos();
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        self.not_before
            .compare_exchange(not_before, next, set, failed)
            .ok()?;
        Some(self.events.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_within_a_minute_are_one_line_and_the_next_line_has_their_number() {
        let limit = LogLimit::default();
        let at = |seconds| Moment::ZERO.after(Duration::from_secs(seconds));
        assert_eq!(limit.admit(at(5)), Some(1));
        assert_eq!(limit.admit(at(5)), None);
        assert_eq!(limit.admit(at(64)), None);
        assert_eq!(limit.admit(at(65)), Some(3));
        assert_eq!(limit.admit(at(66)), None);
    }
}
