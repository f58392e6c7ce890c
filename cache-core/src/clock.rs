//! Clocks. No other file reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since an origin, which is the same for all moments of one clock.
///
/// The number is negative for a moment before the origin. The origin can be the start of the host,
/// and a record that a lower tier has may have expired before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// Origin of the clock.
    #[cfg(test)]
    pub(crate) const ZERO: Self = Self(0);

    /// A moment before all others.
    pub(crate) const FIRST: Self = Self(i64::MIN);

    /// Returns the moment `life` after this one. A moment that does not fit is the last one of the
    /// clock.
    pub(crate) fn after(self, life: Duration) -> Self {
        Self(self.0.saturating_add(nanos(life)))
    }

    /// Returns the moment `time` before this one. A moment that does not fit is the first one of
    /// the clock.
    pub(crate) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }

    /// Returns the nanoseconds since the origin of the clock.
    #[inline]
    pub(crate) fn nanos(self) -> i64 {
        self.0
    }

    /// Returns the moment this many nanoseconds after the origin of the clock.
    pub(crate) fn at_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is in the future.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A monotonic clock.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The clock of the system.
    System,
    /// A clock that a test advances.
    Manual(ManualClock),
}

impl Clock {
    /// Returns the current time.
    ///
    /// Every hit reads the clock. A time that a task of ours refreshes would be wrong whenever that
    /// task is stalled, and expired entries would be returned.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => coarse(),
            Self::Manual(clock) => Moment(clock.0.load(Ordering::SeqCst)),
        }
    }

    /// Returns the current time without the steps of [`now`](Self::now), to measure how long a body
    /// or an operation of a tier takes. Most of them take less than one step.
    ///
    /// It takes several times as long as `now`, so no hit reads it. Both have the same origin, and
    /// `now` is behind by one step at most. A manual clock has one time for both.
    pub(crate) fn fine(&self) -> Moment {
        match self {
            Self::System => precise(),
            Self::Manual(_) => self.now(),
        }
    }

    /// Returns the time of this clock for a reading of the clocks of the host.
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
    /// Advances evenly, and not while the machine sleeps.
    pub(crate) monotonic: Moment,
    /// Nanoseconds since the Unix epoch. Advances while the machine sleeps, and jumps when it is
    /// set.
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
    // A time before 1970 wraps around. Only differences are used, so this does no harm.
    read(ClockId::CLOCK_REALTIME_COARSE)
}

#[cfg(not(target_os = "linux"))]
fn coarse_wall() -> u64 {
    unix_millis().wrapping_mul(1_000_000)
}

/// Reads the kernel's coarse clock, which takes a fifth of the time that the precise one takes.
///
/// It advances with each tick of the kernel: usually every 4 ms, and every 10 ms at most. So an
/// entry may be returned up to 10 ms after it expired. Fences decide the order of events, never
/// time.
#[cfg(target_os = "linux")]
#[inline]
fn coarse() -> Moment {
    // The clock begins with the host, so it fits for 292 years.
    Moment(read(ClockId::CLOCK_MONOTONIC_COARSE) as i64)
}

/// Reads the precise clock.
#[cfg(target_os = "linux")]
fn precise() -> Moment {
    Moment(read(ClockId::CLOCK_MONOTONIC) as i64)
}

/// Reads the precise clock.
#[cfg(not(target_os = "linux"))]
fn precise() -> Moment {
    coarse()
}

/// Reads a clock in nanoseconds. Linux has both clocks since 2.6.32, so this cannot fail.
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

/// Reads the precise clock, because this system has no coarse one.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "no other file reads the time")]
fn coarse() -> Moment {
    static ORIGIN: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    Moment(nanos(std::time::Instant::now().duration_since(*ORIGIN)))
}

/// A clock that advances only when a test advances it.
///
/// It is set by [`builder().clock(..)`](crate::RuntimeBuilder::clock). Clones share one time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Creates a clock that is at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the clock, and all its clones, by `by`.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

/// Returns the milliseconds since the Unix epoch by the wall clock of this host.
///
/// It is for tiers whose store has no clock of its own. It may decide whether a record has expired,
/// but never which of two events came first.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "no other file reads the time")]
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
    fn moments_before_the_origin_are_ordered_and_have_a_distance() {
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        let long_ago = Moment::ZERO.before(YEAR);
        assert!(long_ago < Moment::ZERO);
        assert!(Moment::FIRST < long_ago);
        assert_eq!(Moment::ZERO.since(long_ago), YEAR);
        assert_eq!(long_ago.since(Moment::ZERO), Duration::ZERO);
        assert_eq!(long_ago.after(YEAR), Moment::ZERO);
        assert_eq!(long_ago.before(Duration::MAX).before(YEAR), Moment::FIRST);
        assert!(Moment::ZERO.after(Duration::MAX) > Moment::ZERO.after(YEAR));
    }

    #[test]
    fn system_clock_advances_with_the_wall_clock() {
        let clock = Clock::System;
        let (first, began) = (clock.now(), unix_millis());
        while unix_millis() - began < 50 {
            std::hint::spin_loop();
        }
        let passed = clock.now().since(first);
        assert!(passed >= Duration::from_millis(30), "{passed:?}");
        assert!(passed <= Duration::from_secs(5), "{passed:?}");
    }

    #[test]
    fn fine_clock_advances_in_steps_below_a_millisecond() {
        let clock = Clock::System;
        let step = || {
            let first = clock.fine();
            loop {
                let passed = clock.fine().since(first);
                if !passed.is_zero() {
                    return passed;
                }
            }
        };
        // The smallest of several, because the thread may be preempted during one.
        let smallest = (0..20).map(|_| step()).min();
        assert!(smallest < Some(Duration::from_millis(1)), "{smallest:?}");
    }

    #[test]
    fn fine_clock_is_the_other_one_without_its_steps() {
        let clock = Clock::System;
        let (before, between, after) = (clock.now(), clock.fine(), clock.now());
        assert!(before <= between);
        assert!(after.since(between) < Duration::from_secs(5));
        let manual = ManualClock::new();
        let clock = Clock::Manual(manual.clone());
        manual.advance(Duration::from_millis(20));
        assert_eq!(clock.fine(), clock.now());
        assert_eq!(clock.fine().since(Moment::ZERO), Duration::from_millis(20));
    }
}
