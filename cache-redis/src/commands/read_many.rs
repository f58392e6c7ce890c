//! Reads several records, alone or with the control keys that they are judged by.

use cache_core::tier::{FunctionKey, RecordKey};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::PORTION;
use super::read::{history_number, number, range, record_in, text_in};
use super::script::LONGEST_TEXT;
use crate::errors;
use crate::keys::Keys;

/// The bytes for which a command has space for each name. Longer ones cost a copy.
const LONG_NAME: usize = 64;

/// One record to be read.
#[derive(Debug)]
pub(crate) struct ReadOne<'a> {
    pub(crate) key: &'a RecordKey,
    /// Set if the record was small when it was last seen: it is read together with others, by a
    /// command that cannot limit the bytes of a value.
    pub(crate) is_small: bool,
}

/// The epoch of a function and the history, as of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controls {
    /// The epoch, as a [`ReadReply`](super::read::ReadReply) has it.
    pub(crate) epoch: Option<u64>,
    pub(crate) history: Option<u64>,
}

/// The record of each key, in order.
type Records = Vec<Result<Option<Vec<u8>>, RedisError>>;

/// Reads records in one round trip: the small ones by MGET, the others by GETRANGE, up to and
/// including the byte at `last`. Then the controls of `function`, if it is given: an invalidation
/// between two of the commands makes the records invalid under a stamp that is read after them.
///
/// A value of another type is missing in the reply to MGET.
pub(crate) async fn records(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    (reads, last): (&[ReadOne<'_>], usize),
    function: Option<&FunctionKey>,
) -> Result<(Records, Controls), RedisError> {
    let (small, others): (Vec<usize>, Vec<usize>) =
        (0..reads.len()).partition(|at| reads[*at].is_small);
    let mut pipeline = Pipeline::new();
    for portion in small.chunks(PORTION) {
        pipeline.add_command(mget(keys, portion.iter().map(|at| reads[*at].key)));
    }
    for at in &others {
        pipeline.add_command(range(&keys.record(reads[*at].key), last));
    }
    if let Some(function) = function {
        pipeline.add_command(range(&keys.epoch(function), LONGEST_TEXT));
        pipeline.add_command(range(&keys.history(), LONGEST_TEXT));
    }
    let count = pipeline.len();
    let replies = connection.send_packed_commands(&pipeline, 0, count).await?;
    let mut replies = replies.into_iter();
    let mut next = || replies.next().unwrap_or(Value::Nil);
    let mut records: Vec<Option<_>> = reads.iter().map(|_| None).collect();
    for portion in small.chunks(PORTION) {
        let values = match next() {
            Value::Array(values) => values.into_iter().map(Ok).collect(),
            Value::ServerError(error) => vec![Err(error.into()); portion.len()],
            _ => Vec::new(),
        };
        for (at, value) in portion.iter().zip(values) {
            records[*at] = Some(value.and_then(|value| match value {
                Value::Nil => Ok(None),
                value => record_in(text(value)),
            }));
        }
    }
    for at in &others {
        records[*at] = Some(record_in(text(next())));
    }
    let mut controls = Controls::default();
    if function.is_some() {
        controls.epoch = number(&text_in(text(next()))?);
        controls.history = history_number(&text_in(text(next()))?);
    }
    let read = records.into_iter();
    let read = read.map(|record| record.unwrap_or_else(|| Err(errors::no_reply())));
    Ok((read.collect(), controls))
}

/// Makes a command with space for so many arguments of so many bytes.
fn sized_cmd(name: &str, arguments: usize, bytes: usize) -> Cmd {
    let mut cmd = Cmd::with_capacity(arguments + 1, name.len() + arguments * bytes);
    cmd.arg(name);
    cmd
}

/// Makes the command that reads these records.
fn mget<'a>(keys: &Keys, reads: impl ExactSizeIterator<Item = &'a RecordKey>) -> Cmd {
    // One text for all names, whose beginning is written once for each function: a call may read
    // hundreds.
    let mut name = String::new();
    let mut begun: Option<(&FunctionKey, usize)> = None;
    let mut mget = sized_cmd("MGET", reads.len(), LONG_NAME);
    for key in reads {
        match begun {
            Some((function, len)) if std::ptr::eq(function, &*key.function) => name.truncate(len),
            _ => {
                name.clear();
                keys.write_function(&key.function, &mut name);
                begun = Some((&key.function, name.len()));
            }
        }
        name.push_str(&key.arguments);
        mget.arg(&name);
    }
    mget
}

/// The text in a reply, or the server's error.
fn text(reply: Value) -> Result<Vec<u8>, RedisError> {
    match reply {
        Value::BulkString(bytes) => Ok(bytes),
        Value::ServerError(error) => Err(error.into()),
        other => Ok(redis::from_redis_value(other)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn records_are_read_with_their_controls_and_foreign_values_are_not() {
        let mut server = TestServer::start().await;
        let own = [key("1"), key("2"), key("3"), key("4")];
        let names = own.each_ref().map(|key| server.keys.record(key));
        let [epoch, history] = [server.keys.epoch(&own[0].function), server.keys.history()];
        server.ask::<()>(&["SET", &names[0], "one"]).await;
        server.ask::<()>(&["SET", &names[1], "a longer one"]).await;
        server.ask::<()>(&["RPUSH", &names[2], "1"]).await;
        server.ask::<()>(&["SET", &epoch, "11"]).await;
        server.ask::<()>(&["SET", &history, "5:server"]).await;
        for is_small in [true, false] {
            let reads = own.each_ref().map(|key| ReadOne { key, is_small });
            let (connection, keys) = (&mut server.connection, &server.keys);
            let function = Some(&*own[0].function);
            let read = records(connection, keys, (&reads, 4), function).await;
            let (found, controls) = read.unwrap();
            let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
            let text = |text: &str| Some(text.as_bytes().to_vec());
            let expected = match is_small {
                true => [text("one"), text("a longer one"), None, None],
                false => [text("one"), text("a lon"), text("-"), None],
            };
            assert_eq!(found, expected);
            let expected = Controls {
                epoch: Some(11),
                history: Some(5),
            };
            assert_eq!(controls, expected);
        }
    }
}
