//! Levels of tiers, and sets of levels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;

/// Place of a tier in the look-up order: `l1` is read first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The memory of this process.
    pub const L1: Self = Self(1);
    /// The second tier, usually the cache that all instances share.
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

    /// Number of levels.
    pub(crate) const COUNT: usize = 9;

    /// Returns every level, in look-up order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (1..=Self::COUNT as u8).map(Self)
    }

    /// Returns level `number`, or `None` if it is not from 1 to 9.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= 9 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Returns the number of the level, from 1 to 9.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the text of the level, such as `l1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; Level::COUNT] = ["l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "l9"];
        NAMES[self.0 as usize - 1]
    }
}

/// Serializes the level as its text, such as `l1`.
impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the text of a level.
impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

/// Set of levels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Levels(u16);

impl Levels {
    /// The level of memory alone.
    pub(crate) const MEMORY: Self = Self::of(&[Level::L1]);

    /// Returns the set of `levels`.
    #[must_use]
    pub const fn of(levels: &[Level]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < levels.len() {
            set |= 1 << levels[at].0;
            at += 1;
        }
        Self(set)
    }

    /// Returns the set of `levels`.
    ///
    /// # Errors
    /// A level is listed twice. The error is that level.
    pub(crate) fn distinct(levels: impl IntoIterator<Item = Level>) -> Result<Self, Level> {
        let mut set = Self(0);
        for level in levels {
            if set.contains(level) {
                return Err(level);
            }
            set.0 |= 1 << level.0;
        }
        Ok(set)
    }

    /// Returns `true` if no level is in the set.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if `level` is in the set.
    pub(crate) const fn contains(self, level: Level) -> bool {
        self.0 & (1 << level.0) != 0
    }

    /// Returns `true` if every level of the set is in `other`.
    pub(crate) const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Returns the levels of the set, in look-up order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Level> {
        Level::all().filter(move |level| self.contains(*level))
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        Self(levels.into_iter().fold(0, |set, level| set | 1 << level.0))
    }
}

/// Formats the set as the attribute takes it, such as `l1,l2`.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(|level| level.to_string()).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromStr for Levels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut levels = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name.is_empty() {
                return Err(
                    Error::configuration(format!("`{text}` is not a list of tiers"))
                        .with_help("write them in one word, such as `l1,l2`"),
                );
            }
            levels.push(name.parse()?);
        }
        Self::distinct(levels)
            .map_err(|level| Error::configuration(format!("`{text}` lists {level} twice")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_of_levels_is_in_look_up_order_however_it_is_written() {
        let levels: Levels = "l3, l1".parse().unwrap();
        assert_eq!(levels, Levels::of(&[Level::L1, Level::L3]));
        assert_eq!(levels.to_string(), "l1,l3");
        assert!(levels.contains(Level::L3) && !levels.contains(Level::L2));
        assert!(Levels::MEMORY.is_within(levels) && !levels.is_within(Levels::MEMORY));
        let all: Levels = Level::all().collect();
        assert_eq!(all.iter().count(), Level::COUNT);
    }

    #[test]
    fn list_of_levels_with_a_level_twice_is_an_error() {
        assert_eq!(Levels::distinct([Level::L1, Level::L1]), Err(Level::L1));
        let error = "l1,l2,l1".parse::<Levels>().unwrap_err();
        assert_eq!(error.to_string(), "`l1,l2,l1` lists l1 twice");
    }
}
