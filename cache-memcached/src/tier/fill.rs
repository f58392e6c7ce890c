//! Stores a record under the lease of its load.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::timed;
use cache_core::tier::{FillResult, RecordKey, Refusal};

use super::MemcachedTier;
use crate::commands::Command as _;
use crate::commands::fill::StoreRecord;
use crate::error::STORE;

impl MemcachedTier {
    pub(super) async fn store_record(
        &self,
        key: &RecordKey,
        token: u64,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<FillResult, Error> {
        let session = &self.session;
        if session.pending.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let link = session.require_link(StoreRecord::NAME)?;
        // Another link may lead to another process, which gives the same CAS numbers to other
        // items.
        let Some(lease) = session.leases.get(token, link.number) else {
            return Ok(FillResult::Refused(Refusal::Link));
        };
        let command = StoreRecord {
            lease,
            record,
            life,
        };
        let leases = Arc::clone(&session.leases);
        let filling = link.connections.send_then(command, move |reply, _| {
            if let Ok(FillResult::Stored) = reply {
                // The record has taken the place of the lease, so there is nothing to release.
                leases.end(token);
            }
            reply
        });
        timed(StoreRecord::NAME, STORE, within, filling).await?
    }
}
