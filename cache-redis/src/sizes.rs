//! How long records were when this instance last saw them.
//!
//! A read that need not return a value which the caller has is a script. Lua costs the server more
//! than a small value costs the network, so a small one is sent again. And only small records are
//! read in batches, because a large one delays the others. This is a guess: a wrong one costs a few
//! bytes or microseconds.

use std::sync::atomic::{AtomicBool, Ordering};

/// The longest record that is called small, in bytes.
const SMALL: usize = 2048;

const SLOTS: usize = 4096;

/// The sizes of records, small or not, by the digests of their keys. Keys with the same slot share
/// it.
///
/// Relaxed: the sizes order nothing.
#[derive(Debug)]
pub(crate) struct RecordSizes(Box<[AtomicBool]>);

impl Default for RecordSizes {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicBool::new(false)).collect())
    }
}

impl RecordSizes {
    /// Notes that the record of a key has this many bytes.
    pub(crate) fn note(&self, digest: u64, bytes: usize) {
        let is_small = bytes <= SMALL;
        let slot = self.slot(digest);
        // Written only if it changes, because all threads share the cache line.
        if slot.load(Ordering::Relaxed) != is_small {
            slot.store(is_small, Ordering::Relaxed);
        }
    }

    /// Returns `true` if the record was small when it was last seen.
    pub(crate) fn is_small(&self, digest: u64) -> bool {
        self.slot(digest).load(Ordering::Relaxed)
    }

    fn slot(&self, digest: u64) -> &AtomicBool {
        &self.0[digest as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_that_of_the_last_record_and_unknown_before() {
        let sizes = RecordSizes::default();
        assert!(!sizes.is_small(7));
        sizes.note(7, SMALL);
        assert!(sizes.is_small(7));
        sizes.note(7, SMALL + 1);
        assert!(!sizes.is_small(7));
    }
}
