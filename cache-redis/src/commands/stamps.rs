//! The stamps that several keys of one script carry, each written once.

use std::sync::Arc;

use cache_core::tier::{FunctionKey, Stamp};

use super::command::Invocation;
use crate::keys::Keys;

/// A stamp, and the function that its epoch is of.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    pub(crate) function: Arc<FunctionKey>,
    pub(crate) stamp: Stamp,
}

impl Stamped {
    fn is_same(&self, other: &Self) -> bool {
        self.stamp == other.stamp && is_same(&self.function, &other.function)
    }
}

/// Returns `true` if both are the same function.
pub(crate) fn is_same(one: &Arc<FunctionKey>, other: &Arc<FunctionKey>) -> bool {
    Arc::ptr_eq(one, other) || (one.digest == other.digest && **one == **other)
}

/// Writes the names of the epochs as keys. Writes as arguments their number, for each of `of` one
/// byte with the index of its stamp, and for each stamp the epoch and the number of the history.
pub(super) fn write<'a>(
    of: impl Iterator<Item = &'a Stamped>,
    keys: &Keys,
    invocation: &mut Invocation,
) {
    let mut stamps: Vec<&Stamped> = Vec::new();
    let indices = of.map(|one| {
        let known = stamps.iter().position(|known| known.is_same(one));
        known.unwrap_or_else(|| {
            stamps.push(one);
            stamps.len() - 1
        })
    });
    let indices: Vec<u8> = indices
        .map(|index| u8::try_from(index).expect("a batch has at most 256 requests"))
        .collect();
    invocation.arg(stamps.len()).arg(indices);
    for Stamped { function, stamp } in stamps {
        invocation
            .key(keys.epoch(function))
            .arg(stamp.epoch)
            .arg(stamp.history);
    }
}
