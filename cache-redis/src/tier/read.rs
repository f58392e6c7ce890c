//! Reads. None takes more bytes from the server than a record may have: a key of this cache may hold
//! a foreign string of hundreds of megabytes, which would delay every call on the connection.

use std::time::Duration;

use cache_core::tier::{Found, Question, RecordKey, Stamp};
use cache_core::{Consistency, Error};
use redis::{Cmd, RedisError};

use super::{RedisTier, number, unattached};
use crate::script::LONGEST_TEXT;
use crate::server;

impl RedisTier {
    pub(super) async fn find(
        &self,
        key: &RecordKey,
        question: Question,
        within: Duration,
    ) -> Result<Found, Error> {
        let shared = &**self.shared();
        if shared.journal.covers(key) {
            // A queued invalidation is to delete the record.
            if !shared.is_connected() {
                return Err(unattached());
            }
            return Ok(Found::default());
        }
        let epochs = &shared.bus.epochs;
        let stamp = match question.consistency {
            Consistency::Bounded if shared.bus.coherence.holds() => epochs.stamp(&key.function),
            _ => None,
        };
        let name = shared.keys.record(key);
        // A longer string arrives with one byte too many, so that it disagrees with its own header.
        let last = self.settings.max_record_bytes;
        if let Some(stamp) = stamp {
            let record = range(&name, last);
            let record = shared
                .run("read", within, |mut connected, _| async move {
                    record_in(record.query_async(&mut connected.data).await)
                })
                .await?;
            // The stamp must still be known: a call that joined this one meanwhile may have begun
            // when the stamp was already too old for it.
            if shared.bus.coherence.holds() && epochs.stamp(&key.function) == Some(stamp) {
                return Ok(Found::new(record, Some(stamp)));
            }
        }
        let asked = epochs.mark();
        let [epoch_name, history_name] = [shared.keys.epoch(&key.function), shared.keys.history()];
        let (record, epoch, history) = shared
            .run("read", within, |mut connected, _| async move {
                let Some(seal) = question.known else {
                    // The record first: an invalidation between two of the commands makes the
                    // record invalid under the stamp that is read after it.
                    let mut pipeline = redis::pipe();
                    pipeline
                        .ignore_errors()
                        .add_command(range(&name, last))
                        .add_command(range(&epoch_name, LONGEST_TEXT))
                        .add_command(range(&history_name, LONGEST_TEXT));
                    let (record, epoch, history): (Answer, Answer, Answer) =
                        pipeline.query_async(&mut connected.data).await?;
                    return Ok((record_in(record)?, text_in(epoch)?, text_in(history)?));
                };
                let mut invocation = shared.scripts.read.prepare_invoke();
                invocation
                    .key(name)
                    .key(epoch_name)
                    .key(history_name)
                    .arg(&seal)
                    .arg(last);
                let (record, epoch, history): (Option<Vec<u8>>, Vec<u8>, Vec<u8>) =
                    invocation.invoke_async(&mut connected.data).await?;
                // Nil stands for a value of another type, which cannot be a record.
                let record = record_in(Ok(record.unwrap_or_else(|| NO_RECORD.to_vec())))?;
                Ok((record, epoch, history))
            })
            .await?;
        // No record is valid under an epoch or a history that this cache did not write.
        let epoch = number(&epoch);
        let history = number(
            history
                .split(|byte| *byte == b':')
                .next()
                .unwrap_or_default(),
        );
        if let Some(epoch) = epoch {
            epochs.learn(&key.function, epoch, asked);
        }
        let stamp = epoch
            .zip(history)
            .map(|(epoch, history)| Stamp { epoch, history });
        Ok(Found::new(record, stamp))
    }
}

type Answer = Result<Vec<u8>, RedisError>;

/// Bytes that are damage to whoever opens them, for what cannot be a record at all.
const NO_RECORD: &[u8] = b"-";

/// Reads the bytes of a key up to and including the one at `last`.
fn range(name: &str, last: usize) -> Cmd {
    let mut range = redis::cmd("GETRANGE");
    range.arg(name).arg(0).arg(last);
    range
}

/// A record in an answer to GETRANGE, which says nothing of a key that is not there.
fn record_in(answer: Answer) -> Result<Option<Vec<u8>>, RedisError> {
    match answer {
        Ok(record) => Ok(Some(record).filter(|record| !record.is_empty())),
        Err(error) if server::is_of_another_type(&error) => Ok(Some(NO_RECORD.to_vec())),
        Err(error) => Err(error),
    }
}

fn text_in(answer: Answer) -> Answer {
    match answer {
        Err(error) if server::is_of_another_type(&error) => Ok(Vec::new()),
        answer => answer,
    }
}
