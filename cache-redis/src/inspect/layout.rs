//! Finds out for how many shards the histories of a namespace were begun.
//!
//! # Invariant
//! The answer is "none" only if the server has shown that no shard has a history. A tool that took
//! an error for it would look at, or invalidate, one shard of many.

use cache_core::{Error, ErrorKind};
use redis::RedisError;

use super::node::Node;
use crate::errors::{failed, is_of_another_type};
use crate::other_layouts::Unanswered;
use crate::server::shards_of_history;

/// The layout of a namespace.
#[derive(Debug)]
pub(super) struct Layout {
    /// The number of shards of the histories; `None` if no shard has one. An error if a history of
    /// the layout cannot be read, or if the histories are of several layouts.
    pub(super) shards: Result<Option<u8>, Error>,
    /// The number of shards that a tool looks at: that of the first history.
    pub(super) first: Option<u8>,
}

/// Compares the histories of all shards that the namespace can have, by the rules of instances.
/// `node` has shard 0.
///
/// A user that may not read the keys of other shards has the keys of one shard only, so their
/// histories are left out. Nodes without a shard of the layout need not answer.
pub(super) async fn read(node: &Node, namespace: &str) -> Layout {
    let mut found: Option<(u8, u8)> = None;
    let mut unread: Option<(u8, RedisError)> = None;
    let mut conflict = None;
    for (index, answer) in node.histories(namespace).await {
        let text = match answer {
            Ok(text) => text,
            Err(Unanswered { error, .. }) => {
                let is_ignored =
                    is_of_another_type(&error) || (index > 0 && error.code() == Some("NOPERM"));
                if !is_ignored {
                    unread.get_or_insert((index, error));
                }
                continue;
            }
        };
        let Some(shards) = shards_of_history(&text) else {
            continue;
        };
        match found {
            _ if index >= shards => {
                conflict.get_or_insert_with(|| {
                    format!("shard {index} has a history of {shards} shards")
                });
            }
            Some((other, before)) if before != shards => {
                conflict.get_or_insert_with(|| {
                    format!(
                        "shard {other} has a history of {before} shards, and shard {index} one of \
                     {shards}"
                    )
                });
            }
            Some(_) => {}
            None => found = Some((index, shards)),
        }
    }
    let first = found.map(|(_, shards)| shards);
    let shards = match (conflict, unread) {
        (Some(conflict), _) => Err(Error::new(ErrorKind::Protocol, conflict)),
        (None, Some((index, error))) if first.is_none_or(|shards| index < shards) => {
            Err(failed("read the history of the namespace", error))
        }
        (None, _) => Ok(first),
    };
    Layout { shards, first }
}
