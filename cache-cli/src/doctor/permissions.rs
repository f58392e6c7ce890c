//! The commands that the server's user may not run, in each shard of a server.

use std::error::Error as _;

use cache_redis::inspect::{InspectedShard, Missing, Node};
use redis::RedisError;

use super::finding::{Finding, State};
use crate::failure::in_full;

const CHECK: &str = "permissions";

/// A line without its place, which several shards may have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    state: State,
    what: String,
    meaning: String,
    command: Option<String>,
}

/// Checks the permissions by the question that an instance asks when it connects, in each of these
/// shards of the node: a user may have the keys of some of them only.
pub(super) async fn check(
    node: &Node,
    shards: &[&InspectedShard],
    is_cluster: bool,
) -> Vec<Finding> {
    let (at, user) = (node.address(), node.user());
    let mut lacks: Vec<(Lack, Vec<String>)> = Vec::new();
    for shard in shards {
        for lack in lacks_in(shard, &user, is_cluster).await {
            let index = shard.index().to_string();
            match lacks.iter_mut().find(|(same, _)| *same == lack) {
                Some((_, indices)) => indices.push(index),
                None => lacks.push((lack, vec![index])),
            }
        }
    }
    if lacks.is_empty() {
        let what = format!("user `{user}` may run every command of the cache");
        return vec![Finding::ok(CHECK, &at, what)];
    }
    let line = |(lack, indices): (Lack, Vec<String>)| {
        let what = match indices.len() == shards.len() {
            true => lack.what,
            false => format!("shard {}: {}", indices.join(", "), lack.what),
        };
        let finding = Finding::new(CHECK, lack.state, &at, what).means(lack.meaning);
        match lack.command {
            Some(command) => finding.mended_by(command),
            None => finding,
        }
    };
    lacks.into_iter().map(line).collect()
}

/// The lines of one shard, one for each purpose of commands.
async fn lacks_in(shard: &InspectedShard, user: &str, is_cluster: bool) -> Vec<Lack> {
    let missing = match shard.missing_permissions(is_cluster).await {
        Ok(Some(missing)) => missing,
        Ok(None) => {
            return vec![Lack {
                state: State::NotKnown,
                what: "the server cannot be asked for them: it has no `redis.acl_check_cmd`"
                    .to_owned(),
                meaning: "a command that is not permitted shows when it is used".to_owned(),
                command: None,
            }];
        }
        Err(error) => return vec![unasked(shard, user, &error)],
    };
    let mut lacks = Vec::new();
    for of_purpose in missing.chunk_by(|one, other| one.to_string() == other.to_string()) {
        lacks.push(lack(user, of_purpose));
    }
    lacks
}

/// The line of a shard whose permissions cannot be asked for.
fn unasked(shard: &InspectedShard, user: &str, error: &cache_core::Error) -> Lack {
    let source = error.source().and_then(|source| source.downcast_ref());
    let is_refused = source.and_then(RedisError::code) == Some("NOPERM");
    match is_refused {
        // Without the text of the refusal, which may name a key, and so differ between shards.
        true => Lack {
            state: State::Fail,
            what: format!("user `{user}` may not run the scripts of the cache"),
            meaning: "instances do not use this server".to_owned(),
            command: Some(grant(user, &["evalsha", "script|load"], &shard.rules())),
        },
        false => Lack {
            state: State::Fail,
            what: in_full(error),
            meaning: "instances ask the same when they connect, and do not use a server that does \
                      not answer"
                .to_owned(),
            command: None,
        },
    }
}

/// The line of commands that have the same purpose.
fn lack(user: &str, missing: &[Missing]) -> Lack {
    let commands: Vec<&str> = missing.iter().map(|missing| missing.command).collect();
    let purpose = &missing[0];
    let (state, meaning) = match (purpose.is_required(), purpose.is_optional()) {
        (true, _) => (State::Fail, "instances do not use this server".to_owned()),
        (false, true) => (
            State::Info,
            format!("used for, if it is permitted: {purpose}"),
        ),
        (false, false) => (State::Warn, format!("needed for: {purpose}")),
    };
    Lack {
        state,
        what: format!("user `{user}` may not run {}", commands.join(", ")),
        meaning,
        command: Some(grant(user, &commands, &purpose.rules)),
    }
}

fn grant(user: &str, commands: &[&str], rules: &str) -> String {
    let commands: Vec<String> = commands
        .iter()
        .map(|command| format!("+{command}"))
        .collect();
    format!("ACL SETUSER {user} {} {rules}", commands.join(" "))
}
