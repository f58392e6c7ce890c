//! Marks of records and the ledger of a tier: how a tagged record is invalidated, and how a value
//! is expired, without its key being known.
//!
//! A tier that keeps a *ledger* counts the invalidations of tags. It remembers for each tag the
//! number of its last invalidation, and likewise for whatever was expired. A lease on a key of a
//! [marked](super::FunctionKey::is_marked) function carries the [`Mark`] of the ledger, from before
//! the load begins, and the record that is stored under the lease carries this mark and its tags.
//! The reader compares them with the ledger: a record is valid if no tag of it was invalidated
//! after its mark. So the cost of an invalidation does not depend on the number of records that
//! carry the tag.

use std::slice;
use std::time::Duration;

use super::key::{FunctionKey, RecordKey};
use super::operation::TierFuture;
pub use crate::record::Mark;

/// The marks of a record: all that a ledger judges it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a ledger judges by all of them")]
pub struct Marks<'a> {
    /// The ledger before the load of the record began.
    pub mark: Mark,
    /// The digests of the tags, at most 64.
    pub tags: &'a [u64],
    /// The digest of the record's key.
    pub key: u64,
    /// The digest of the record's function.
    pub function: u64,
}

/// State of a record by a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum MarksState {
    /// Nothing has happened to it since its load began.
    Valid,
    /// Its key, its function or a tag of it was expired: the value is stale, and may be returned as
    /// far as the function returns stale values.
    Expired,
    /// A tag of it was invalidated, or the ledger does not reach back to its mark.
    Invalidated,
}

/// Values that are made stale instead of being invalidated.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a tier that took a new target for another one would keep values fresh"
)]
pub enum Expiry<'a> {
    /// The value of one key.
    Key(&'a RecordKey),
    /// All values of a function.
    Function(&'a FunctionKey),
    /// All values that carry one of the tags with these digests.
    Tags(&'a [u64]),
}

impl<'a> Expiry<'a> {
    /// Returns the digest of the key or of the function, or the digests of the tags.
    #[must_use]
    pub fn digests(&self) -> &'a [u64] {
        match self {
            Self::Key(key) => slice::from_ref(&key.digest),
            Self::Function(function) => slice::from_ref(&function.digest),
            Self::Tags(tags) => tags,
        }
    }
}

/// The ledger of a tier, as readers of records ask it.
///
/// A store of several shards has a ledger for each shard, which judges the records of that shard.
pub trait Ledger: Send + Sync {
    /// Notes that records of this tier are judged by the ledger from now on. The tier then follows
    /// it, so that [`state`](Self::state) can answer. MUST NOT wait. Called once for each marked
    /// function that uses the tier.
    fn enable(&self);

    /// Judges a record by what the tier's channel has announced. Returns `None` while that is not
    /// reliably known: the instance is not coherent, or has not loaded the ledger yet. MUST NOT
    /// wait or allocate.
    fn state(&self, marks: Marks<'_>) -> Option<MarksState>;

    /// Judges a record by the ledger in the store at this moment.
    ///
    /// # Errors
    /// As rule 4 of [`Tier`](super::Tier). The record is not used then.
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn state_in_store<'a>(
        &'a self,
        marks: Marks<'a>,
        within: Duration,
    ) -> TierFuture<'a, MarksState>;

    /// Judges a record as [`state_in_store`](Self::state_in_store) does, for an operator. A tier
    /// whose breaker counts the results of operations MUST NOT count this one. Default: asks
    /// [`state_in_store`](Self::state_in_store).
    ///
    /// # Errors
    /// As [`state_in_store`](Self::state_in_store).
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn inspect<'a>(&'a self, marks: Marks<'a>, within: Duration) -> TierFuture<'a, MarksState> {
        self.state_in_store(marks, within)
    }

    /// Returns `true` if an invalidation of one of the tags is [queued](super::Receipt::Queued).
    /// While it is, no record that carries the tag is used or stored by this instance. MUST NOT
    /// wait.
    fn is_pending(&self, tags: &[u64]) -> bool;
}
