//! The numbers of the tiers.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::error::Error;

/// The place of a tier in the look-up order: `l1` is asked first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The memory of this process.
    pub const L1: Self = Self(1);
    /// As a rule the cache that all instances share.
    pub const L2: Self = Self(2);
    /// The third tier.
    pub const L3: Self = Self(3);
    /// The fourth tier.
    pub const L4: Self = Self(4);
    /// The fifth tier.
    pub const L5: Self = Self(5);
    /// The sixth tier.
    pub const L6: Self = Self(6);
    /// The seventh tier.
    pub const L7: Self = Self(7);
    /// The eighth tier.
    pub const L8: Self = Self(8);
    /// The ninth tier.
    pub const L9: Self = Self(9);

    /// How many levels there can be.
    pub(crate) const COUNT: usize = 9;

    /// Every level, in look-up order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (1..=Self::COUNT as u8).map(Self)
    }

    /// Level `number`, from 1 to 9; `None` outside of that.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= 9 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number, from 1 to 9.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// As its text: `l1`.
impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.strip_prefix('l')
            .filter(|number| number.len() == 1)
            .and_then(|number| number.parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| {
                Error::configuration(format!("unknown tier `{text}`: tiers are `l1` to `l9`"))
            })
    }
}
