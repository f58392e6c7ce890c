//! Reads the state that instances publish (`Redis::observe`). Nothing of it has to be there.

use std::collections::HashMap;

use cache_core::inspect::{Layout, PublishedFunction, PublishedInstance, keys};
use cache_redis::inspect::{InspectedShard, Inspection};
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};

/// Returns `true` if a key has a type that the command is not for, so that it is of another
/// program.
pub(crate) fn is_of_another_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// Runs a command on a published key; the default if it is missing, or of another type.
///
/// # Errors
/// The server does not answer, or refuses the command.
async fn read<T: FromRedisValue + Default>(
    shard: &InspectedShard,
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> Result<T, RedisError> {
    let [command, name, arguments @ ..] = words else {
        return Ok(T::default());
    };
    let mut request = redis::cmd(command);
    request.arg(shard.published_name(name)).arg(arguments);
    match request.query_async(connection).await {
        Err(error) if is_of_another_type(&error) => Ok(T::default()),
        reply => reply,
    }
}

/// Runs a command on a published key; the default if it cannot be read.
async fn read_if_possible<T: FromRedisValue + Default>(
    inspection: &Inspection,
    words: &[&str],
) -> T {
    let Some(first) = inspection.shards().first() else {
        return T::default();
    };
    let reply = read(first, &mut first.connection(), words).await;
    reply.unwrap_or_default()
}

/// Returns the functions. Those that another version published in a form that cannot be read are
/// left out.
pub(crate) async fn functions(inspection: &Inspection) -> Vec<PublishedFunction> {
    let all: HashMap<String, String> =
        read_if_possible(inspection, &["HGETALL", keys::FUNCTIONS]).await;
    let mut functions: Vec<PublishedFunction> = all
        .values()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect();
    functions.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
    functions
}

/// Returns the layout of a value type.
pub(crate) async fn layout(inspection: &Inspection, fingerprint: u64) -> Option<Layout> {
    let field = keys::fingerprint(fingerprint);
    let text: Option<String> = read_if_possible(inspection, &["HGET", keys::SHAPES, &field]).await;
    serde_json::from_str(&text?).ok()
}

/// Returns the instances that have published within their last periods, by their ids.
///
/// # Errors
/// The server does not answer, or refuses a command.
pub(crate) async fn instances(
    inspection: &Inspection,
) -> Result<Vec<PublishedInstance>, RedisError> {
    match inspection.shards().first() {
        Some(first) => instances_by(first, &mut first.connection()).await,
        None => Ok(Vec::new()),
    }
}

/// Returns what [`instances`] returns, over this connection to the node of the first shard.
///
/// # Errors
/// The server does not answer, or refuses a command.
pub(crate) async fn instances_by(
    first: &InspectedShard,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<PublishedInstance>, RedisError> {
    let list = ["ZRANGE", keys::INSTANCES, "0", "-1"];
    let ids: Vec<Vec<u8>> = read(first, connection, &list).await?;
    let mut instances: Vec<PublishedInstance> = Vec::new();
    for id in ids {
        let name = keys::instance(&String::from_utf8_lossy(&id));
        let text: Option<Vec<u8>> = read(first, connection, &["GET", &name]).await?;
        instances.extend(text.and_then(|text| serde_json::from_slice(&text).ok()));
    }
    instances.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(instances)
}
