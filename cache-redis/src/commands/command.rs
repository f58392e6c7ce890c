//! The parts of a command.

use std::io::Write;
use std::iter;

use redis::aio::MultiplexedConnection;
use redis::{
    Arg, Cmd, FromRedisValue, RedisError, RedisWrite, ToRedisArgs, Value, from_redis_value,
};

use crate::errors;
use crate::keys::Keys;

/// A script with its arguments.
pub(crate) trait Command {
    /// The parsed reply.
    type Reply;

    /// The script that runs the command.
    fn script(&self) -> &'static redis::Script;

    /// Writes the keys and the arguments in the order in which the script reads them.
    fn write(self, keys: &Keys, invocation: &mut Invocation);

    /// Parses the reply.
    ///
    /// # Errors
    /// The reply has another type than the script returns.
    fn parse(reply: Value) -> Result<Self::Reply, RedisError>;
}

/// A script with its keys and arguments.
///
/// Unlike that of the client library, it has one buffer for all keys and one for all arguments: a
/// batch has hundreds of both.
#[derive(Debug)]
pub(crate) struct Invocation {
    script: &'static redis::Script,
    /// Commands without a name, which have nothing but arguments.
    keys: Cmd,
    args: Cmd,
}

impl Invocation {
    /// A script without keys and arguments.
    pub(super) fn new(script: &'static redis::Script) -> Self {
        Self {
            script,
            keys: Cmd::new(),
            args: Cmd::new(),
        }
    }

    /// Adds a key.
    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.keys.arg(key);
        self
    }

    /// Adds the key whose name is `name` and `suffix`.
    pub(super) fn key_beside(&mut self, name: &str, suffix: &str) -> &mut Self {
        let mut key = self.keys.writer_for_next_arg();
        // Writing to memory does not fail.
        let _ = key.write_all(name.as_bytes());
        let _ = key.write_all(suffix.as_bytes());
        drop(key);
        self
    }

    /// Adds an argument.
    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.args.arg(arg);
        self
    }

    /// The command that runs the script.
    pub(super) fn command(&self) -> Cmd {
        let (keys, args) = (self.keys.args_iter(), self.args.args_iter());
        let lengths = keys.clone().chain(args.clone());
        let length: usize = lengths.map(|text| bytes(text).len()).sum();
        let hash = self.script.get_hash();
        let words = 3 + keys.len() + args.len();
        let mut command = Cmd::with_capacity(words, length + hash.len() + 16);
        command.arg("EVALSHA").arg(hash).arg(keys.len());
        for text in keys.chain(args) {
            command.write_arg(bytes(text));
        }
        command
    }

    /// Runs the script. If the server has forgotten its text, the text is sent first.
    pub(super) async fn send(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Value, RedisError> {
        let command = self.command();
        match command.query_async(connection).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.script.load_async(connection).await?;
                command.query_async(connection).await
            }
            reply => reply,
        }
    }
}

/// The text of a key or an argument. None of them is a cursor.
fn bytes(text: Arg<&[u8]>) -> &[u8] {
    match text {
        Arg::Simple(text) => text,
        _ => b"0",
    }
}

/// The reply to a script that does the same for several requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parts<T> {
    /// It was done for all of them.
    All,
    /// The reply to each.
    Each(Vec<T>),
}

impl<T> Parts<T> {
    /// Parses a reply that is 1, or one part for each request.
    pub(super) fn parse(
        reply: Value,
        part: impl FnMut(Value) -> Result<T, RedisError>,
    ) -> Result<Self, RedisError> {
        if reply == Value::Int(1) {
            return Ok(Self::All);
        }
        let parts: Vec<Value> = typed(reply)?;
        Ok(Self::Each(
            parts.into_iter().map(part).collect::<Result<_, _>>()?,
        ))
    }

    /// The part of each request. `done` makes that of a request for which it was done.
    ///
    /// # Errors
    /// There are not as many parts as requests.
    pub(crate) fn of(self, requests: usize, done: impl FnMut() -> T) -> Result<Vec<T>, RedisError> {
        match self {
            Self::All => Ok(iter::repeat_with(done).take(requests).collect()),
            Self::Each(parts) if parts.len() == requests => Ok(parts),
            Self::Each(_) => Err(errors::no_reply()),
        }
    }
}

/// Parses a reply of the type that the script returns.
pub(super) fn typed<T: FromRedisValue>(reply: Value) -> Result<T, RedisError> {
    Ok(from_redis_value(reply)?)
}

/// A number as the scripts write it. Any other text under a key of this cache is foreign.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static SCRIPT: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new("return 1"));

    #[test]
    fn invocation_sends_what_that_of_the_client_library_sends() {
        let mut ours = Invocation::new(&SCRIPT);
        ours.arg("").key("record").key_beside("record", "#lease");
        ours.arg(7).arg(vec!["a", "b"]).key("");
        let mut theirs = SCRIPT.prepare_invoke();
        theirs.arg("").key("record").key("record#lease");
        theirs.arg(7).arg(vec!["a", "b"]).key("");
        let mut pipeline = redis::pipe();
        pipeline.invoke_script(&theirs);
        let ours = ours.command().get_packed_command();
        assert_eq!(ours, pipeline.get_packed_pipeline());
    }

    #[test]
    fn reply_for_all_requests_is_one_or_has_a_part_for_each() {
        let of = |reply| Parts::parse(reply, typed::<u8>)?.of(2, || 9);
        let parts = |parts: &[i64]| Value::Array(parts.iter().copied().map(Value::Int).collect());
        assert_eq!(of(Value::Int(1)).unwrap(), [9, 9]);
        assert_eq!(of(parts(&[1, 0])).unwrap(), [1, 0]);
        assert!(of(parts(&[1])).is_err());
        assert!(of(parts(&[1, 1, 1])).is_err());
        assert!(of(Value::Int(0)).is_err());
    }
}
