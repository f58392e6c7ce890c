//! Stores a record under the lease of its load.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{Fill, FillResult, Lease, RecordKey, Refusal};

use crate::batches::{LARGEST_RECORD, Together};
use crate::commands;
use crate::commands::fill::{FilledKey, StoreRecord};
use crate::commands::stamps::Stamped;
use crate::leases::RedisLease;
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
        let fill = Fill {
            key,
            lease,
            record,
            life,
        };
        self.fill_together(fill, None, within).await
    }

    /// Stores several records. Small ones are stored by one script for each portion.
    pub(super) async fn fill_many(
        &self,
        fills: Vec<Fill<'_>>,
        within: Duration,
    ) -> Vec<Result<FillResult, Error>> {
        let together = Together::default();
        let fills = fills
            .into_iter()
            .map(|fill| self.fill_together(fill, Some(&together), within));
        together.run(&self.keys, fills).await
    }

    async fn fill_together(
        &self,
        fill: Fill<'_>,
        together: Option<&Together>,
        within: Duration,
    ) -> Result<FillResult, Error> {
        let Fill {
            key,
            lease,
            record,
            life,
        } = fill;
        if self.journal.covers(key) {
            return Ok(FillResult::Refused(Refusal::Queued));
        }
        let fill = self
            .run("fill", within, |mut link| async move {
                // Another link may lead to another server, to which the lease was replicated.
                let held = |lease: &RedisLease| lease.is_exclusive;
                let Some(is_exclusive) = self.leases.find(lease.token, link.number, held) else {
                    return Ok(FillResult::Refused(Refusal::Link));
                };
                self.sizes.note(key.digest, record.len());
                let running = link.batches.begin();
                if is_exclusive
                    && record.len() <= LARGEST_RECORD
                    && let Some(place) = running.place_with(together, (link.number, &link.data))
                {
                    let filled = FilledKey {
                        name: self.keys.record(key),
                        token: lease.token,
                        stamp: Stamped {
                            function: Arc::clone(&key.function),
                            stamp: lease.stamp,
                        },
                        record,
                        life,
                        digest: key.digest,
                    };
                    return place.fill(filled).await;
                }
                let command = StoreRecord {
                    key,
                    lease,
                    record,
                    life,
                };
                commands::send(&mut link.data, &self.keys, command).await
            })
            .await?;
        if fill == FillResult::Stored {
            self.leases.end(lease.token);
        }
        Ok(fill)
    }
}
