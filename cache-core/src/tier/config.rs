//! How a tier is added to a runtime.

use std::time::Duration;

use crate::error::Error;
use crate::function::ttl::LONGEST_TTL;
use crate::level::Level;

/// The place of a tier, and how long values live in it.
///
/// ```
/// use cache_core::{Level, TierConfig};
///
/// // Four times as long as above it.
/// let config = TierConfig::new(Level::L3).ttl_scale(4.0);
/// assert_eq!(config.level(), Level::L3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierConfig {
    level: Level,
    ttl_scale: f64,
    promotion: Option<Promotion>,
}

/// Whether a value that is found in a tier is copied to those above it.
///
/// Memory has its copy when the call returns; the tiers between get theirs afterwards, in the background, under a lease of
/// their own and from a second look, so that an invalidation meanwhile voids it. Where more is to be copied than the tiers take,
/// it is left. A copy lives for the function's own time at most, whatever the scale of its tier, and never past the end of what it
/// is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promotion {
    /// Each time. The default: what was asked for is asked for again.
    #[default]
    Always,
    /// Not at all: what is here stays here.
    Never,
    /// Every `n`th time that a key is found here, so that keys which are seldom asked for evict no others. Finds are
    /// counted in 256 counters for a function in a tier; the keys of one counter share it. Memory keeps what a strong call
    /// found, whatever the promotion.
    OneIn(u32),
}

/// How long values of a function live in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lives {
    /// What was loaded, or put there by hand: the function's time by the tier's scale.
    pub(crate) filled: Duration,
    /// A copy of what a tier below has, at most: no longer than the function's own time. Never past the end of what it is of.
    pub(crate) copied: Duration,
}

impl TierConfig {
    /// At this level; values live as long as their function says.
    #[must_use]
    pub const fn new(level: Level) -> Self {
        Self {
            level,
            ttl_scale: 1.0,
            promotion: None,
        }
    }

    /// Memory: the function's time.
    #[must_use]
    pub const fn as_l1() -> Self {
        Self::new(Level::L1)
    }

    /// A shared cache: the function's time.
    #[must_use]
    pub const fn as_l2() -> Self {
        Self::new(Level::L2)
    }

    /// Slower and larger, such as a disk: twice the function's time.
    #[must_use]
    pub const fn as_l3() -> Self {
        Self {
            ttl_scale: 2.0,
            ..Self::new(Level::L3)
        }
    }

    /// The slowest, such as object storage: eight times the function's time.
    #[must_use]
    pub const fn as_l4() -> Self {
        Self {
            ttl_scale: 8.0,
            ..Self::new(Level::L4)
        }
    }

    /// How long values live in it, as a multiple of what their function says for it. At most 365 days come of it.
    #[must_use]
    pub const fn ttl_scale(mut self, scale: f64) -> Self {
        self.ttl_scale = scale;
        self
    }

    /// Whether what is found in it is copied to the tiers above it. An error at `install` for the uppermost.
    #[must_use]
    pub const fn promotion(mut self, promotion: Promotion) -> Self {
        self.promotion = Some(promotion);
        self
    }

    pub(crate) fn promotes(&self) -> Promotion {
        self.promotion.unwrap_or_default()
    }

    /// # Errors
    /// A promotion of what is in the uppermost tier.
    pub(crate) fn check_uppermost(&self) -> Result<(), Error> {
        match self.promotion {
            None => Ok(()),
            Some(_) => Err(Error::configuration(format!(
                "{} has a promotion, but no tier is above it",
                self.level
            ))),
        }
    }

    /// Its level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// # Errors
    /// A scale by which no time can be multiplied; a promotion of one in none.
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

    /// How long values of a function with this ttl live in it.
    pub(crate) fn lives(&self, ttl: Duration) -> Lives {
        let filled = self.life(ttl);
        Lives {
            filled,
            copied: filled.min(ttl),
        }
    }

    /// The ttl of what lives so long in it.
    pub(crate) fn ttl_of(&self, life: Duration) -> Duration {
        let seconds = life.as_secs_f64() / self.ttl_scale;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// Never zero, and never longer than a ttl may be.
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
    fn a_life_is_the_ttl_by_the_scale() {
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
