//! The parts of a command.

use redis::{FromRedisValue, RedisError, ScriptInvocation, Value, from_redis_value};

use crate::keys::Keys;

/// A script with its arguments.
pub(crate) trait Command {
    /// The parsed reply.
    type Reply;

    /// The script that runs the command.
    fn script(&self) -> &'static redis::Script;

    /// Writes the keys and the arguments in the order in which the script reads them.
    fn write(self, keys: &Keys, invocation: &mut ScriptInvocation<'_>);

    /// Parses the reply.
    ///
    /// # Errors
    /// The reply has another type than the script returns.
    fn parse(reply: Value) -> Result<Self::Reply, RedisError>;
}

/// Parses a reply of the type that the script returns.
pub(super) fn typed<T: FromRedisValue>(reply: Value) -> Result<T, RedisError> {
    Ok(from_redis_value(reply)?)
}

/// A number as the scripts write it. Any other text under a key of this cache is foreign.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
