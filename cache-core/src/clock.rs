//! The one place where time is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since a beginning that is the same for all moments of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The clock's beginning.
    #[cfg(test)]
    pub(crate) const ZERO: Self = Self(0);

    /// The moment `life` after this one; a life that does not fit ends with the clock.
    pub(crate) fn after(self, life: Duration) -> Self {
        Self(self.0.saturating_add(nanos(life)))
    }

    /// Nanoseconds since the clock's beginning.
    #[inline]
    pub(crate) fn nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic clock: the system's, or one that a test moves by hand.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The system's.
    System,
    /// Stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    /// Read on every hit, never kept by a ticker of ours: a task that is stalled would let entries outlive their time.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => coarse(),
            Self::Manual(clock) => Moment(clock.0.load(Ordering::SeqCst)),
        }
    }
}

impl Clock {
    /// The moment of a reading of this host's clocks.
    #[inline]
    pub(crate) fn at(&self, reading: Reading) -> Moment {
        match self {
            Self::System => reading.monotonic,
            Self::Manual(_) => self.now(),
        }
    }
}

/// Both clocks of this host, read one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Goes forward evenly, and stands still while the machine sleeps.
    pub(crate) monotonic: Moment,
    /// Nanoseconds since the Unix epoch. Goes on while the machine sleeps, and jumps when it is set.
    pub(crate) wall: u64,
}

impl Reading {
    #[inline]
    pub(crate) fn now() -> Self {
        Self {
            monotonic: coarse(),
            wall: coarse_wall(),
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse_wall() -> u64 {
    // Before 1970 it is some other number, which jumps as little.
    read(ClockId::CLOCK_REALTIME_COARSE)
}

#[cfg(not(target_os = "linux"))]
fn coarse_wall() -> u64 {
    unix_millis().wrapping_mul(1_000_000)
}

/// The kernel's coarse clock: it moves at each tick, every 4 ms on common kernels and 10 ms at most, and is read in a
/// fifth of the time. An entry may so live that much longer; ordering is by fences, never by time.
#[cfg(target_os = "linux")]
#[inline]
fn coarse() -> Moment {
    Moment(read(ClockId::CLOCK_MONOTONIC_COARSE))
}

/// In nanoseconds. Linux has both since 2.6.32, so that it cannot fail.
#[cfg(target_os = "linux")]
#[inline]
fn read(clock: ClockId) -> u64 {
    let Ok(now) = clock_gettime(clock) else {
        return 0;
    };
    (now.tv_sec() as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec() as u64)
}

/// Where there is no coarse clock, the precise one.
#[cfg(not(target_os = "linux"))]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the clock"
)]
fn coarse() -> Moment {
    static ORIGIN: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    Moment(nanos(std::time::Instant::now().duration_since(*ORIGIN)))
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
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_forward_and_keeps_up() {
        let clock = Clock::System;
        let (first, began) = (clock.now(), unix_millis());
        while unix_millis() - began < 50 {
            std::hint::spin_loop();
        }
        let passed = clock.now().since(first);
        assert!(passed >= Duration::from_millis(30), "{passed:?}");
        assert!(passed <= Duration::from_secs(5), "{passed:?}");
    }
}
