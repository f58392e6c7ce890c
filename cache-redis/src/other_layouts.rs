//! Looks for other layouts of the namespace before the history of a shard begins.
//!
//! # Invariant
//! A shard begins a history in one layout only while no shard has one of another layout. So a shard
//! of this layout that has a history shows that no other layout has begun since.

use std::collections::HashMap;
use std::time::Duration;

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::commands::LONGEST_TEXT;
use crate::errors::{self, failed};
use crate::permissions::Purpose;
use crate::session::{Link, RedisSession};
use crate::transport::Pem;
use crate::{server, transport};

/// The index of a shard with the text of its history, or the reason why it cannot be asked.
pub(crate) type Answer = (u8, Result<Vec<u8>, Unanswered>);

/// The reason why a shard cannot be asked.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: RedisError,
    /// The node that was asked.
    address: String,
}

/// Findings in the histories of other shards.
#[derive(Debug, Default)]
struct Seen {
    /// A shard has a history of this layout.
    own: bool,
    /// The first shard that did not answer.
    failure: Option<(u8, Unanswered)>,
}

impl RedisSession {
    /// Looks whether a history of this shard may begin although the shard has none: its server may
    /// have lost its data, while other instances still use the other shards in another layout.
    ///
    /// Shard 0 begins the first history of a namespace, and may begin if no shard has another
    /// layout. Any other shard begins only in a layout that is seen in some shard: shard 0 decides
    /// between layouts that arrive at the same time. Returns `false` if it is not seen.
    ///
    /// A user that may not read the keys of other shards has the keys of one shard only, and is not
    /// stopped.
    ///
    /// # Errors
    /// The namespace has another layout, or too few shards can be asked.
    pub(crate) async fn look_for_other_layouts(
        &self,
        link: &Link,
        info: &ConnectionInfo,
    ) -> Result<bool, Error> {
        if self.permissions.lacks(Purpose::OtherLayouts) {
            return Ok(true);
        }
        let own = self.shard.index();
        let mut seen = Seen::default();
        let mut others: Vec<u8> = (0..Shard::MAX).filter(|index| *index != own).collect();
        if own != 0 {
            // Commonly shard 0 has a history, and no other shard must be asked.
            others.remove(0);
            self.look_at(link, info, &[0], &mut seen).await?;
        }
        if !seen.own {
            self.look_at(link, info, &others, &mut seen).await?;
        }
        match (seen.own, seen.failure) {
            (true, _) => Ok(true),
            (false, Some((index, unanswered))) => Err(self.cannot_begin(index, unanswered)),
            (false, None) => Ok(own == 0),
        }
    }

    /// The error of a look without an answer of this shard.
    fn cannot_begin(&self, index: u8, Unanswered { error, address }: Unanswered) -> Error {
        let namespace = &self.settings.namespace;
        // Not the source itself, which would be treated as a redirection of this shard.
        let source = failed("read the history of that shard", error);
        let error = Error::with_source(
            ErrorKind::Unavailable,
            format!(
                "no shard of the namespace `{namespace}` that answers has a history, and the first one begins \
                 only while all {} possible shards answer; shard {index} (`{{{namespace}:{index}}}`, asked at \
                 {address}) does not",
                Shard::MAX
            ),
            source,
        );
        error.with_help(
            "make all nodes reachable and assign all slots once; then each shard needs its own node \
             only",
        )
    }

    /// Reads the histories of some shards.
    ///
    /// # Errors
    /// One of them is of another layout.
    async fn look_at(
        &self,
        link: &Link,
        info: &ConnectionInfo,
        shards: &[u8],
        seen: &mut Seen,
    ) -> Result<(), Error> {
        for (index, answer) in self.histories(link, info, shards).await {
            match answer {
                Ok(text) => match server::shards_of_history(&text) {
                    Some(of) if of == self.layout.shards() && index < of => seen.own = true,
                    Some(of) => return Err(self.layout.conflicts(self.shard, of)),
                    None => {}
                },
                Err(Unanswered { error, .. }) if errors::is_of_another_type(&error) => {}
                // On a server that cannot be asked for permissions.
                Err(Unanswered { error, .. }) if error.code() == Some("NOPERM") => {}
                Err(unanswered) => {
                    // The first, so that the shards of an instance say the same.
                    let before = seen.failure.as_ref();
                    if before.is_none_or(|(before, _)| index < *before) {
                        seen.failure = Some((index, unanswered));
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks the server of this link, and then the nodes that it names, each within a part of the
    /// time that a link may take.
    async fn histories(&self, link: &Link, info: &ConnectionInfo, shards: &[u8]) -> Vec<Answer> {
        let asked = Asked {
            connection: link.data.clone(),
            info,
            root: self.locator.root(),
            limit: self.settings.connect_limit / 3,
        };
        let names = |index: &u8| (*index, self.keys.history_of(*index));
        histories(asked, shards.iter().map(names).collect()).await
    }
}

/// A server that is asked for histories.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) connection: MultiplexedConnection,
    /// The address and the credentials, which are those of the other nodes as well.
    pub(crate) info: &'a ConnectionInfo,
    pub(crate) root: Option<&'a Pem>,
    /// The time that each of the other nodes has.
    pub(crate) limit: Duration,
}

/// Reads the histories of the shards with these indices, whose keys have these names: from the
/// server, and from the nodes that it names instead of itself.
pub(crate) async fn histories(asked: Asked<'_>, names: Vec<(u8, String)>) -> Vec<Answer> {
    let Asked {
        connection,
        info,
        root,
        limit,
    } = asked;
    let address = info.addr().to_string();
    // A task that panics leaves some shard without an answer, and it is unknown which.
    let first: Vec<_> = names.first().cloned().into_iter().collect();
    let mut answers = read(connection, names.clone(), &address).await;
    let name_of: HashMap<u8, String> = names.into_iter().collect();
    let mut elsewhere: HashMap<String, (ConnectionInfo, Vec<_>)> = HashMap::new();
    answers.retain(|(index, text)| {
        let moved = text.as_ref().err();
        let moved = moved.and_then(|unanswered| errors::moved(info, &unanswered.error));
        let (Some(node), Some(name)) = (moved, name_of.get(index)) else {
            return true;
        };
        let address = node.addr().to_string();
        let node = elsewhere.entry(address).or_insert((node, Vec::new()));
        node.1.push((*index, name.clone()));
        false
    });
    let mut questions = JoinSet::new();
    for (address, (node, names)) in elsewhere {
        let root = root.cloned();
        questions.spawn(async move {
            let failed = names.clone();
            let question = async |connection| Ok(read(connection, names, &address).await);
            let asked = timeout(limit, transport::ask(&node, root.as_ref(), question)).await;
            let asked = asked.unwrap_or_else(|_| Err(errors::no_reply()));
            asked.unwrap_or_else(|error| all_failed(&failed, &address, &error))
        });
    }
    while let Some(asked) = questions.join_next().await {
        match asked {
            Ok(asked) => answers.extend(asked),
            Err(panic) => {
                let error = std::io::Error::other(panic).into();
                answers.extend(all_failed(&first, &address, &error));
            }
        }
    }
    answers
}

/// Reads the histories of the shards with these indices, whose keys have these names.
async fn read(
    mut connection: MultiplexedConnection,
    names: Vec<(u8, String)>,
    address: &str,
) -> Vec<Answer> {
    let mut pipeline = redis::pipe();
    // Each reply is judged by itself.
    pipeline.ignore_errors();
    for (_, name) in &names {
        pipeline.cmd("GETRANGE").arg(name).arg(0).arg(LONGEST_TEXT);
    }
    let replies: Result<Vec<Result<Vec<u8>, RedisError>>, _> =
        pipeline.query_async(&mut connection).await;
    match replies {
        Ok(replies) => {
            let unanswered = |error| Unanswered {
                error,
                address: address.to_owned(),
            };
            let replies = replies.into_iter().map(|reply| reply.map_err(unanswered));
            names.iter().map(|(index, _)| *index).zip(replies).collect()
        }
        Err(error) => all_failed(&names, address, &error),
    }
}

fn all_failed(names: &[(u8, String)], address: &str, error: &RedisError) -> Vec<Answer> {
    let failed = names.iter().map(|(index, _)| {
        let (error, address) = (error.clone(), address.to_owned());
        (*index, Err(Unanswered { error, address }))
    });
    failed.collect()
}
