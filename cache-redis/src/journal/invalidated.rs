//! The invalidations of the journal: of keys and of tags.

use cache_core::tier::Target;
use cache_core::tier::kit::OwnedTarget;

/// An invalidation that owns its names: the call that it is from may have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invalidated {
    /// Keys, by their names.
    Target(OwnedTarget),
    /// The values with one of the tags that have these digests.
    Tags(Vec<u64>),
    /// All values with tags.
    AllTags,
}

impl Invalidated {
    /// Copies the names of a target.
    pub(crate) fn of(target: Target<'_>) -> Self {
        Self::Target(OwnedTarget::of(target))
    }
}
