//! Stores a record under the lease of its load.

use std::fmt::Write;
use std::time::Duration;

use cache_core::tier::{FillResult, Lease, RecordKey, Refusal};
use redis::{RedisError, Value};

use super::command::{Command, Invocation, Parts, typed};
use super::lease::ExclusiveLease;
use super::script::{Script, script};
use super::stamps::{self, Stamped};
use crate::keys::{Keys, LEASE};
use crate::number::millis;

/// Stores a record if its lease, the epoch of its function and the history are still what they were
/// before the load. A record whose lease is missing (voided, expired, evicted, lost with the
/// server) is refused.
///
/// KEYS record, lease, epoch, history, sequence.
/// ARGV token, epoch, number of the history, record, life in ms, digest of the key, channel.
///
/// Replies with `stored`, or with the word for what has changed: `lease`, `function`, `history`.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/fill.lua")));

/// Stores several records in one step, each under the conditions of [`SCRIPT`].
///
/// A lease is compared with its whole text, as [`ExclusiveLease`] writes it. A full server refuses
/// each record by itself.
///
/// KEYS history, sequence; epochs; for each record: record, lease.
/// ARGV number of epochs; for each record one byte with the index of its epoch; for each epoch:
/// epoch, number of the history; the digests of all keys, each of [`DIGEST`] decimal digits; for
/// each record: text of the lease, record, life in ms; channel.
///
/// Replies with 1 if all records are stored, or for each record with a word, as [`SCRIPT`] does, or
/// with the server's error.
pub(super) static RECORDS: Script = Script::new(|| script(include_str!("lua/fill_records.lua")));

/// The number of digits of a digest, with zeros before it. A script reads the digest of a key only
/// if a caller waits for the key. `lua/fill_records.lua` has the same number.
const DIGEST: usize = 20;

/// Stores a record and ends its lease.
#[derive(Debug)]
pub(crate) struct StoreRecord<'a> {
    pub(crate) key: &'a RecordKey,
    pub(crate) lease: &'a Lease,
    pub(crate) record: Vec<u8>,
    /// The time after which the record expires.
    pub(crate) life: Duration,
}

impl Command for StoreRecord<'_> {
    type Reply = FillResult;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.record(self.key))
            .key(keys.lease(self.key))
            .key(keys.epoch(&self.key.function))
            .key(keys.history())
            .key(keys.sequence())
            .arg(self.lease.token)
            .arg(self.lease.stamp.epoch)
            .arg(self.lease.stamp.history)
            .arg(self.record)
            .arg(millis(self.life))
            .arg(self.key.digest)
            .arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<FillResult, RedisError> {
        let reply: String = typed(reply)?;
        Ok(match &*reply {
            "stored" => FillResult::Stored,
            "function" => FillResult::Refused(Refusal::Function),
            "history" => FillResult::Refused(Refusal::History),
            _ => FillResult::Refused(Refusal::Lease),
        })
    }
}

/// A record that is stored together with others, under an exclusive lease.
#[derive(Debug)]
pub(crate) struct FilledKey {
    /// The name of its key, beside which the lease is.
    pub(crate) name: String,
    pub(crate) token: u64,
    /// The stamp of the lease.
    pub(crate) stamp: Stamped,
    pub(crate) record: Vec<u8>,
    /// The time after which the record expires.
    pub(crate) life: Duration,
    /// The digest of the key.
    pub(crate) digest: u64,
}

/// Stores several records.
#[derive(Debug)]
pub(crate) struct StoreRecords<'a>(pub(crate) &'a [FilledKey]);

impl Command for StoreRecords<'_> {
    /// For each record what [`StoreRecord`] replies, or the server's error.
    type Reply = Parts<Result<FillResult, RedisError>>;

    fn script(&self) -> &'static redis::Script {
        &RECORDS
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.history()).key(keys.sequence());
        stamps::write(self.0.iter().map(|key| &key.stamp), keys, invocation);
        let mut digests = String::with_capacity(self.0.len() * DIGEST);
        for filled in self.0 {
            // Writing to memory does not fail.
            let _ = write!(digests, "{:0DIGEST$}", filled.digest);
        }
        invocation.arg(digests);
        for filled in self.0 {
            let (token, stamp) = (filled.token, filled.stamp.stamp);
            invocation
                .key(&filled.name)
                .key_beside(&filled.name, LEASE)
                .arg(ExclusiveLease { token, stamp })
                .arg(&filled.record)
                .arg(millis(filled.life));
        }
        invocation.arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Self::Reply, RedisError> {
        Parts::parse(reply, |part| {
            Ok(match part {
                Value::ServerError(error) => Err(error.into()),
                reply => StoreRecord::parse(reply),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use cache_core::tier::Stamp;

    use super::*;
    use crate::commands::testing::{EPOCH, HISTORY, MINUTE, TestServer, key};

    fn lease(token: u64, epoch: u64, history: u64) -> Lease {
        Lease::new(token, Stamp { epoch, history })
    }

    fn store<'a>(key: &'a RecordKey, lease: &'a Lease) -> StoreRecord<'a> {
        StoreRecord {
            key,
            lease,
            record: b"record".to_vec(),
            life: MINUTE,
        }
    }

    #[tokio::test]
    async fn record_is_stored_under_its_lease_once_and_waiters_are_notified() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let held = lease(21, EPOCH, HISTORY);
        let [name, lease_name] = [server.keys.record(&key), server.keys.lease(&key)];
        server.lease(&key, 21).await;
        assert_eq!(server.send(store(&key, &held)).await, FillResult::Stored);
        assert_eq!(server.text(&name).await, "record");
        let expires: u64 = server.ask(&["PTTL", &name]).await;
        assert!((1..=60_000).contains(&expires), "{expires}");
        assert_eq!(server.text(&lease_name).await, "");
        assert!(server.messages().await.is_empty(), "no caller waits");
        let again = server.send(store(&key, &held)).await;
        assert_eq!(again, FillResult::Refused(Refusal::Lease));

        server.ask::<()>(&["DEL", &name]).await;
        server.lease(&key, 21).await;
        server.lease(&key, 22).await;
        assert_eq!(server.send(store(&key, &held)).await, FillResult::Stored);
        assert_eq!(server.messages().await, ["f:7"]);
    }

    #[tokio::test]
    async fn record_is_refused_if_lease_function_or_history_has_changed() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        server.lease(&key, 21).await;
        for (other, reason) in [
            (lease(22, EPOCH, HISTORY), Refusal::Lease),
            (lease(21, EPOCH + 1, HISTORY), Refusal::Function),
            (lease(21, EPOCH, HISTORY + 1), Refusal::History),
        ] {
            let reply = server.send(store(&key, &other)).await;
            assert_eq!(reply, FillResult::Refused(reason));
        }
        assert_eq!(server.text(&server.keys.record(&key)).await, "");
    }

    #[tokio::test]
    async fn records_of_one_script_are_announced_by_the_digests_that_are_waited_for() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let digests = [0, 7, u64::MAX, 1 << 63];
        let mut filled = Vec::new();
        for (arguments, digest) in ["1", "2", "3", "4"].into_iter().zip(digests) {
            let key = key(arguments);
            server.lease(&key, 21).await;
            if digest != 7 {
                server.lease(&key, 22).await;
            }
            filled.push(FilledKey {
                name: server.keys.record(&key),
                token: 21,
                stamp: Stamped {
                    stamp: Stamp {
                        epoch: EPOCH,
                        history: HISTORY,
                    },
                    function: key.function,
                },
                record: b"record".to_vec(),
                life: MINUTE,
                digest,
            });
        }
        let stored = server.send(StoreRecords(&filled)).await;
        assert!(matches!(stored, Parts::All));
        let messages = ["f:0", "f:18446744073709551615", "f:9223372036854775808"];
        assert_eq!(server.messages().await, messages);
    }

    #[test]
    fn unknown_word_is_a_refusal() {
        let reply = StoreRecord::parse(Value::BulkString(b"other".to_vec()));
        assert_eq!(reply.unwrap(), FillResult::Refused(Refusal::Lease));
    }
}
