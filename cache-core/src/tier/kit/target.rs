//! A target of an invalidation that owns its names.

use crate::tier::{FunctionKey, RecordKey, Target};

/// A [`Target`] that owns its names, for an invalidation that outlives the call it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a tier handles each target by name, as it does for `Target`"
)]
pub enum OwnedTarget {
    /// One key.
    Key(RecordKey),
    /// All keys of a function.
    Function(FunctionKey),
    /// All keys of the store's namespace.
    All,
}

impl OwnedTarget {
    /// Copies the names of a target.
    #[must_use]
    pub fn of(target: Target<'_>) -> Self {
        match target {
            Target::Key(key) => Self::Key(key.clone()),
            Target::Function(function) => Self::Function(function.clone()),
            Target::All => Self::All,
        }
    }

    /// Borrows the names.
    #[must_use]
    pub fn borrow(&self) -> Target<'_> {
        match self {
            Self::Key(key) => Target::Key(key),
            Self::Function(function) => Target::Function(function),
            Self::All => Target::All,
        }
    }
}
