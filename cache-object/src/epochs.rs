//! The epochs of the store. They are in memory only, so that the invalidation of a function takes
//! no request, and no write of an epoch can be late or lost.
//!
//! An owner that shuts down in order [writes](ObjectEpochs::to_bytes) its epochs for the next
//! owner. After an owner that does not, the epochs are not known, and none of the stored records is
//! valid.

use std::collections::HashMap;

use cache_core::tier::kit::Epochs;
use cache_core::tier::{FunctionKey, Stamp};
use xxhash_rust::xxh3::xxh3_64;

/// The history and the epochs, by [digest](digest_of) of the function.
#[derive(Debug, Default)]
pub(crate) struct ObjectEpochs(Epochs<u64>);

/// Returns the digest of a function, by which objects name it. Two functions with one digest are
/// voided together.
pub(crate) fn digest_of(function: &FunctionKey) -> u64 {
    xxh3_64(function.versioned().as_bytes())
}

impl ObjectEpochs {
    /// Returns the stamp that a valid record of the function carries.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Stamp {
        self.0.stamp(&digest_of(function))
    }

    /// Returns `true` if a valid record of the function with this digest carries the stamp.
    pub(crate) fn is_current(&self, function: u64, stamp: Stamp) -> bool {
        self.0.stamp(&function) == stamp
    }

    /// Voids all records of a function.
    pub(crate) fn void(&self, function: &FunctionKey) {
        let Ok(()) = self.0.void(digest_of(function));
    }

    /// Voids all records, by a new history.
    pub(crate) fn void_all(&self) {
        let Ok(()) = self.0.void_all();
    }

    /// Continues with the epochs of the last owner. Returns `false` and changes nothing if `bytes`
    /// are not complete.
    pub(crate) fn inherit(&self, bytes: &[u8]) -> bool {
        let Some((history, epochs)) = parse(bytes) else {
            return false;
        };
        self.0.replace(history, epochs);
        true
    }

    /// Returns the epochs for the next owner: the history, and a digest and an epoch for each
    /// voided function.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (history, epochs) = self.0.snapshot();
        let mut bytes = history.to_le_bytes().to_vec();
        for (function, epoch) in epochs {
            bytes.extend(function.to_le_bytes());
            bytes.extend(epoch.to_le_bytes());
        }
        bytes
    }
}

fn parse(bytes: &[u8]) -> Option<(u64, HashMap<u64, u64>)> {
    let (history, rest) = bytes.split_first_chunk()?;
    let (pairs, rest) = rest.as_chunks::<16>();
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let epochs = pairs
        .iter()
        .map(|pair| number(&pair[..8]).zip(number(&pair[8..])))
        .collect::<Option<_>>()?;
    rest.is_empty()
        .then_some((u64::from_le_bytes(*history), epochs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_epochs_keep_void_functions_void_and_others_valid() {
        let (void, valid) = (FunctionKey::new("void", 1), FunctionKey::new("valid", 1));
        let epochs = ObjectEpochs::default();
        let old = epochs.stamp(&void);
        epochs.void(&void);
        let heir = ObjectEpochs::default();
        let bytes = epochs.to_bytes();
        assert!(!heir.inherit(&bytes[..bytes.len() - 1]), "torn bytes");
        assert_ne!(heir.stamp(&valid), epochs.stamp(&valid));
        assert!(heir.inherit(&bytes));
        for function in [&void, &valid] {
            assert_eq!(heir.stamp(function), epochs.stamp(function));
        }
        assert!(!heir.is_current(digest_of(&void), old));
        heir.void_all();
        assert_ne!(heir.stamp(&valid), epochs.stamp(&valid));
        assert_ne!(heir.stamp(&FunctionKey::new("void", 2)), old);
    }
}
