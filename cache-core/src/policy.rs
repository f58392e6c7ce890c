//! What a function asks of the cache: how long, where, under which version.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::Error;
use crate::key::Piece;
use crate::level::Level;

/// Longest time to live. A value that is right for more than a year belongs in a store, and a longer one is far more
/// often a mistaken unit.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a value is fresh: the same in every tier, or each its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl([Option<Duration>; Level::COUNT]);

impl Ttl {
    /// The same in every tier.
    #[must_use]
    pub const fn everywhere(ttl: Duration) -> Self {
        Self([Some(ttl); Level::COUNT])
    }

    /// Each tier its own; a tier that is not named has none, and a function that uses it is refused by `install`.
    #[must_use]
    pub const fn each(ttls: &[(Level, Duration)]) -> Self {
        let mut each = [None; Level::COUNT];
        let mut at = 0;
        while at < ttls.len() {
            let (level, ttl) = ttls[at];
            each[level.number() as usize - 1] = Some(ttl);
            at += 1;
        }
        Self(each)
    }

    /// The time to live in `level`.
    pub(crate) fn of(&self, level: Level) -> Option<Duration> {
        self.0[usize::from(level.number()) - 1]
    }

    /// # Errors
    /// When a time is zero or longer than a year, or there is none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.iter().all(Option::is_none) {
            return Err(Error::configuration("use a ttl that names no tier"));
        }
        for ttl in self.0.iter().flatten() {
            if ttl.is_zero() {
                return Err(Error::configuration(
                    "use a ttl of zero: nothing would ever be a hit",
                ));
            }
            if *ttl > LONGEST_TTL {
                return Err(Error::configuration(format!(
                    "use a ttl of {}: the longest is 365 days",
                    humantime::format_duration(*ttl)
                )));
            }
        }
        Ok(())
    }
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::everywhere(ttl)
    }
}

impl<const N: usize> From<[(Level, Duration); N]> for Ttl {
    fn from(ttls: [(Level, Duration); N]) -> Self {
        Self::each(&ttls)
    }
}

/// All that a function asks, as its attribute or its builder says it.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) ttl: Ttl,
    /// In look-up order; `None` is every tier that the runtime has.
    pub(crate) tiers: Option<Cow<'static, [Level]>>,
    pub(crate) version: u32,
    /// `None` is the runtime's.
    pub(crate) codec: Option<Cow<'static, str>>,
    /// How shared tiers show the arguments; empty shows them all.
    pub(crate) template: &'static [Piece],
}
