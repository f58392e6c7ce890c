//! Stores a record under the lease of its load.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FillResult, Lease, RecordKey, Refusal};

use crate::commands;
use crate::commands::fill::StoreRecord;
use crate::session::RedisSession;

impl RedisSession {
    pub(super) async fn fill(
        &self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<FillResult, Error> {
        if self.journal.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let command = StoreRecord {
            key,
            lease,
            record,
            life,
        };
        let fill = self
            .run("fill", within, |mut link| async move {
                // Another link may lead to another server, to which the lease was replicated.
                if !self.leases.holds(lease.token, link.number) {
                    return Ok(FillResult::Refused(Refusal::Link));
                }
                commands::send(&mut link.data, &self.keys, command).await
            })
            .await?;
        if fill == FillResult::Stored {
            self.leases.end(lease.token);
        }
        Ok(fill)
    }
}
