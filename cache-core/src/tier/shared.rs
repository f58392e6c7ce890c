//! The contract of a tier whose store is used by several instances.

use std::sync::Arc;
use std::time::Duration;

use super::key::RecordKey;
use super::lease::{Deadlock, HeldLease};
use super::operation::TierFuture;
use super::waits::ShardWaits;
use crate::coherence::Coherence;
use crate::error::Error;

/// A tier whose store is used by several instances.
///
/// A shared tier is the truth for all of them. It MUST have a channel that carries the
/// invalidations of every instance to all others, and MUST report them to the
/// [`Peers`](super::Peers) of its [`TierContext`](super::TierContext).
/// [`Tier::invalidate`](super::Tier::invalidate) MUST publish to the channel after it has deleted
/// the records, or in the same step, and MUST NOT return [`Acked`](super::Receipt::Acked) before
/// that. In the same step is better: if the process dies between the two, other instances keep the
/// old value in memory until it expires.
pub trait SharedTier: Send + Sync {
    /// Returns the state of the channel.
    ///
    /// The runtime serves from memory only while the channel is coherent. The tier MUST prove
    /// coherence by barriers and MUST revoke it as soon as a message may have been lost. Called on
    /// every miss, so it MUST NOT allocate.
    fn coherence(&self) -> &Arc<Coherence>;

    /// Returns the number of the current link to the store.
    ///
    /// It MUST differ from every earlier number if the store may not know what an earlier link
    /// acknowledged: the connection was lost, and the server behind a new one may be another.
    /// Called for operations that fail, so it MUST NOT wait.
    fn link(&self) -> u64;

    /// Tells whether the wait for the lease on `awaited`, which another instance holds, would never
    /// end: because the load under that lease waits for one of `held`, directly or through other
    /// loads and instances.
    ///
    /// In a store of several shards this concerns the leases of one shard; see
    /// [`shard_waits`](Self::shard_waits) for rings through several.
    ///
    /// `held` are leases of this process that this tier granted and whose loads cannot end before
    /// the wait does; it has at least one element. The store MUST remember the wait for the callers
    /// that ask next, so that exactly one caller of a ring learns of it.
    ///
    /// The runtime asks before every such wait. After [`Deadlock::Unknown`] the caller waits at
    /// most two seconds and then runs its own body. If the question fails, the runtime asks again,
    /// three times within the two seconds, so asking twice MUST be harmless. Each question has the
    /// time limit of the tier. Default: `Unknown`.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`TimedOut`](crate::ErrorKind::TimedOut)
    /// if the store was not reached or did not answer.
    ///
    /// # Cancel safety
    /// If the future is dropped, the store may or may not remember the wait.
    fn deadlock<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a RecordKey,
        within: Duration,
    ) -> TierFuture<'a, Deadlock> {
        let _ = (held, awaited, within);
        Box::pin(async { Ok(Deadlock::Unknown) })
    }

    /// Returns the waits that the tier notes as one shard of a store, by which rings of loads
    /// through several shards are found. MUST NOT allocate or wait. If one shard has none, the
    /// answer about every wait is [`Deadlock::Unknown`]. Not used for a store with one shard.
    /// Default: `None`.
    fn shard_waits(&self) -> Option<&dyn ShardWaits> {
        None
    }

    /// Waits until at least `replicas` replicas of the store have everything that was acknowledged
    /// before. Default: fails, for a store without replicas.
    ///
    /// # Errors
    /// [`TimedOut`](crate::ErrorKind::TimedOut) if fewer replicas have it within the time;
    /// [`Configuration`](crate::ErrorKind::Configuration) if the store has no replicas.
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        let _ = (replicas, within);
        Box::pin(async { Err(Error::configuration("the tier has no replicas to wait for")) })
    }
}
