//! Counts of what arrived over the channel of a tier.

use serde::{Deserialize, Serialize};

use crate::stats::Counter;

/// Counters of what arrived over the channels of all shards of a tier.
#[derive(Debug, Default)]
pub(crate) struct ReceivedCounters {
    pub(super) keys: Counter,
    pub(super) functions: Counter,
    pub(super) tags: Counter,
    pub(super) everything: Counter,
    pub(super) expiries: Counter,
}

impl ReceivedCounters {
    /// Returns what was counted so far.
    pub(super) fn snapshot(&self) -> ReceivedInvalidations {
        ReceivedInvalidations {
            keys: self.keys.get(),
            functions: self.functions.get(),
            tags: self.tags.get(),
            everything: self.everything.get(),
            expiries: self.expiries.get(),
        }
    }
}

/// Number of invalidations and expiries that arrived over the channel of a tier, by what they
/// concern.
///
/// They name what they concern by a digest, so they are counted for the tier and not for a
/// function. A channel returns the messages of this instance as well, which are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReceivedInvalidations {
    /// Invalidations of a key.
    pub keys: u64,
    /// Invalidations of a function, each once for each shard.
    pub functions: u64,
    /// Invalidations of a tag, and of all tags.
    pub tags: u64,
    /// Invalidations of everything in a shard. A channel that was lost, or that has lost a message,
    /// counts here too, because it is not known what was invalidated.
    pub everything: u64,
    /// Expiries of a key, of a function or of a tag, and of everything.
    pub expiries: u64,
}
