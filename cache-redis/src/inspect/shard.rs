//! One shard: its keys, read, judged and invalidated as the tier does it.

use cache_core::Error;
use cache_core::tier::{FunctionKey, RecordKey, Shard};
use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::key::{self, StoredKey};
use super::lease::{self, Guard, LeaseOnKey};
use crate::commands::read::{history_number, number, range, text_in};
use crate::commands::{LONGEST_TEXT, read};
use crate::errors::{failed, is_of_another_type};
use crate::keys::Keys;
use crate::matching::escaped;

/// One shard of a namespace.
#[derive(Debug)]
pub struct InspectedShard {
    pub(super) shard: Shard,
    pub(super) keys: Keys,
    node: usize,
    connection: MultiplexedConnection,
}

/// The names of the keys of a shard that belong to no function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Controls {
    /// The history of the data set.
    pub history: String,
    /// The number of the last message.
    pub sequence: String,
    /// The key that instances write each second.
    pub heartbeat: String,
    /// The ledger of tags and expiries.
    pub ledger: String,
    /// The stream of the audit.
    pub audit: String,
    /// The channel of invalidations.
    pub channel: String,
    /// A channel without messages. A tool subscribes to it together with
    /// [`channel`](Self::channel), so that it is not counted as an instance.
    pub tools: String,
    /// A channel and a key that no instance uses.
    pub scratch: String,
}

/// A record, and the control keys that it is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The bytes of the record.
    pub record: Option<Vec<u8>>,
    /// The epoch of the function, if there is one.
    pub epoch: Option<u64>,
    /// The history of the shard, if there is one.
    pub history: Option<u64>,
    /// The time until the server removes the record, in milliseconds; `None` if it never does.
    pub left_ms: Option<u64>,
}

impl InspectedShard {
    pub(super) fn new(
        shard: Shard,
        keys: Keys,
        node: usize,
        connection: MultiplexedConnection,
    ) -> Self {
        Self {
            shard,
            keys,
            node,
            connection,
        }
    }

    /// Returns the index of the shard.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.shard.index()
    }

    pub(super) fn node(&self) -> usize {
        self.node
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the connection to the node of the shard.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Returns the names of the keys of the shard itself.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls {
            history: self.keys.history(),
            sequence: self.keys.sequence(),
            heartbeat: self.keys.heartbeat(),
            ledger: self.keys.ledger(),
            audit: self.keys.audit(),
            channel: self.keys.channel(),
            tools: format!("{}#tools", self.keys.prefix()),
            scratch: format!("{}#scratch", self.keys.prefix()),
        }
    }

    /// Returns the name of a record.
    #[must_use]
    pub fn record_name(&self, key: &RecordKey) -> String {
        self.keys.record(key)
    }

    /// Returns the names of the keys that a record has, or may have: of the record, of the lease on
    /// it, and of its write guards.
    #[must_use]
    pub fn names_of(&self, key: &RecordKey) -> [String; 3] {
        [
            self.keys.record(key),
            self.keys.lease(key),
            self.keys.guards(key),
        ]
    }

    /// Returns a pattern of the server for all keys of the shard, for `SCAN` and for an ACL.
    #[must_use]
    pub fn pattern(&self) -> String {
        escaped(self.keys.prefix()) + "*"
    }

    /// Returns a pattern of the server for the names of all records of a function, and of what is
    /// beside them.
    #[must_use]
    pub fn pattern_of(&self, function: &FunctionKey) -> String {
        escaped(&self.keys.prefix_of(function)) + "*"
    }

    /// Returns the name of the epoch of a function.
    #[must_use]
    pub fn epoch_name(&self, function: &FunctionKey) -> String {
        self.keys.epoch(function)
    }

    /// Returns the name of a key that instances publish: one of
    /// [`cache_core::inspect::keys`](https://docs.rs/cache-core), which are in the first shard.
    #[must_use]
    pub fn published_name(&self, name: &str) -> String {
        format!("{}{name}", self.keys.prefix())
    }

    /// Reads the name of a key. `None` if it is of another shard, or no name that the tier writes.
    #[must_use]
    pub fn key_named(&self, name: &str) -> Option<StoredKey> {
        key::read(&self.keys, name)
    }

    /// Reads a record, up to and including the byte at `last`, and what it is judged by.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read(&self, key: &RecordKey, last: usize) -> Result<Stored, Error> {
        let mut connection = self.connection();
        let read = async {
            let mut pttl = redis::cmd("PTTL");
            pttl.arg(self.keys.record(key));
            let left: i64 = pttl.query_async(&mut connection).await?;
            let reply = read::record_with_controls(&mut connection, &self.keys, key, last).await?;
            Ok((left, reply))
        };
        let (left, reply) = read.await.map_err(|error| failed("read a record", error))?;
        Ok(Stored {
            record: reply.record,
            epoch: reply.epoch,
            history: reply.history,
            left_ms: u64::try_from(left).ok(),
        })
    }

    /// Returns the history of the shard, by its number.
    ///
    /// # Errors
    /// The server does not answer, or refuses the command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn history(&self) -> Result<Option<u64>, Error> {
        let text = self.text(&self.keys.history()).await;
        let text = text.map_err(|error| failed("read the history", error))?;
        Ok(history_number(&text))
    }

    /// Returns the lease on a key, or the mark of a load that failed.
    ///
    /// # Errors
    /// The server does not answer, or refuses a command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn lease_on(&self, key: &RecordKey) -> Result<Option<LeaseOnKey>, Error> {
        let name = self.keys.lease(key);
        let read = async {
            let text = self.text(&name).await?;
            let mut pttl = redis::cmd("PTTL");
            pttl.arg(&name);
            let left: i64 = pttl.query_async(&mut self.connection()).await?;
            Ok(lease::parse(&text, u64::try_from(left).unwrap_or(0)))
        };
        read.await.map_err(|error| failed("read a lease", error))
    }

    /// Returns the write guards on a key. Those that have expired are included until the server
    /// removes them.
    ///
    /// # Errors
    /// The server does not answer, or refuses the command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn guards_on(&self, key: &RecordKey) -> Result<Vec<Guard>, Error> {
        let mut read = redis::cmd("ZRANGEBYSCORE");
        read.arg(self.keys.guards(key))
            .arg(&["-inf", "+inf", "WITHSCORES"]);
        let found = read
            .query_async::<Vec<(String, f64)>>(&mut self.connection())
            .await;
        let found = match found {
            Err(error) if is_of_another_type(&error) => Vec::new(),
            found => found.map_err(|error| failed("read the guards", error))?,
        };
        let guard = |(number, expires): (String, f64)| Guard {
            number,
            expires_ms: expires as u64,
        };
        Ok(found.into_iter().map(guard).collect())
    }

    /// A short text under a control key, empty if there is none.
    async fn text(&self, name: &str) -> Result<Vec<u8>, RedisError> {
        let range = range(name, LONGEST_TEXT);
        text_in(range.query_async(&mut self.connection()).await)
    }

    /// Returns the number of the last message; `None` if there is none.
    ///
    /// # Errors
    /// The server does not answer, or refuses the command.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn sequence(&self) -> Result<Option<u64>, Error> {
        let text = self.text(&self.keys.sequence()).await;
        let text = text.map_err(|error| failed("read the sequence", error))?;
        Ok(number(&text))
    }
}
