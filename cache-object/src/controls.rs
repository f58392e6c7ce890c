//! Epochs and the history: what a record must carry to be valid.
//!
//! They are in memory alone, so that an invalidation of a function is done in one step, and no write of theirs can come late or
//! be lost. An owner that leaves in order [writes](Controls::to_bytes) them for the next; after one that does not, nobody knows
//! them, and nothing that is stored counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, Stamp};
use xxhash_rust::xxh3::xxh3_64;

/// Most functions that are told apart; one more, and it is everything.
const MOST: usize = 1 << 16;

#[derive(Debug)]
pub(crate) struct Controls(Mutex<Known>);

#[derive(Debug)]
struct Known {
    history: u64,
    /// By function: of those that were voided since the history began.
    epochs: HashMap<u64, u64>,
}

/// What a function is called here. Two that are called the same are voided together.
pub(crate) fn digest_of(function: &FunctionKey) -> u64 {
    xxh3_64(function.versioned().as_bytes())
}

impl Controls {
    /// With a history that nothing was ever stored under.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Known::new()))
    }

    /// What a valid record of the function carries.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Stamp {
        self.lock().stamp(digest_of(function))
    }

    /// Whether that is what a valid record of the function carries.
    pub(crate) fn counts(&self, function: u64, stamp: Stamp) -> bool {
        self.lock().stamp(function) == stamp
    }

    /// Voids all records of a function.
    pub(crate) fn void(&self, function: &FunctionKey) {
        let mut known = self.lock();
        known.epochs.insert(digest_of(function), fresh());
        if known.epochs.len() > MOST {
            *known = Known::new();
        }
    }

    /// Voids all records: begins a new history.
    pub(crate) fn void_all(&self) {
        *self.lock() = Known::new();
    }

    /// Goes on where the last owner left off. Whether its bytes are whole; if not, nothing is changed.
    pub(crate) fn inherit(&self, bytes: &[u8]) -> bool {
        let Some(known) = Known::from_bytes(bytes) else {
            return false;
        };
        *self.lock() = known;
        true
    }

    /// For the next owner.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let known = self.lock();
        let mut bytes = known.history.to_le_bytes().to_vec();
        for (function, epoch) in &known.epochs {
            bytes.extend(function.to_le_bytes());
            bytes.extend(epoch.to_le_bytes());
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new() -> Self {
        Self {
            history: fresh(),
            epochs: HashMap::new(),
        }
    }

    fn stamp(&self, function: u64) -> Stamp {
        let epoch = self.epochs.get(&function).copied();
        Stamp {
            epoch: epoch.unwrap_or(self.history),
            history: self.history,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (history, rest) = bytes.split_first_chunk()?;
        let (pairs, rest) = rest.as_chunks::<16>();
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let epochs = pairs
            .iter()
            .map(|pair| number(&pair[..8]).zip(number(&pair[8..])));
        rest.is_empty().then_some(Self {
            history: u64::from_le_bytes(*history),
            epochs: epochs.collect::<Option<_>>()?,
        })
    }
}

/// Random, never counted: one that was lost must not come back.
fn fresh() -> u64 {
    fastrand::u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_voided_stays_void_for_who_inherits_and_what_was_not_stays_valid() {
        let (void, valid) = (FunctionKey::new("void", 1), FunctionKey::new("valid", 1));
        let controls = Controls::new();
        let old = controls.stamp(&void);
        controls.void(&void);
        let heir = Controls::new();
        let bytes = controls.to_bytes();
        assert!(!heir.inherit(&bytes[..bytes.len() - 1]), "it is torn");
        assert_ne!(heir.stamp(&valid), controls.stamp(&valid));
        assert!(heir.inherit(&bytes));
        for function in [&void, &valid] {
            assert_eq!(heir.stamp(function), controls.stamp(function));
        }
        assert!(!heir.counts(digest_of(&void), old));
        heir.void_all();
        assert_ne!(heir.stamp(&valid), controls.stamp(&valid));
        assert_ne!(heir.stamp(&FunctionKey::new("void", 2)), old);
    }

    #[test]
    fn too_many_functions_are_everything() {
        let controls = Controls::new();
        let other = FunctionKey::new("other", 1);
        let before = controls.stamp(&other);
        for version in 0..=MOST as u32 {
            controls.void(&FunctionKey::new("f", version));
        }
        assert_ne!(controls.stamp(&other), before);
        assert!(controls.to_bytes().len() < 100);
    }
}
