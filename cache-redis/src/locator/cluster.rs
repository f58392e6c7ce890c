//! Asks the nodes of a cluster which of them has a key.
//!
//! The question is a command on the key itself: the node that has the slot of the key answers it,
//! and every other node names that node (MOVED). So a name is as reliable as the redirections that
//! the cluster gives to every client, and needs no further permission. `CLUSTER SLOTS` is sent with
//! it for the addresses of the other nodes, which are asked if no seed answers. `CLUSTER SHARDS`
//! is not used: servers of version 7 leave out the slots of a shard while its primary is down.

use std::sync::Mutex;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{lock, timed_out};
use redis::{ConnectionInfo, RedisError, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::errors;
use crate::mistakes::{Peer, clearer, failed_at, not_permitted, with_tls_help};
use crate::topology::at;
use crate::transport::{self, Pem};

/// The part of the time limit after which the next node is asked.
const PAUSE: u32 = 10;

/// The largest number of nodes that are remembered.
const MOST_NODES: usize = 1_000;

/// The nodes of a cluster that some node has named, as of the last answer. The shards of an
/// instance share them.
#[derive(Debug, Default)]
pub(crate) struct KnownNodes(Mutex<Vec<(String, u16)>>);

impl KnownNodes {
    /// Returns the seeds and the known nodes, each once, beginning with the one at `first`.
    pub(super) fn candidates(&self, seeds: &[ConnectionInfo], first: usize) -> Vec<ConnectionInfo> {
        let mut found = seeds.to_vec();
        let known = lock(&self.0).clone();
        for (host, port) in known {
            // The user and the password of one seed are those of all nodes.
            let node = seeds.first().and_then(|seed| at(seed, Some(&host), port));
            found.extend(node);
        }
        let mut candidates: Vec<ConnectionInfo> = Vec::with_capacity(found.len());
        for info in found {
            if !candidates.iter().any(|known| known.addr() == info.addr()) {
                candidates.push(info);
            }
        }
        let first = first.checked_rem(candidates.len()).unwrap_or(0);
        candidates.rotate_left(first);
        candidates
    }

    fn learn(&self, nodes: Vec<(String, u16)>) {
        // A node that has just been reset knows itself alone, or no node.
        if nodes.len() > 1 {
            *lock(&self.0) = nodes;
        }
    }
}

/// The action of a search, for errors.
const WHAT: &str = "find the node of the cluster that has the namespace";

/// The answer of a node.
struct Answer {
    /// The address of the node that has the key.
    owner: Result<ConnectionInfo, RedisError>,
    nodes: Vec<(String, u16)>,
}

/// Returns the address of the node that has `key`, as the first of `candidates` that knows it says.
/// They are asked one after another, each after a tenth of `limit` or as soon as the one before it
/// has failed, so that a node without an answer does not hold up the others.
///
/// # Errors
/// None of them knows it, or none answers within `limit`.
pub(super) async fn owner(
    candidates: Vec<ConnectionInfo>,
    key: &str,
    root: Option<&Pem>,
    known: &KnownNodes,
    limit: Duration,
) -> Result<ConnectionInfo, Error> {
    let late = timed_out("find the node of a shard", "Redis", limit);
    let late = with_tls_help(late, &candidates);
    let end = Instant::now() + limit;
    let mut waiting = candidates.into_iter();
    let mut questions = JoinSet::new();
    let mut problem = None;
    loop {
        if let Some(node) = waiting.next() {
            let (key, root) = (key.to_owned(), root.cloned());
            questions.spawn(async move {
                let answer = ask(&node, &key, root.as_ref()).await;
                let (owner, nodes) = match answer {
                    Ok(Answer { owner, nodes }) => (owner, nodes),
                    Err(error) => (Err(error), Vec::new()),
                };
                (owner.map_err(|error| refused(&node, &key, error)), nodes)
            });
        }
        if questions.is_empty() {
            break;
        }
        tokio::select! {
            Some(answer) = questions.join_next() => {
                let (owner, nodes) = answer.unwrap_or_else(|error| {
                    let error = std::io::Error::other(error).into();
                    (Err(errors::failed(WHAT, error)), Vec::new())
                });
                known.learn(nodes);
                match owner {
                    Ok(owner) => return Ok(owner),
                    Err(error) => problem = Some(clearer(problem.take(), error)),
                }
            }
            () = sleep_until(end) => {
                // An answer of another node may say which setting is wrong, which helps more than
                // that this node did not answer.
                return Err(clearer(problem, late));
            }
            () = sleep(limit / PAUSE), if waiting.len() > 0 => {}
        }
    }
    Err(problem.unwrap_or_else(|| errors::failed(WHAT, errors::no_reply())))
}

fn refused(node: &ConnectionInfo, key: &str, error: RedisError) -> Error {
    match error.code() {
        Some("NOPERM") => not_permitted(node, "exists", key, error),
        _ => failed_at(WHAT, node, Peer::Server, error),
    }
}

async fn ask(node: &ConnectionInfo, key: &str, root: Option<&Pem>) -> Result<Answer, RedisError> {
    let mut question = redis::pipe();
    // Each reply is judged by itself.
    question.ignore_errors();
    question.cmd("EXISTS").arg(key).cmd("CLUSTER").arg("SLOTS");
    let replies: Vec<Result<Value, RedisError>> =
        transport::ask(node, root, async |mut connection| {
            question.query_async(&mut connection).await
        })
        .await?;
    let mut replies = replies.into_iter();
    let owner = match replies.next() {
        Some(Ok(_)) => Ok(node.clone()),
        // The node has the slot, and is about to hand it over.
        Some(Err(error)) if errors::is_of_a_migrating_slot(&error) => Ok(node.clone()),
        Some(Err(error)) => errors::moved(node, &error).ok_or(error),
        None => Err(errors::no_reply()),
    };
    // Without the permission, or on a server that is no cluster, only the seeds are known.
    let nodes = replies.next().and_then(Result::ok);
    let nodes = nodes.map_or_else(Vec::new, |slots| nodes_of(node, &slots));
    Ok(Answer { owner, nodes })
}

/// Parses the reply to `CLUSTER SLOTS`: ranges of slots, each with its first and last slot and its
/// nodes. A node begins with its host, which is missing or empty if it is the host that was asked,
/// and its port.
fn nodes_of(asked: &ConnectionInfo, reply: &Value) -> Vec<(String, u16)> {
    let own_host = || match asked.addr() {
        redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => {
            Some(host.clone())
        }
        _ => None,
    };
    let parse = |node: &Value| -> Option<(String, u16)> {
        let Value::Array(fields) = node else {
            return None;
        };
        let host: Option<String> = redis::from_redis_value(fields.first()?.clone()).ok()?;
        let host = host.filter(|host| !host.is_empty() && host != "?");
        let port = redis::from_redis_value(fields.get(1)?.clone()).ok()?;
        Some((host.or_else(own_host)?, port))
    };
    let mut nodes = Vec::new();
    let Value::Array(ranges) = reply else {
        return nodes;
    };
    for range in ranges {
        let Value::Array(range) = range else {
            continue;
        };
        for node in range.iter().skip(2).filter_map(parse) {
            if nodes.len() < MOST_NODES && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    fn info(host: &str, port: u16) -> ConnectionInfo {
        (host, port).into_connection_info().unwrap()
    }

    fn addresses(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn nodes_of_all_ranges_are_learned_once_each() {
        // The hosts are: a name, none, an empty one, and the first name again.
        let reply = "*2\r\n\
             *4\r\n:0\r\n:8191\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*3\r\n$-1\r\n:2\r\n$2\r\nid\r\n\
             *4\r\n:8192\r\n:16383\r\n*3\r\n$0\r\n\r\n:3\r\n$2\r\nid\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n";
        let reply = redis::parse_redis_value(reply.as_bytes()).unwrap();
        let nodes = nodes_of(&info("asked", 9), &reply);
        let expected = [("a", 1), ("asked", 2), ("asked", 3)];
        assert_eq!(nodes, expected.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(nodes_of(&info("asked", 9), &Value::Okay), []);
    }

    #[test]
    fn candidates_are_seeds_and_learned_nodes_and_begin_with_another_each_time() {
        let known = KnownNodes::default();
        let seeds = [info("a", 1), info("b", 2)];
        assert_eq!(addresses(&known.candidates(&seeds, 1)), ["b:2", "a:1"]);
        known.learn(vec![("b".to_owned(), 2), ("c".to_owned(), 3)]);
        assert_eq!(
            addresses(&known.candidates(&seeds, 0)),
            ["a:1", "b:2", "c:3"]
        );
        assert_eq!(
            addresses(&known.candidates(&seeds, 5)),
            ["c:3", "a:1", "b:2"]
        );
        known.learn(vec![("alone".to_owned(), 1)]);
        assert_eq!(known.candidates(&seeds, 0).len(), 3, "that node was reset");
        assert_eq!(addresses(&known.candidates(&[], 3)), [""; 0]);
    }
}
