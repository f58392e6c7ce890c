//! The channel of a shard, read beside the instances.

use std::collections::HashMap;
use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::Error;
use cache_core::tier::kit::AbortOnDrop;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisError, Value};
use tokio::sync::mpsc;

use super::node::Node;
use super::open;
use super::shard::{Controls, InspectedShard};
use crate::barrier;
use crate::errors::failed;
use crate::message::{Digests, Message, Payload};

/// The messages that are kept for a reader that is slower than the channel. Later ones are lost.
const MOST_KEPT: usize = 4096;

/// A message of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announcement {
    /// The number of the message; `None` for a payload that is not of this cache.
    pub number: Option<u64>,
    /// Subject of the message.
    pub subject: Subject,
}

impl Announcement {
    /// Makes an announcement, for tests of a tool.
    #[must_use]
    pub fn new(number: Option<u64>, subject: Subject) -> Self {
        Self { number, subject }
    }
}

/// Subject of a message. Keys, functions and tags are named by their digests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// Keys were invalidated.
    Keys(Vec<u64>),
    /// A key was filled, or its lease released.
    Free(u64),
    /// The load of a key failed.
    Failed(u64),
    /// A function was invalidated.
    Function(u64),
    /// Everything was invalidated: a new history was begun.
    History(u64),
    /// The sequence was missing, and begins again.
    Sequence,
    /// Tags were invalidated.
    Tags(Vec<u64>),
    /// Keys, functions or tags were expired.
    Expired(Vec<u64>),
    /// The ledger begins its next generation.
    LedgerRotated,
    /// A ledger was begun, because there was none.
    LedgerBegun,
    /// All tags were invalidated.
    AllTags,
    /// The message is of a newer version.
    Unknown,
    /// The payload is not of this cache.
    Foreign,
}

/// The messages of a shard's channel, from the subscription on.
#[derive(Debug)]
pub struct Messages {
    received: mpsc::Receiver<Announcement>,
    /// Relaxed: the number orders nothing.
    lost: Arc<AtomicU64>,
    connection: MultiplexedConnection,
    _driver: AbortOnDrop<()>,
}

impl Messages {
    /// Returns the next message. `None` once the subscription has ended: with its connection, or
    /// because the slot of the channel was moved to another node of a cluster.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn next(&mut self) -> Option<Announcement> {
        self.received.recv().await
    }

    /// Returns the messages that have arrived and were not taken yet.
    pub fn arrived(&mut self) -> Vec<Announcement> {
        iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// Returns the number of messages that were lost because the reader was too slow.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns the connection of the subscription: a reply on it arrives after the messages that
    /// the server sent before it.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }
}

/// The clients that listen to the channel of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listeners {
    /// The number of instances.
    pub instances: u64,
    /// The number of tools, such as [`InspectedShard::messages`].
    pub tools: u64,
}

impl InspectedShard {
    /// Counts the clients that listen to the channel. A client of another program that subscribes
    /// to it is counted as an instance.
    ///
    /// # Errors
    /// The server does not answer, or refuses the command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn listeners(&self) -> Result<Listeners, Error> {
        let Controls { channel, tools, .. } = self.controls();
        let mut count = redis::cmd("PUBSUB");
        count.arg("SHARDNUMSUB").arg(&channel).arg(&tools);
        let counted = count
            .query_async::<HashMap<String, u64>>(&mut self.connection())
            .await
            .map_err(|error| failed("count the subscribers of the channel", error))?;
        let of = |name: &String| counted.get(name).copied().unwrap_or_default();
        Ok(Listeners {
            instances: of(&channel).saturating_sub(of(&tools)),
            tools: of(&tools),
        })
    }

    /// Subscribes to the channel of the shard, on a connection of its own to its `node`.
    ///
    /// # Errors
    /// The server does not answer, or refuses the subscription.
    ///
    /// # Cancel safety
    /// Cancel safe: the connection is closed.
    pub async fn messages(&self, node: &Node) -> Result<Messages, Error> {
        let names = self.controls();
        self.subscribe(node, &[names.channel, names.tools]).await
    }

    /// Subscribes to a channel that no instance uses, to measure how messages arrive.
    ///
    /// # Errors
    /// The server does not answer, or refuses the subscription.
    ///
    /// # Cancel safety
    /// Cancel safe: the connection is closed.
    pub async fn scratch_messages(&self, node: &Node) -> Result<Messages, Error> {
        self.subscribe(node, &[self.controls().scratch]).await
    }

    /// Sends a barrier without functions on the connection of a subscription, as an instance does
    /// several times within the staleness bound, and waits for its reply.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn barrier(&self, messages: &Messages) -> Result<(), Error> {
        let request = barrier::request(self.keys(), iter::empty());
        let replies = request.query_async(&mut messages.connection()).await;
        let replies: Vec<Result<Vec<u8>, RedisError>> =
            replies.map_err(|error| failed("send a barrier", error))?;
        for reply in replies {
            reply.map_err(|error| failed("send a barrier", error))?;
        }
        Ok(())
    }

    async fn subscribe(&self, node: &Node, channels: &[String]) -> Result<Messages, Error> {
        let (sender, received) = mpsc::channel(MOST_KEPT);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        // Held for single statements. `None` after the end of the subscription.
        let sender = Mutex::new(Some(sender));
        let forward = move |push: PushInfo| -> Result<(), SendError> {
            let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
            match (push.kind, &*push.data) {
                (PushKind::SMessage, [_, Value::BulkString(payload)]) => {
                    let sent = sender.as_ref().map(|sender| sender.try_send(read(payload)));
                    if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // The connection stays, and nothing arrives on it any more.
                (PushKind::SUnsubscribe, _) => *sender = None,
                _ => {}
            }
            Ok(())
        };
        let config = open::config().set_push_sender(forward);
        let (mut connection, driver) = node.open_with(config).await?;
        redis::cmd("SSUBSCRIBE")
            .arg(channels)
            .exec_async(&mut connection)
            .await
            .map_err(|error| failed("subscribe to the channel of invalidations", error))?;
        Ok(Messages {
            received,
            lost,
            connection,
            _driver: driver,
        })
    }
}

fn read(payload: &[u8]) -> Announcement {
    let (number, subject) = match Payload::parse(payload) {
        Payload::Message(number, message) => (Some(number), subject(message)),
        Payload::UnknownKind(number) => (Some(number), Subject::Unknown),
        Payload::Foreign => (None, Subject::Foreign),
    };
    Announcement { number, subject }
}

fn subject(message: Message<'_>) -> Subject {
    let all = |digests: Digests<'_>| digests.each().collect();
    match message {
        Message::Keys(digests) => Subject::Keys(all(digests)),
        Message::Free(key) => Subject::Free(key),
        Message::Failed(key) => Subject::Failed(key),
        Message::Function(function) => Subject::Function(function),
        Message::History(number) => Subject::History(number),
        Message::Sequence => Subject::Sequence,
        Message::Tags(entry) => Subject::Tags(all(entry.digests)),
        Message::Expired(entry) => Subject::Expired(all(entry.digests)),
        Message::Rotated(..) => Subject::LedgerRotated,
        Message::LedgerBegun(_) => Subject::LedgerBegun,
        Message::AllTags(_) => Subject::AllTags,
    }
}
