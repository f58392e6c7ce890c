//! Reads the records of several keys.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::join_all;
use cache_core::tier::{FunctionKey, ReadOptions, ReadResult, RecordKey, Stamp};
use cache_core::{Consistency, Error};
use redis::RedisError;

use crate::commands::read_many::{self, Controls, ReadOne};
use crate::commands::stamps::is_same;
use crate::errors;
use crate::permissions::Purpose;
use crate::session::{RedisSession, not_ready};

/// A record, or the server's refusal.
type Record = Result<Option<Vec<u8>>, RedisError>;

impl RedisSession {
    /// Reads records in one round trip, by the rules of [`read`](Self::read).
    pub(super) async fn read_many(
        &self,
        keys: &[&RecordKey],
        options: ReadOptions,
        within: Duration,
    ) -> Vec<Result<ReadResult, Error>> {
        let Some(first) = keys.first() else {
            return Vec::new();
        };
        let function = &first.function;
        if !keys.iter().all(|key| is_same(&key.function, function)) {
            let reads = keys.iter().map(|key| self.read(key, options, within));
            return join_all(reads).await;
        }
        // A queued invalidation is to delete the record.
        if !keys.iter().any(|key| self.journal.covers(key)) {
            let read = self.read_open(function, keys, options, within).await;
            return read.unwrap_or_else(|error| vec![Err(error); keys.len()]);
        }
        let is_open: Vec<bool> = keys.iter().map(|key| !self.journal.covers(key)).collect();
        let open = keys.iter().zip(&is_open).filter(|(_, is_open)| **is_open);
        let open: Vec<_> = open.map(|(key, _)| *key).collect();
        let mut read = match self.read_open(function, &open, options, within).await {
            Ok(read) => read.into_iter(),
            Err(error) => vec![Err(error); open.len()].into_iter(),
        };
        let mut next = || read.next().unwrap_or_else(|| Err(not_ready()));
        let results = is_open.iter().map(|is_open| match is_open {
            true => next(),
            false if !self.link.is_connected() => Err(not_ready()),
            false => Ok(ReadResult::default()),
        });
        results.collect()
    }

    async fn read_open(
        &self,
        function: &Arc<FunctionKey>,
        keys: &[&RecordKey],
        options: ReadOptions,
        within: Duration,
    ) -> Result<Vec<Result<ReadResult, Error>>, Error> {
        let epochs = &self.bus.epochs;
        let known = match options.consistency {
            Consistency::Bounded if self.bus.coherence.holds() => epochs.stamp(function),
            _ => None,
        };
        if let Some(stamp) = known {
            let (records, _) = self.read_records(keys, None, within).await?;
            // As for a single read, the stamp must still be known.
            if self.bus.coherence.holds() && epochs.stamp(function) == Some(stamp) {
                return Ok(results(records, Some(stamp)));
            }
        }
        let asked = epochs.mark();
        let (records, controls) = self.read_records(keys, Some(function), within).await?;
        let Controls { epoch, history } = controls;
        if let Some(epoch) = epoch {
            epochs.learn(function, epoch, asked);
        }
        let stamp = epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history });
        Ok(results(records, stamp))
    }

    async fn read_records(
        &self,
        keys: &[&RecordKey],
        controls_of: Option<&FunctionKey>,
        within: Duration,
    ) -> Result<(Vec<Record>, Controls), Error> {
        let may_join = !self.permissions.lacks(Purpose::ManyKeys);
        let reads = keys.iter().map(|key| ReadOne {
            key,
            is_small: may_join && self.sizes.is_small(key.digest),
        });
        let reads: Vec<_> = reads.collect();
        let reads = (&*reads, self.settings.max_record_bytes);
        let read = self.run("read", within, |mut link| async move {
            let _running = link.batches.begin();
            read_many::records(&mut link.data, &self.keys, reads, controls_of).await
        });
        let read = read.await?;
        for (key, record) in keys.iter().zip(&read.0) {
            self.note_size(key, record.as_ref().ok().and_then(Option::as_deref));
        }
        Ok(read)
    }
}

fn results(records: Vec<Record>, stamp: Option<Stamp>) -> Vec<Result<ReadResult, Error>> {
    let results = records.into_iter().map(|record| match record {
        Ok(record) => Ok(ReadResult::new(record, stamp)),
        Err(error) => Err(Error::with_source(errors::kind_of(&error), "read", error)),
    });
    results.collect()
}
