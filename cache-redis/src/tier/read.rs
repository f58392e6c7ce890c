//! Reads a record, and decides whether its stamp must be read as well.

use std::time::Duration;

use cache_core::tier::{ReadOptions, ReadResult, RecordKey, Stamp};
use cache_core::{Consistency, Error};

use crate::commands;
use crate::commands::read::{self, ReadIfNoneMatch, ReadReply};
use crate::session::{RedisSession, not_ready};

impl RedisSession {
    pub(super) async fn read(
        &self,
        key: &RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> Result<ReadResult, Error> {
        if self.journal.covers(key) {
            // A queued invalidation is to delete the record.
            if !self.link.is_connected() {
                return Err(not_ready());
            }
            return Ok(ReadResult::default());
        }
        let epochs = &self.bus.epochs;
        let stamp = match options.consistency {
            Consistency::Bounded if self.bus.coherence.holds() => epochs.stamp(&key.function),
            _ => None,
        };
        // A longer string arrives with one byte too many, so that it disagrees with its own header.
        let last = self.settings.max_record_bytes;
        if let Some(stamp) = stamp {
            let record = self
                .run("read", within, |mut link| async move {
                    read::record(&mut link.data, &self.keys, key, last).await
                })
                .await?;
            // The stamp must still be known: a call that joined this one in the meantime may have
            // begun when the stamp was already too old for it.
            if self.bus.coherence.holds() && epochs.stamp(&key.function) == Some(stamp) {
                return Ok(ReadResult::new(record, Some(stamp)));
            }
        }
        let asked = epochs.mark();
        let ReadReply {
            record,
            epoch,
            history,
        } = self
            .run("read", within, |mut link| async move {
                let Some(etag) = options.if_none_match else {
                    return read::record_with_controls(&mut link.data, &self.keys, key, last).await;
                };
                let command = ReadIfNoneMatch { key, etag, last };
                commands::send(&mut link.data, &self.keys, command).await
            })
            .await?;
        if let Some(epoch) = epoch {
            epochs.learn(&key.function, epoch, asked);
        }
        let stamp = epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history });
        Ok(ReadResult::new(record, stamp))
    }
}
