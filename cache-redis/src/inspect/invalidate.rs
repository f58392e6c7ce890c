//! Invalidates, as the tier does it, and says who was notified.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FunctionKey, Glob, Target};

use super::shard::InspectedShard;
use crate::commands;
use crate::commands::invalidate::{Announced, Invalidate, ReplaceHistory};
use crate::config::Audit;
use crate::errors::failed;
use crate::matching::Sweep;
use crate::number::fresh_number;
use crate::server;

/// The time limit of one step of a sweep.
const STEP: Duration = Duration::from_secs(5);

/// The least number of entries to which an audit entry of a tool trims the stream.
const AUDIT: u32 = 10_000;

/// Result of an invalidation in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {
    /// The number of clients of the server that receive the message: instances, and tools that show
    /// messages.
    pub listeners: u64,
    /// The code of the error, such as `NOPERM`, with which the server refused the entry of the
    /// audit; `None` if the entry was written.
    pub audit_refusal: Option<String>,
    /// The number of deleted records; `None` if it was not counted.
    pub deleted: Option<u64>,
}

impl InspectedShard {
    /// Invalidates a key of this shard, a function, or everything, in one step, and announces it to
    /// all instances. `who` is named in the audit.
    ///
    /// An invalidation of everything replaces the history of the shard, and begins none: nothing in
    /// a shard without a history is valid.
    ///
    /// # Errors
    /// The server does not answer, or refuses the command. The history of the shard was begun for
    /// another number of shards.
    ///
    /// # Cancel safety
    /// Not cancel safe: it is unknown whether the invalidation was done.
    pub async fn invalidate(&self, target: Target<'_>, who: &str) -> Result<Invalidated, Error> {
        let mut connection = self.connection();
        let heartbeat = self.keys.heartbeat();
        // A server that instances cannot use is not written to either.
        let greeting = server::greet(&mut connection, &heartbeat, self.shard.count()).await?;
        let audit = self.audit(who).await;
        let invalidate = Invalidate {
            target,
            fresh: fresh_number(),
            identity: &greeting.identity,
            audit: Some(&audit),
        };
        let sent = match target {
            Target::All => {
                let replace = ReplaceHistory(invalidate);
                commands::send(&mut connection, &self.keys, replace).await
            }
            Target::Key(_) | Target::Function(_) => {
                commands::send(&mut connection, &self.keys, invalidate).await
            }
        };
        let announced = sent.map_err(|error| failed("invalidate", error))?;
        Ok(Invalidated::of(announced, None))
    }

    /// Deletes the records and leases of a function that match, and has all instances forget what
    /// their memory has of the function.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command.
    ///
    /// # Cancel safety
    /// Not cancel safe: some records may be deleted, and no instance notified.
    pub async fn invalidate_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
        who: &str,
    ) -> Result<Invalidated, Error> {
        let mut connection = self.connection();
        let heartbeat = self.keys.heartbeat();
        server::greet(&mut connection, &heartbeat, self.shard.count()).await?;
        let audit = self.audit(who).await;
        let sweep = Sweep {
            keys: &self.keys,
            audit: Some(&audit),
            step: STEP,
        };
        let swept = sweep.run(&mut connection, function, glob).await;
        let swept = swept.map_err(|error| failed("invalidate the keys that match", error))?;
        Ok(Invalidated::of(swept.announced, Some(swept.deleted)))
    }

    /// The entry of a tool is written also if no instance writes an audit, and never trims the
    /// entries of instances: also not if the user may not ask for their number.
    async fn audit(&self, who: &str) -> Audit {
        let mut length = redis::cmd("XLEN");
        length.arg(self.keys.audit());
        let length = length.query_async::<u32>(&mut self.connection()).await;
        let most = length.map_or(u32::MAX, |length| length.saturating_mul(2));
        Audit {
            who: who.to_owned(),
            most: AUDIT.max(most),
        }
    }
}

impl Invalidated {
    fn of(announced: Announced, deleted: Option<u64>) -> Self {
        Self {
            listeners: announced.listeners,
            audit_refusal: announced.refusal,
            deleted,
        }
    }
}
