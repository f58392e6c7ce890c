//! Reads of records, and which of them need to ask for the stamp.

use std::time::Duration;

use cache_core::tier::{ReadOptions, ReadResult, RecordKey, Stamp};
use cache_core::{Consistency, Error};

use super::{RedisTier, unattached};
use crate::commands;
use crate::commands::read::{self, Judged, ReadUnlessKnown};

impl RedisTier {
    pub(super) async fn find(
        &self,
        key: &RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> Result<ReadResult, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            // A queued invalidation is to delete the record.
            if !shared.is_connected() {
                return Err(unattached());
            }
            return Ok(ReadResult::default());
        }
        let epochs = &shared.bus.epochs;
        let stamp = match options.consistency {
            Consistency::Bounded if shared.bus.coherence.holds() => epochs.stamp(&key.function),
            _ => None,
        };
        // A longer string arrives with one byte too many, so that it disagrees with its own header.
        let last = self.settings.max_record_bytes;
        if let Some(stamp) = stamp {
            let record = shared
                .run("read", within, |mut connected, _| async move {
                    read::record(&mut connected.data, &shared.keys, key, last).await
                })
                .await?;
            // The stamp must still be known: a call that joined this one meanwhile may have begun
            // when the stamp was already too old for it.
            if shared.bus.coherence.holds() && epochs.stamp(&key.function) == Some(stamp) {
                return Ok(ReadResult::new(record, Some(stamp)));
            }
        }
        let asked = epochs.mark();
        let Judged {
            record,
            epoch,
            history,
        } = shared
            .run("read", within, |mut connected, _| async move {
                let Some(known) = options.if_none_match else {
                    return read::judged(&mut connected.data, &shared.keys, key, last).await;
                };
                let command = ReadUnlessKnown { key, known, last };
                commands::send(&mut connected.data, &shared.keys, command).await
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
