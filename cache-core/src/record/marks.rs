//! The marks of a record: its tags, and the ledger of its tier before its load began.
//!
//! ```text
//! 0 number of tags  u8      1 base    u64     17 tags   u64 each
//!                           9 number  u64
//! ```
//!
//! All numbers are little-endian. The base is zero if the tier has no ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::tag::MOST_TAGS;

/// The length of the marks of a record without tags.
const WITHOUT_TAGS: usize = 1 + 2 * TAG;
const TAG: usize = size_of::<u64>();

/// The state of a ledger at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "as a record carries it")]
pub struct Mark {
    /// Identifies the run of the ledger: a random number, never 0. A ledger that was lost begins
    /// again with another base, and no number of one run is compared with a number of another.
    pub base: u64,
    /// The number of the last invalidation or expiry that the ledger has.
    pub number: u64,
}

/// The marks of a record of format 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordMarks {
    /// The ledger of the tier before the load began. The default in a tier without a ledger.
    pub(crate) mark: Mark,
    /// The digests of the tags, at most [`MOST_TAGS`].
    pub(crate) tags: Arc<[u64]>,
}

impl RecordMarks {
    /// Returns the length of the marks of a record with so many tags.
    pub(crate) const fn len_with(tags: usize) -> usize {
        WITHOUT_TAGS + tags * TAG
    }

    /// Returns `true` if they say nothing: there are no tags, and no ledger was noted.
    pub(crate) fn are_empty(&self) -> bool {
        self.mark.base == 0 && self.tags.is_empty()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // The callers keep no value with more tags, so none is left out.
        let tags = &self.tags[..self.tags.len().min(MOST_TAGS)];
        let mut bytes = Vec::with_capacity(Self::len_with(tags.len()));
        bytes.push(tags.len() as u8);
        bytes.extend(self.mark.base.to_le_bytes());
        bytes.extend(self.mark.number.to_le_bytes());
        bytes.extend(tags.iter().flat_map(|tag| tag.to_le_bytes()));
        bytes
    }

    /// Reads marks, and returns what follows them. `None` if there are none, or too many tags.
    pub(super) fn split_from(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, rest) = bytes.split_first()?;
        let count = usize::from(*count);
        if count > MOST_TAGS {
            return None;
        }
        let (base, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (tags, rest) = rest.split_at_checked(count * TAG)?;
        let (tags, _) = tags.as_chunks::<TAG>();
        let this = Self {
            mark: Mark {
                base: u64::from_le_bytes(*base),
                number: u64::from_le_bytes(*number),
            },
            tags: tags.iter().map(|tag| u64::from_le_bytes(*tag)).collect(),
        };
        Some((this, rest))
    }
}
