//! The place of a tier in a runtime, and how long values live in it.

use std::time::Duration;

use crate::error::Error;
use crate::level::Level;
use crate::policy::LONGEST_TTL;

/// The level of a tier, how long values live in it, and whether hits are copied to the tiers above.
///
/// ```
/// use cache_core::{Level, TierConfig};
///
/// // Values live four times as long as the ttl of their function.
/// let config = TierConfig::new(Level::L3).ttl_scale(4.0);
/// assert_eq!(config.level(), Level::L3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierConfig {
    level: Level,
    ttl_scale: f64,
    promotion: Option<Promotion>,
}

/// The rule that says which values found in a tier are copied to the tiers above it.
///
/// Memory has its copy when the call returns. The tiers in between get theirs in the background,
/// from a second read under a lease of their own, so that an invalidation in the meantime voids the
/// copy. If more copies are pending than the tiers accept, further ones are skipped. A copy lives
/// no longer than the function's own ttl, whatever the scale of its tier, and never longer than the
/// record it was copied from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promotion {
    /// Copies every hit. The default, because a value that was requested is likely to be requested
    /// again.
    #[default]
    Always,
    /// Copies nothing.
    Never,
    /// Copies every `n`th hit on a key, so that rarely requested keys evict no others. Each
    /// function has 256 counters per tier; keys with the same counter are counted together. Memory
    /// keeps the value that a strong call found, whatever the promotion.
    OneIn(u32),
}

/// The lives of a function's values in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lives {
    /// The life of a value that was loaded or put: the function's ttl times the scale of the tier.
    pub(crate) filled: Duration,
    /// The longest life of a copy from a tier below: not longer than the function's own ttl. A copy
    /// also never outlives its source.
    pub(crate) copied: Duration,
}

impl TierConfig {
    /// Creates a place at this level, where values live for the ttl of their function.
    #[must_use]
    pub const fn new(level: Level) -> Self {
        Self {
            level,
            ttl_scale: 1.0,
            promotion: None,
        }
    }

    /// Creates the place of memory: values live for the ttl of their function.
    #[must_use]
    pub const fn as_l1() -> Self {
        Self::new(Level::L1)
    }

    /// Creates the place of a shared cache: values live for the ttl of their function.
    #[must_use]
    pub const fn as_l2() -> Self {
        Self::new(Level::L2)
    }

    /// Creates the place of a slower and larger store, such as a disk: values live twice as long.
    #[must_use]
    pub const fn as_l3() -> Self {
        Self {
            ttl_scale: 2.0,
            ..Self::new(Level::L3)
        }
    }

    /// Creates the place of the slowest store, such as object storage: values live eight times as
    /// long.
    #[must_use]
    pub const fn as_l4() -> Self {
        Self {
            ttl_scale: 8.0,
            ..Self::new(Level::L4)
        }
    }

    /// Sets how long values live in the tier, as a multiple of the ttl of their function. The life
    /// is at most 365 days. Default: 1.
    #[must_use]
    pub const fn ttl_scale(mut self, scale: f64) -> Self {
        self.ttl_scale = scale;
        self
    }

    /// Sets whether values that are found in the tier are copied to the tiers above it. `install`
    /// fails if it is set for the uppermost tier. Default: [`Promotion::Always`].
    #[must_use]
    pub const fn promotion(mut self, promotion: Promotion) -> Self {
        self.promotion = Some(promotion);
        self
    }

    pub(crate) fn promotes(&self) -> Promotion {
        self.promotion.unwrap_or_default()
    }

    /// Checks the place of the uppermost tier.
    ///
    /// # Errors
    /// If a promotion is set, because no tier is above it.
    pub(crate) fn check_uppermost(&self) -> Result<(), Error> {
        match self.promotion {
            None => Ok(()),
            Some(_) => Err(Error::configuration(format!(
                "{} has a promotion, but no tier is above it",
                self.level
            ))),
        }
    }

    /// Returns the level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If the scale is not positive and finite, or the promotion is one in zero.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.promotion == Some(Promotion::OneIn(0)) {
            let problem = format!("{} promotes one find in 0", self.level);
            return Err(Error::configuration(problem)
                .with_help("use `Promotion::Never` to promote nothing"));
        }
        if self.ttl_scale.is_finite() && self.ttl_scale > 0.0 {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "ttl scale of {} is {}: it must be positive and finite",
            self.level, self.ttl_scale
        )))
    }

    /// Returns the lives of values of a function with this ttl.
    pub(crate) fn lives(&self, ttl: Duration) -> Lives {
        let filled = self.life(ttl);
        Lives {
            filled,
            copied: filled.min(ttl),
        }
    }

    /// Returns the ttl of a value that has this life in the tier: the inverse of
    /// [`life`](Self::life).
    pub(crate) fn ttl_of(&self, life: Duration) -> Duration {
        let seconds = life.as_secs_f64() / self.ttl_scale;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Returns the life of a value with this ttl. It is never zero, and never longer than the
    /// longest ttl.
    fn life(&self, ttl: Duration) -> Duration {
        let seconds = ttl.as_secs_f64() * self.ttl_scale;
        if seconds >= LONGEST_TTL.as_secs_f64() {
            return LONGEST_TTL;
        }
        Duration::from_secs_f64(seconds).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_is_the_ttl_times_the_scale_within_its_limits() {
        let ttl = Duration::from_millis(300);
        let config = TierConfig::new(Level::L3);
        assert_eq!(config.life(ttl), ttl);
        assert_eq!(config.ttl_scale(2.5).life(ttl), Duration::from_millis(750));
        assert_eq!(TierConfig::as_l4().life(ttl), Duration::from_millis(2_400));
        assert_eq!(config.ttl_scale(1e300).life(ttl), LONGEST_TTL);
        assert_eq!(config.ttl_scale(1e-300).life(ttl), Duration::from_nanos(1));
        let lives = TierConfig::as_l4().lives(ttl);
        assert_eq!((lives.filled, lives.copied), (ttl * 8, ttl));
        let lives = config.ttl_scale(0.5).lives(ttl);
        assert_eq!((lives.filled, lives.copied), (ttl / 2, ttl / 2));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(config.ttl_scale(wrong).check().is_err(), "{wrong}");
        }
        assert!(config.promotion(Promotion::OneIn(0)).check().is_err());
    }
}
