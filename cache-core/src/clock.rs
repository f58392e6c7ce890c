//! The one place where time is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock: the system's, or one that a test moves by hand.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The system's.
    System,
    /// Stands still until it is moved; counted from a moment of the system's.
    Manual(Instant, ManualClock),
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that reads the clock"
    )]
    pub(crate) fn manual(clock: &ManualClock) -> Self {
        Self::Manual(Instant::now(), clock.clone())
    }

    /// Read on every hit, never kept by a ticker: a stalled ticker would let entries outlive their time.
    #[inline]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that reads the clock"
    )]
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            Self::Manual(origin, clock) => {
                *origin + Duration::from_nanos(clock.0.load(Ordering::SeqCst))
            }
        }
    }
}

/// A clock that stands still until a test moves it, for [`builder().clock(..)`](crate::RuntimeBuilder::clock).
///
/// Clones share one time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at its beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock `by` forward, for everyone who reads it.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

/// Milliseconds since the Unix epoch by this host's wall clock, for tiers whose store has no clock of its own.
///
/// Only the hard end of a record's life may be judged by it; ordering never is.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the clock"
)]
pub fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
