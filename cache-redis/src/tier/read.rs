//! Reads a record, and decides whether its stamp must be read as well.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{ETAG, Etag, HEADER_LEN, ReadOptions, ReadResult, RecordKey, Stamp};
use cache_core::{Consistency, Error};

use crate::batches::{Place, Read, Running, StrongRead};
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
            let record = self.read_record(key, last, within).await?;
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
            .read_strong(key, options.if_none_match, last, within)
            .await?;
        if let Some(epoch) = epoch {
            epochs.learn(&key.function, epoch, asked);
        }
        let stamp = epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history });
        Ok(ReadResult::new(record, stamp))
    }

    async fn read_record(
        &self,
        key: &RecordKey,
        last: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.run("read", within, |mut link| async move {
            let running = link.batches.begin();
            let record = match self.place(key, &running) {
                Some(place) => {
                    let record = self.keys.record(key);
                    place.read(Read { record, last }).await?
                }
                None => read::record(&mut link.data, &self.keys, key, last).await?,
            };
            self.note_size(key, record.as_deref());
            Ok(record)
        })
        .await
    }

    /// Reads a record and the control keys as of now. If the caller has the record with that etag,
    /// its header is enough.
    async fn read_strong(
        &self,
        key: &RecordKey,
        etag: Option<Etag>,
        last: usize,
        within: Duration,
    ) -> Result<ReadReply, Error> {
        self.run("read", within, |mut link| async move {
            if let Some(etag) = etag.filter(|_| !self.sizes.is_small(key.digest)) {
                let command = ReadIfNoneMatch { key, etag, last };
                let reply = commands::send(&mut link.data, &self.keys, command).await?;
                // A header alone says nothing about the size.
                let record = reply.record.as_deref();
                self.note_size(key, record.filter(|record| record.len() > HEADER_LEN));
                return Ok(reply);
            }
            let running = link.batches.begin();
            let mut reply = match self.place(key, &running) {
                Some(place) => {
                    let record = self.keys.record(key);
                    let strong = StrongRead {
                        read: Read { record, last },
                        function: Arc::clone(&key.function),
                    };
                    place.strong_read(strong).await?
                }
                None => read::record_with_controls(&mut link.data, &self.keys, key, last).await?,
            };
            self.note_size(key, reply.record.as_deref());
            // As the script would have replied.
            if let (Some(etag), Some(record)) = (etag, &mut reply.record)
                && record.get(ETAG) == Some(&etag[..])
            {
                record.truncate(HEADER_LEN);
            }
            Ok(reply)
        })
        .await
    }

    /// Returns a place in a batch if the operation is to be sent in one, and the record was small.
    fn place<'a>(&self, key: &RecordKey, running: &Running<'a>) -> Option<Place<'a>> {
        let is_small = self.sizes.is_small(key.digest);
        is_small.then(|| running.place()).flatten()
    }

    pub(super) fn note_size(&self, key: &RecordKey, record: Option<&[u8]>) {
        if let Some(record) = record {
            self.sizes.note(key.digest, record.len());
        }
    }
}
