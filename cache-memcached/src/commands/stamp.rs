//! The stamp that a valid record carries.

use cache_core::tier::Stamp;

use crate::item::Item;

/// Returns the stamp that the items of an epoch and a history make; `None` if one of them is
/// missing.
pub(super) fn stamp_of(epoch: Option<&Item>, history: Option<&Item>) -> Option<Stamp> {
    Some(Stamp {
        epoch: epoch?.number()?,
        history: history?.number()?,
    })
}
