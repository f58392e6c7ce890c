//! Arguments of [`RuntimeBuilder::tier`](crate::RuntimeBuilder::tier).

use crate::tier::TierBuilder;
use crate::tier::memory::Memory;

/// A value that can become a tier: [`Memory`], or the builder of a store of records.
pub trait IntoTier {
    /// Converts the value into memory or into the builder of a store.
    fn into_tier(self) -> BoxedTier;
}

/// A tier that is not built yet.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are these two")]
pub enum BoxedTier {
    /// The memory of this process.
    Memory(Memory),
    /// A store of records.
    Store(Box<dyn TierBuilder>),
}

impl IntoTier for Memory {
    fn into_tier(self) -> BoxedTier {
        BoxedTier::Memory(self)
    }
}

/// A tier that the program chose at run time.
impl IntoTier for BoxedTier {
    fn into_tier(self) -> BoxedTier {
        self
    }
}

impl<T: TierBuilder + 'static> IntoTier for T {
    fn into_tier(self) -> BoxedTier {
        BoxedTier::Store(Box::new(self))
    }
}
