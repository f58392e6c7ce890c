//! The arguments and the results of the operations on a tier.

use std::future::Future;
use std::pin::Pin;

use super::key::{FunctionKey, RecordKey};
use crate::error::Error;
use crate::function::options::Consistency;
use crate::record::{Etag, Stamp};
use crate::stats::Refusal;
use crate::trace::Changed;

/// A future that a tier returns. If it is dropped, its operation is either done or not done, never
/// half done.
pub type TierFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The length of a record's header in bytes. The header includes a checksum of the whole record, so
/// it tells a record from every other record of its key.
pub const HEADER_LEN: usize = crate::record::HEADER;

/// Options of [`Tier::read`](super::Tier::read).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// How recent the returned stamp must be. [`Strong`](Consistency::Strong): it is the stamp at
    /// the moment of the read. [`Bounded`](Consistency::Bounded): the stamp that the tier's channel
    /// last announced is enough, while the channel is [coherent](super::SharedTier::coherence).
    pub consistency: Consistency,
    /// The etag of a record that the caller already has. If the store still holds that record, the
    /// tier may return its first [`HEADER_LEN`] bytes only.
    pub if_none_match: Option<Etag>,
}

/// The result of [`Tier::read`](super::Tier::read).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadResult {
    /// The bytes of the record, if the store holds one that has not expired. Its first
    /// [`HEADER_LEN`] bytes only, if [`if_none_match`](ReadOptions::if_none_match) named it.
    pub record: Option<Vec<u8>>,
    /// The stamp that a valid record carries. `None` if the store does not know: then no record of
    /// the function is valid.
    pub stamp: Option<Stamp>,
}

impl ReadResult {
    /// Creates a result from the record and the stamp that a valid record carries.
    #[must_use]
    pub fn new(record: Option<Vec<u8>>, stamp: Option<Stamp>) -> Self {
        Self { record, stamp }
    }
}

/// The result of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FillResult {
    /// The record is stored.
    Stored,
    /// Nothing is stored, for this reason.
    Refused(Refusal),
}

/// The keys that an invalidation deletes.
///
/// A tier handles each target by name, without a `_` arm: if a target is added, every tier that
/// does not handle it yet fails to compile.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a tier that took a new target for another one would keep stale records, or drop all"
)]
pub enum Target<'a> {
    /// One key.
    Key(&'a RecordKey),
    /// All keys of a function, in one step.
    Function(&'a FunctionKey),
    /// All keys of the store's namespace, in one step.
    All,
}

/// How far an invalidation got when it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum Receipt {
    /// Done in every tier. Other instances apply it within their staleness bound.
    Acked,
    /// Done in this process. Some tier was unreachable and is invalidated once it is reachable
    /// again. Until then other instances may return the old value.
    Queued,
}

impl Changed for Receipt {
    fn receipt(&self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Queued => "queued",
        }
    }
}

/// The result of an invalidation by [pattern](crate::tier::Glob).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matched {
    /// The number of keys that matched, in the tier that had most. Zero if no key matched, or if no
    /// tier could count them: a store that cannot list its keys, or is unreachable, invalidates the
    /// whole function.
    pub keys: u64,
    /// `Acked` if every tier has done it.
    pub receipt: Receipt,
}

impl Changed for Matched {
    fn receipt(&self) -> &'static str {
        self.receipt.receipt()
    }
}

impl Matched {
    /// No key matched, and nothing is queued.
    pub(crate) const NONE: Self = Self {
        keys: 0,
        receipt: Receipt::Acked,
    };

    /// Combines the results of one function in two tiers. A key that both tiers have is counted
    /// once.
    pub(crate) fn in_both(self, other: Self) -> Self {
        Self {
            keys: self.keys.max(other.keys),
            receipt: self.receipt.max(other.receipt),
        }
    }

    /// Adds up the results of two functions.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            receipt: self.receipt.max(other.receipt),
        }
    }
}
