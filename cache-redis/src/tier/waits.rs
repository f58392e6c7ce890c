//! The waits that a shard notes for loads of several shards.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{AwaitedLease, HeldLease, RecordKey, ShardWaits, TierFuture};

use crate::commands::waits::{AskHolder, AskWaits, NoteWaits};
use crate::session::RedisSession;

impl RedisSession {
    /// Notes a wait that lasts until the caller asks again, or removes it.
    async fn note_waits(
        &self,
        held: &[HeldLease],
        awaited: &AwaitedLease,
        life: Option<Duration>,
        within: Duration,
    ) -> Result<(), Error> {
        let command = NoteWaits {
            held,
            awaited,
            shard: self.shard.index(),
            life,
        };
        self.send("note a wait", command, within).await
    }
}

impl ShardWaits for RedisSession {
    fn holder<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Option<u64>> {
        Box::pin(self.send("ask for the holder of a lease", AskHolder(key), within))
    }

    fn note_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        within: Duration,
    ) -> TierFuture<'a, ()> {
        Box::pin(self.note_waits(held, awaited, Some(self.life_of_waits()), within))
    }

    fn forget_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        within: Duration,
    ) -> TierFuture<'a, ()> {
        Box::pin(self.note_waits(held, awaited, None, within))
    }

    fn waits_of<'a>(
        &'a self,
        leases: &'a [AwaitedLease],
        within: Duration,
    ) -> TierFuture<'a, Vec<AwaitedLease>> {
        Box::pin(async move {
            let edges = self.send("follow waits", AskWaits(leases), within).await?;
            Ok(edges.awaited(&self.keys, self.shard.index()))
        })
    }
}
