//! Reads a record, alone or with the control keys that it is judged by.
//!
//! None of the reads takes more bytes from the server than a record may have: a key of this cache
//! may hold a foreign string of hundreds of megabytes, which would delay every call on the
//! connection.

use cache_core::tier::{Etag, RecordKey};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};

pub(crate) use super::command::number;
use super::command::{Command, Invocation, typed};
use super::script::{LONGEST_TEXT, Script, script};
use crate::errors;
use crate::keys::Keys;

/// Reads a record whose value the caller may have: only its first 84 bytes if it has this etag.
///
/// KEYS record, epoch, history.
/// ARGV etag, index of the last byte to be read.
///
/// Replies with the record or its beginning (empty if there is none, nil if it is not a string),
/// the epoch, and the history with identity.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/read.lua")));

/// The bytes that represent a value that cannot be a record. They are opened as a damaged record.
const NO_RECORD: &[u8] = b"-";

/// Reads a record with its control keys, but not its value if the caller has that record already.
#[derive(Debug)]
pub(crate) struct ReadIfNoneMatch<'a> {
    pub(crate) key: &'a RecordKey,
    /// The etag of the record that the caller has.
    pub(crate) etag: Etag,
    /// Index of the last byte to be read.
    pub(crate) last: usize,
}

/// A record, and the control keys that it is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadReply {
    pub(crate) record: Option<Vec<u8>>,
    /// The epoch of the function; `None` if it is missing, or was not written by this cache. Then
    /// no record is valid.
    pub(crate) epoch: Option<u64>,
    /// The history; `None` for the same reasons.
    pub(crate) history: Option<u64>,
}

impl ReadReply {
    fn new(record: Option<Vec<u8>>, epoch: &[u8], history: &[u8]) -> Self {
        Self {
            record,
            epoch: number(epoch),
            history: history_number(history),
        }
    }
}

impl Command for ReadIfNoneMatch<'_> {
    type Reply = ReadReply;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.record(self.key))
            .key(keys.epoch(&self.key.function))
            .key(keys.history())
            .arg(&self.etag)
            .arg(self.last);
    }

    fn parse(reply: Value) -> Result<ReadReply, RedisError> {
        let (record, epoch, history): (Option<Vec<u8>>, Vec<u8>, Vec<u8>) = typed(reply)?;
        // Nil stands for a value of another type, which cannot be a record.
        let record = record_in(Ok(record.unwrap_or_else(|| NO_RECORD.to_vec())))?;
        Ok(ReadReply::new(record, &epoch, &history))
    }
}

/// Reads a record by the plain command GETRANGE, up to and including the byte at `last`.
pub(crate) async fn record(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    key: &RecordKey,
    last: usize,
) -> Result<Option<Vec<u8>>, RedisError> {
    let range = range(&keys.record(key), last);
    record_in(range.query_async(connection).await)
}

/// Reads a record and its control keys by plain commands in one round trip.
pub(crate) async fn record_with_controls(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    key: &RecordKey,
    last: usize,
) -> Result<ReadReply, RedisError> {
    // The record is read first: an invalidation between two of the commands makes it invalid under
    // the stamp that is read after it.
    let mut pipeline = redis::pipe();
    pipeline
        .ignore_errors()
        .add_command(range(&keys.record(key), last))
        .add_command(range(&keys.epoch(&key.function), LONGEST_TEXT))
        .add_command(range(&keys.history(), LONGEST_TEXT));
    let (record, epoch, history): (Answer, Answer, Answer) =
        pipeline.query_async(connection).await?;
    Ok(ReadReply::new(
        record_in(record)?,
        &text_in(epoch)?,
        &text_in(history)?,
    ))
}

/// The number of a history, which is followed by the identity of its server.
pub(crate) fn history_number(text: &[u8]) -> Option<u64> {
    text.split(|byte| *byte == b':').next().and_then(number)
}

/// A reply to GETRANGE.
type Answer = Result<Vec<u8>, RedisError>;

/// The command that reads a text up to and including the byte at `last`.
pub(crate) fn range(name: &str, last: usize) -> Cmd {
    let mut range = Cmd::with_capacity(4, name.len() + 32);
    range.arg("GETRANGE").arg(name).arg(0).arg(last);
    range
}

/// The reply to a read of a record and its control keys.
pub(crate) fn reply(
    record: Answer,
    epoch: &Answer,
    history: &Answer,
) -> Result<ReadReply, RedisError> {
    let record = record_in(record)?;
    let epoch = epoch.as_deref().map_err(Clone::clone)?;
    let history = history.as_deref().map_err(Clone::clone)?;
    Ok(ReadReply::new(record, epoch, history))
}

/// The record in a reply, which is empty if there is none.
pub(crate) fn record_in(answer: Answer) -> Result<Option<Vec<u8>>, RedisError> {
    match answer {
        Ok(record) => Ok(Some(record).filter(|record| !record.is_empty())),
        Err(error) if errors::is_of_another_type(&error) => Ok(Some(NO_RECORD.to_vec())),
        Err(error) => Err(error),
    }
}

/// The text in a reply, which is empty if there is none.
pub(crate) fn text_in(answer: Answer) -> Answer {
    match answer {
        Err(error) if errors::is_of_another_type(&error) => Ok(Vec::new()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;
    use crate::commands::testing::{TestServer, key};

    /// A record of 100 bytes: `a`, but its etag.
    fn record(etag: &str) -> String {
        format!("{}{etag}{}", "a".repeat(76), "a".repeat(16))
    }

    fn reply(record: Option<&str>, epoch: Option<u64>, history: Option<u64>) -> ReadReply {
        ReadReply {
            record: record.map(|record| record.as_bytes().to_vec()),
            epoch,
            history,
        }
    }

    /// Reads in each way: by plain commands, and by the script if the caller has another record.
    async fn read(server: &mut TestServer) -> ReadReply {
        let key = key("1");
        let command = ReadIfNoneMatch {
            key: &key,
            etag: *b"11111111",
            last: 100,
        };
        let by_script = server.send(command).await;
        let (connection, keys) = (&mut server.connection, &server.keys);
        let plain = record_with_controls(connection, keys, &key, 100)
            .await
            .unwrap();
        assert_eq!(plain, by_script);
        let alone = commands::read::record(connection, keys, &key, 100).await;
        assert_eq!(alone.unwrap(), plain.record);
        plain
    }

    #[tokio::test]
    async fn read_returns_record_and_control_keys_and_treats_foreign_ones_as_missing() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let [name, epoch, history] = [
            server.keys.record(&key),
            server.keys.epoch(&key.function),
            server.keys.history(),
        ];
        assert_eq!(read(&mut server).await, reply(None, None, None));

        let whole = record("22222222");
        server.ask::<()>(&["SET", &name, &whole]).await;
        server.ask::<()>(&["SET", &epoch, "11"]).await;
        server.ask::<()>(&["SET", &history, "5:server"]).await;
        let expected = reply(Some(&whole), Some(11), Some(5));
        assert_eq!(read(&mut server).await, expected);

        let long = "b".repeat(1000);
        server.ask::<()>(&["SET", &name, &long]).await;
        server.ask::<()>(&["SET", &epoch, "foreign"]).await;
        server.ask::<()>(&["SET", &history, "foreign"]).await;
        let expected = reply(Some(&long[..101]), None, None);
        assert_eq!(read(&mut server).await, expected, "one byte too many");

        for name in [&name, &epoch, &history] {
            server.ask::<()>(&["DEL", name]).await;
            server.ask::<()>(&["RPUSH", name, "1"]).await;
        }
        assert_eq!(read(&mut server).await, reply(Some("-"), None, None));
    }

    #[tokio::test]
    async fn value_of_the_record_that_the_caller_has_is_not_read() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let whole = record("11111111");
        let name = server.keys.record(&key);
        server.ask::<()>(&["SET", &name, &whole]).await;
        let command = |etag| ReadIfNoneMatch {
            key: &key,
            etag,
            last: 100,
        };
        let found = server.send(command(*b"11111111")).await;
        assert_eq!(found, reply(Some(&whole[..84]), None, None));
        let found = server.send(command(*b"22222222")).await;
        assert_eq!(found, reply(Some(&whole), None, None));
    }
}
