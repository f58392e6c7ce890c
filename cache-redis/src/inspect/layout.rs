//! Finds out for how many shards the histories of a namespace were begun.
//!
//! # Invariant
//! The answer is "none" only if the server has shown that no shard has a history. A tool that took
//! an error for it would look at, or invalidate, one shard of many.

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::find::Search;
use crate::commands::LONGEST_TEXT;
use crate::commands::read::range;
use crate::config::Redis;
use crate::errors::{failed, is_of_another_type};
use crate::keys::Keys;
use crate::server::shards_of_history;

type Answer = Result<Vec<u8>, RedisError>;

/// Returns the number of shards of the history of shard 0, or of those of the others if it has
/// none; `None` if no shard has a history. `first` is the node that has shard 0.
///
/// # Errors
/// A history cannot be read, or the histories are of several layouts. A user that may not read the
/// keys of other shards has the keys of one shard only, so their histories are left out.
pub(super) async fn shards(
    redis: &Redis,
    keys: &Keys,
    mut first: MultiplexedConnection,
) -> Result<Option<u8>, Error> {
    let own = history(&mut first, &keys.history()).await;
    if let Some(shards) = shards_in(own).map_err(unread)? {
        return Ok(Some(shards));
    }
    let mut found = None;
    for (index, answer) in others(redis, keys, &mut first).await? {
        let shards = match answer {
            Err(error) if error.code() == Some("NOPERM") => continue,
            answer => shards_in(answer).map_err(unread)?,
        };
        let Some(shards) = shards else { continue };
        match found {
            Some((other, before)) if before != shards => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!(
                        "shard {other} has a history of {before} shards, and shard {index} one of \
                         {shards}"
                    ),
                ));
            }
            _ => found = Some((index, shards)),
        }
    }
    Ok(found.map(|(_, shards)| shards))
}

/// The histories of all shards but the first: from its node, and from the nodes that have those
/// which are not there.
async fn others(
    redis: &Redis,
    keys: &Keys,
    first: &mut MultiplexedConnection,
) -> Result<Vec<(u8, Answer)>, Error> {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for index in 1..Shard::MAX {
        pipeline.add_command(range(&keys.history_of(index), LONGEST_TEXT));
    }
    let answers: Vec<Answer> = pipeline.query_async(first).await.map_err(unread)?;
    let mut answers: Vec<(u8, Answer)> = (1..).zip(answers).collect();
    let mut search = None;
    let all = Shard::all(Shard::MAX)?;
    for (index, answer) in &mut answers {
        let is_elsewhere = |error: &RedisError| error.code() == Some("MOVED");
        if !answer.as_ref().is_err_and(is_elsewhere) {
            continue;
        }
        let search = match &mut search {
            Some(search) => search,
            None => search.insert(Search::new(redis)?),
        };
        let shard = all[usize::from(*index)];
        let keys = Keys::new(&redis.settings.namespace, shard, search.database());
        let node = search.node_of(shard, &keys).await?;
        *answer = history(search.connection(node), &keys.history()).await;
    }
    Ok(answers)
}

async fn history(connection: &mut MultiplexedConnection, name: &str) -> Answer {
    range(name, LONGEST_TEXT).query_async(connection).await
}

/// A text of another type is no history, as for instances.
fn shards_in(answer: Answer) -> Result<Option<u8>, RedisError> {
    match answer {
        Ok(text) => Ok(shards_of_history(&text)),
        Err(error) if is_of_another_type(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unread(error: RedisError) -> Error {
    failed("read the history of the namespace", error)
}
