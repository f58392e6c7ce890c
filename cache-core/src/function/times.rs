//! Times of a function besides its ttl: how long a stale value may be returned, how long callers
//! wait for a load, and for how long results that are no values are kept.

pub(crate) mod option;
mod rules;

use std::time::Duration;

/// Times of a function besides its ttl. Each is `None` for a function without the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an expansion writes its fields; core and macros have one version"
)]
pub struct Times {
    /// Time after the end of the ttl in which a call returns the stale value at once, while one
    /// load in the background replaces it.
    pub stale_while_revalidate: Option<Duration>,
    /// Time after the end of the ttl in which a call returns the stale value if its load fails.
    pub stale_if_error: Option<Duration>,
    /// Time from the beginning of a load after which callers get the stale value, while the load
    /// continues in the background.
    pub soft_timeout: Option<Duration>,
    /// Longest time that a caller waits for a load, its own or another caller's.
    pub hard_timeout: Option<Duration>,
    /// Time from the beginning of a load after which its body is dropped.
    pub load_limit: Option<Duration>,
    /// Choice to load a value again in the background if it is requested shortly before it expires.
    pub refresh_ahead: Option<RefreshAhead>,
    /// Largest part of a life, in percent, by which it is shortened.
    pub jitter: Option<u8>,
    /// Time for which the result that there is no value is kept.
    pub none_ttl: Option<Duration>,
    /// Time for which an error is kept in memory.
    pub error_ttl: Option<Duration>,
}

/// The shortest load for which a value is loaded again before it expires, unless the code says how
/// long before. Records have the times of their loads in milliseconds.
const SHORTEST_LOAD: Duration = Duration::from_millis(1);

/// How long before its end a value is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum RefreshAhead {
    /// Two to several times as long as its last load took.
    Measured,
    /// The larger of this time and the [`Measured`](Self::Measured) one.
    AtLeast(Duration),
}

impl From<Duration> for RefreshAhead {
    fn from(ahead: Duration) -> Self {
        Self::AtLeast(ahead)
    }
}

impl RefreshAhead {
    /// Returns how long before the end of its life a value is due, whose load took `load`. Zero if
    /// it is not loaded ahead. `random` is from 0 to 1, without 1.
    ///
    /// The measured gap is the time of the load times two plus an exponentially distributed number
    /// of mean one: a load that begins then most often ends before the value expires, and several
    /// instances do not begin at the same moment. (Vattani, Chierichetti and Lowenstein draw at
    /// each hit, "Optimal Probabilistic Cache Stampede Prevention", 2015. One draw costs no hit
    /// anything.) It is half of the life at most, so that a slow load does not run all the time. A
    /// load that takes less than a millisecond is not worth it.
    ///
    /// The gap that the code gives is kept, if the life is longer than that. In a shorter life (of
    /// a copy, or of a value with a ttl of its own) it is half of the life: otherwise the value
    /// would be due as soon as it is kept, and each load would be followed by the next.
    pub(crate) fn gap(self, life: Duration, load: Duration, random: f64) -> Duration {
        let half = life / 2;
        let measured = match load < SHORTEST_LOAD {
            true => Duration::ZERO,
            // No load is longer than the life, as far as the gap is concerned.
            false => load.min(life).mul_f64(2.0 - (1.0 - random).ln()).min(half),
        };
        match self {
            Self::Measured => measured,
            Self::AtLeast(gap) if gap < life => gap.max(measured),
            Self::AtLeast(_) => half,
        }
    }

    /// Returns the smallest [`gap`](Self::gap) that can be drawn.
    pub(crate) fn least_gap(self, life: Duration, load: Duration) -> Duration {
        self.gap(life, load, 0.0)
    }
}

/// Shortens a life by up to `percent`, depending on the digest of the key, so that results that are
/// stored together do not expire together, which would load all of them at once. It is the same in
/// all tiers.
pub(crate) fn shortened(life: Duration, percent: u8, digest: u64) -> Duration {
    const SHARES: u64 = 1 << 16;
    let share = (digest % SHARES) as f64 / SHARES as f64;
    life - life.mul_f64(share * f64::from(percent) / 100.0)
}

impl Times {
    /// The times of a function without any of these options.
    pub const NONE: Self = Self {
        stale_while_revalidate: None,
        stale_if_error: None,
        soft_timeout: None,
        hard_timeout: None,
        load_limit: None,
        refresh_ahead: None,
        jitter: None,
        none_ttl: None,
        error_ttl: None,
    };

    /// Returns `true` if loads of the function may continue after their callers were answered.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.stale_while_revalidate.is_some()
            || self.refresh_ahead.is_some()
            || self.soft_timeout.is_some()
            || self.hard_timeout.is_some()
    }

    /// Returns the longest time after its end in which a value may be returned. Zero without a
    /// window.
    pub(crate) fn longest_window(&self) -> Duration {
        let revalidate = self.stale_while_revalidate.unwrap_or_default();
        revalidate.max(self.stale_if_error.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(60);
    const LOAD: Duration = Duration::from_secs(1);

    #[test]
    fn measured_gap_is_two_loads_and_an_exponential_draw() {
        let gap = |random| RefreshAhead::Measured.gap(LIFE, LOAD, random);
        assert_eq!(gap(0.0), LOAD * 2);
        assert_eq!(RefreshAhead::Measured.least_gap(LIFE, LOAD), LOAD * 2);
        let median = gap(0.5).as_secs_f64();
        assert!((median - 2.693).abs() < 0.001, "{median}");
        let draws = (0..1_000).map(|n| gap(f64::from(n) / 1_000.0).as_secs_f64());
        let mean = draws.sum::<f64>() / 1_000.0;
        assert!((mean - 3.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn measured_gap_is_at_most_half_of_the_life() {
        let gap = |load, random| RefreshAhead::Measured.gap(LIFE, load, random);
        assert_eq!(gap(LIFE, 0.0), LIFE / 2);
        assert_eq!(gap(LOAD, 1.0_f64.next_down()), LIFE / 2);
        assert_eq!(gap(Duration::MAX / 1_000_000, 0.5), LIFE / 2);
    }

    #[test]
    fn load_of_less_than_a_millisecond_is_not_done_ahead() {
        let gap = |load| RefreshAhead::Measured.gap(LIFE, load, 0.0);
        assert_eq!(gap(SHORTEST_LOAD - Duration::from_nanos(1)), Duration::ZERO);
        assert_eq!(gap(SHORTEST_LOAD), SHORTEST_LOAD * 2);
        let given = RefreshAhead::AtLeast(LOAD);
        assert_eq!(given.gap(LIFE, Duration::ZERO, 0.0), LOAD);
    }

    #[test]
    fn given_gap_is_never_less_than_the_measured_one() {
        let gap = |given, life| RefreshAhead::AtLeast(given).gap(life, LOAD, 0.0);
        assert_eq!(gap(LOAD, LIFE), LOAD * 2);
        assert_eq!(gap(LOAD * 3, LIFE), LOAD * 3);
        assert_eq!(gap(LIFE - LOAD, LIFE), LIFE - LOAD);
    }

    #[test]
    fn given_gap_is_half_of_a_life_that_is_not_longer() {
        let gap = |given, life| RefreshAhead::AtLeast(given).gap(life, LOAD, 0.0);
        assert_eq!(gap(LIFE, LIFE), LIFE / 2);
        assert_eq!(gap(LIFE * 2, LIFE), LIFE / 2);
    }

    #[test]
    fn life_is_shortened_by_a_share_that_depends_on_the_digest() {
        assert_eq!(shortened(LIFE, 10, 0), LIFE);
        assert_eq!(shortened(LIFE, 10, 1 << 15), LIFE.mul_f64(0.95));
        assert_eq!(shortened(LIFE, 0, u64::MAX), LIFE);
        let least = shortened(LIFE, 50, u64::MAX);
        assert!(least > LIFE / 2 && least < LIFE.mul_f64(0.501), "{least:?}");
    }
}
