//! Rings of loads that wait for each other, in a store of several shards.
//!
//! Each shard notes the waits of the loads whose leases it granted. A caller first notes its own
//! wait beside each lease that it holds, and then follows the waits from shard to shard, from the
//! lease that it waits for. If it arrives at a lease that it holds, the wait closes a ring. This is
//! edge chasing (Chandy, Misra and Haas 1983).
//!
//! The notes come before the search. So the caller whose note completes a ring sees all of it, and
//! at least one caller of each ring runs its own load. Several do if they search at the same time;
//! a ring inside one shard is found by the shard itself, in one step, and by exactly one caller. A
//! wait that has ended, while both of its leases are still held, can look like a part of a ring:
//! this costs a load too.

use std::time::Duration;

use super::key::RecordKey;
use super::lease::{Deadlock, HeldLease};
use super::operation::TierFuture;
use super::shard::Shard;
use crate::error::Error;
use crate::join::join_all;

/// The most leases that a search looks at. A ring has as many as there are loads nested in it.
const MOST_SEEN: usize = 1_000;

/// A lease that loads wait for, as the shards of a store name it to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AwaitedLease {
    /// The index of the shard that granted the lease.
    pub shard: u8,
    /// The [name](RecordKey::name) of its key.
    pub name: String,
    /// The token of the lease.
    pub token: u64,
}

impl AwaitedLease {
    /// Creates the name of a lease.
    #[must_use]
    pub fn new(shard: u8, name: String, token: u64) -> Self {
        Self { shard, name, token }
    }
}

/// The waits that one shard of a store notes for all instances, as
/// [`SharedTier::shard_waits`](super::SharedTier::shard_waits) returns it.
///
/// A note says that the load under a lease waits for another lease, of this shard or of another
/// one. It ends with either lease: a lease that is not held any more, or is held under another
/// token, waits for nothing, and nothing waits for it. The shard may forget a note after the
/// longest time that a lease can be held.
///
/// All of them together are the wait-for graph of the store, of which each shard has its part.
///
/// # Errors
/// All methods fail as the other operations of a [tier](super::Tier) do.
///
/// # Cancel safety
/// All methods are cancel safe. If the future of `note_waits` or `forget_waits` is dropped before
/// it is ready, it is unknown whether the notes are there. A note that stays ends with its leases,
/// and can only cost a load.
pub trait ShardWaits: Send + Sync {
    /// Returns the token of the lease that callers of the key wait for, if one is held.
    fn holder<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Option<u64>>;

    /// Notes that the loads under `held`, which this shard granted, wait for `awaited`. MUST be
    /// visible to [`waits_of`](Self::waits_of) of every instance when it returns.
    fn note_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        within: Duration,
    ) -> TierFuture<'a, ()>;

    /// Removes what [`note_waits`](Self::note_waits) or
    /// [`deadlock`](super::SharedTier::deadlock) noted of these leases, because the caller does not
    /// wait.
    fn forget_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        within: Duration,
    ) -> TierFuture<'a, ()>;

    /// Returns the leases that the loads under `leases` wait for, as far as they are noted. A lease
    /// of `leases` that this shard does not hold any more waits for nothing.
    fn waits_of<'a>(
        &'a self,
        leases: &'a [AwaitedLease],
        within: Duration,
    ) -> TierFuture<'a, Vec<AwaitedLease>>;
}

/// A wait of a call for a lease, and the leases whose loads cannot end before it.
pub(super) struct Wait<'a> {
    pub(super) shard: Shard,
    pub(super) held: &'a [HeldLease],
    pub(super) awaited: &'a RecordKey,
    /// The time for each step.
    pub(super) within: Duration,
}

impl Wait<'_> {
    /// Notes the wait, and tells whether it closes a ring. `graphs` are those of all shards.
    pub(super) async fn closes_ring(&self, graphs: &[&dyn ShardWaits]) -> Result<Deadlock, Error> {
        let shard = self.index_of(self.awaited.digest);
        let Some(token) = graphs[shard].holder(self.awaited, self.within).await? else {
            return Ok(Deadlock::Absent);
        };
        let awaited = AwaitedLease::new(shard as u8, self.awaited.name(), token);
        let held = self.held_by_shard(graphs.len());
        let noting = held.iter().zip(graphs).enumerate();
        // The shard of the awaited lease has noted the waits of its own leases.
        let noting = noting.filter(|(at, (held, _))| *at != shard && !held.is_empty());
        let noting = noting.map(|(_, (held, graph))| graph.note_waits(held, &awaited, self.within));
        join_all(noting)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        let answer = self.search(graphs, awaited.clone()).await?;
        if answer == Deadlock::Present {
            let forgetting = held.iter().zip(graphs).filter(|(held, _)| !held.is_empty());
            let forgetting =
                forgetting.map(|(held, graph)| graph.forget_waits(held, &awaited, self.within));
            // A note that stays can only cost other callers a load.
            join_all(forgetting).await;
        }
        Ok(answer)
    }

    /// Follows the waits from `first` on, until one is for a lease that the caller holds.
    async fn search(
        &self,
        graphs: &[&dyn ShardWaits],
        first: AwaitedLease,
    ) -> Result<Deadlock, Error> {
        let mut open = vec![first.clone()];
        let mut seen = vec![first];
        while !open.is_empty() {
            if open.iter().any(|lease| self.holds(lease)) {
                return Ok(Deadlock::Present);
            }
            if seen.len() > MOST_SEEN {
                return Ok(Deadlock::Unknown);
            }
            let mut by_shard = vec![Vec::new(); graphs.len()];
            for lease in open.drain(..) {
                if let Some(shard) = by_shard.get_mut(usize::from(lease.shard)) {
                    shard.push(lease);
                }
            }
            let asked = by_shard.iter().zip(graphs);
            let asked = asked.filter(|(leases, _)| !leases.is_empty());
            let asked = asked.map(|(leases, graph)| graph.waits_of(leases, self.within));
            for waits in join_all(asked).await {
                for lease in waits? {
                    if !seen.contains(&lease) {
                        seen.push(lease.clone());
                        open.push(lease);
                    }
                }
            }
        }
        Ok(Deadlock::Absent)
    }

    fn holds(&self, lease: &AwaitedLease) -> bool {
        let is_same = |held: &HeldLease| held.token == lease.token && held.key.name() == lease.name;
        self.held.iter().any(is_same)
    }

    /// Returns the leases that each shard granted.
    fn held_by_shard(&self, shards: usize) -> Vec<Vec<HeldLease>> {
        let mut by_shard = vec![Vec::new(); shards];
        for held in self.held {
            by_shard[self.index_of(held.key.digest)].push(held.clone());
        }
        by_shard
    }

    fn index_of(&self, digest: u64) -> usize {
        self.shard.with_key(digest).index().into()
    }
}

#[cfg(test)]
mod tests;
