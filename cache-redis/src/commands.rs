//! The commands of the tier that run as Lua scripts. Each has a file: what it does, its keys, its
//! arguments and its reply, with its text beside it in `lua/`.
//!
//! A script runs as one step on the server and costs one round trip. The texts are sent when a link
//! is made. If the server has forgotten a text since then, the text is sent again before the
//! command is repeated. All keys of a script, and its channel, are in one slot of a cluster.
//!
//! Foreign text or another type under a key of this cache is treated as a missing key and replaced.

pub(crate) mod attach;
mod command;
pub(crate) mod deadlock;
pub(crate) mod fill;
pub(crate) mod forget;
pub(crate) mod guard;
pub(crate) mod inspect;
pub(crate) mod invalidate;
pub(crate) mod lease;
pub(crate) mod lease_free;
pub(crate) mod ledger;
pub(crate) mod ledger_read;
pub(crate) mod note;
pub(crate) mod permissions;
#[cfg(feature = "inspect")]
pub(crate) mod publish;
pub(crate) mod read;
pub(crate) mod read_many;
pub(crate) mod release;
pub(crate) mod renew;
pub(crate) mod restore;
mod script;
pub(crate) mod stamps;
pub(crate) mod waits;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, Value};

pub(crate) use self::command::Command;
use self::command::Invocation;
pub(crate) use self::script::LONGEST_TEXT;
use self::script::Script;
use crate::keys::Keys;

/// The largest number of commands in one pipeline.
pub(crate) const PORTION: usize = 256;

/// All scripts.
static SCRIPTS: &[&Script] = &[
    &attach::SCRIPT,
    &read::SCRIPT,
    &lease::SCRIPT,
    &lease::MARKED,
    &lease_free::SCRIPT,
    &lease_free::MARKED,
    &ledger::COUNT,
    &ledger::BEGIN,
    &fill::SCRIPT,
    &fill::RECORDS,
    &restore::SCRIPT,
    &release::SCRIPT,
    &renew::SCRIPT,
    &deadlock::SCRIPT,
    &waits::HOLDER,
    &waits::NOTE,
    &waits::WAITS_OF,
    &guard::GUARD,
    &guard::UNGUARD,
    &invalidate::KEY,
    &invalidate::KEYS,
    &invalidate::FUNCTION,
    &invalidate::ALL,
    #[cfg(feature = "inspect")]
    &invalidate::HISTORY,
    &forget::SCRIPT,
    &note::SCRIPT,
    &permissions::SCRIPT,
    #[cfg(feature = "inspect")]
    &publish::INSTANCE,
    #[cfg(feature = "inspect")]
    &publish::FIELDS,
    #[cfg(feature = "inspect")]
    &publish::REMOVAL,
];

/// Sends all scripts to a server, so that the first use of each costs one round trip as well.
pub(crate) async fn load(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut pipeline = redis::pipe();
    for script in SCRIPTS {
        pipeline.load_script(script).ignore();
    }
    pipeline.exec_async(connection).await
}

/// Runs one command.
pub(crate) async fn send<C: Command>(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    command: C,
) -> Result<C::Reply, RedisError> {
    let reply = invocation(keys, command).send(connection).await?;
    C::parse(reply)
}

/// Runs several commands in one round trip. If the server has forgotten a script, it is sent all of
/// them again, so each must be one that may run twice.
///
/// # Errors
/// The server refused one of them, and may have run the others.
pub(crate) async fn send_all<C: Command>(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    commands: impl IntoIterator<Item = C>,
) -> Result<Vec<C::Reply>, RedisError> {
    let pipeline = pipeline(keys, commands);
    let replies: Vec<Value> = match pipeline.query_async(connection).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            load(connection).await?;
            pipeline.query_async(connection).await?
        }
        replies => replies?,
    };
    replies.into_iter().map(C::parse).collect()
}

/// Runs several commands in one round trip, and returns for each its reply or the server's refusal.
/// If the server has forgotten a script, it is sent all of them again, so each must be one that may
/// run twice.
///
/// # Errors
/// The server did not reply, or a reply cannot be parsed.
pub(crate) async fn send_each<C: Command>(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    commands: impl IntoIterator<Item = C>,
) -> Result<Vec<Result<C::Reply, RedisError>>, RedisError> {
    let mut pipeline = pipeline(keys, commands);
    pipeline.ignore_errors();
    let mut replies: Vec<Result<Value, RedisError>> = pipeline.query_async(connection).await?;
    let is_unknown = |reply: &Result<Value, RedisError>| {
        let error = reply.as_ref().err();
        error.and_then(RedisError::code) == Some("NOSCRIPT")
    };
    if replies.iter().any(is_unknown) {
        load(connection).await?;
        replies = pipeline.query_async(connection).await?;
    }
    let parse = |reply: Result<Value, RedisError>| reply.map(C::parse);
    replies
        .into_iter()
        .map(|reply| match parse(reply) {
            Ok(parsed) => parsed.map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        })
        .collect()
}

fn pipeline<C: Command>(keys: &Keys, commands: impl IntoIterator<Item = C>) -> Pipeline {
    let commands = commands.into_iter();
    let mut pipeline = Pipeline::with_capacity(commands.size_hint().0);
    for command in commands {
        add(&mut pipeline, keys, command);
    }
    pipeline
}

/// Adds one command to a pipeline.
pub(crate) fn add<C: Command>(pipeline: &mut Pipeline, keys: &Keys, command: C) {
    pipeline.add_command(invocation(keys, command).command());
}

/// A script with its keys and arguments.
fn invocation<C: Command>(keys: &Keys, command: C) -> Invocation {
    let mut invocation = Invocation::new(command.script());
    command.write(keys, &mut invocation);
    invocation
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
