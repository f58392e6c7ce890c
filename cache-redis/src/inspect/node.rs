//! A server, connected to.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::Shard;
use cache_core::tier::kit::AbortOnDrop;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use super::open::{config, open};
use super::shard::InspectedShard;
use crate::errors::failed;
use crate::keys::history_of;
use crate::locator::{Entrance, Found};
use crate::other_layouts::{Answer, Asked, histories};
use crate::server;
use crate::transport::Pem;

/// A connection, and where it leads.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) found: Found,
    pub(super) entrance: Entrance,
    pub(super) connection: MultiplexedConnection,
}

/// A server that has some shard of the namespace.
#[derive(Debug)]
pub struct Node {
    pub(super) opened: Opened,
    pub(super) root: Option<Pem>,
    pub(super) limit: Duration,
    /// Ends the connection with this value.
    pub(super) _driver: AbortOnDrop<()>,
}

impl Node {
    /// Returns the address of the node, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.opened.found.info.addr().to_string()
    }

    /// Returns the connection to the node.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.opened.connection.clone()
    }

    /// Returns the user of the connection.
    #[must_use]
    pub fn user(&self) -> String {
        let redis = self.opened.entrance.info.redis_settings();
        redis.username().unwrap_or("default").to_owned()
    }

    /// Opens another connection to the same address.
    ///
    /// # Errors
    /// The server does not answer, or refuses the connection.
    ///
    /// # Cancel safety
    /// Cancel safe: the connection is closed.
    pub async fn open(&self) -> Result<(MultiplexedConnection, AbortOnDrop<()>), Error> {
        self.open_with(config()).await
    }

    pub(super) async fn open_with(
        &self,
        config: AsyncConnectionConfig,
    ) -> Result<(MultiplexedConnection, AbortOnDrop<()>), Error> {
        open(
            &self.opened.entrance,
            self.root.as_ref(),
            config,
            self.limit,
        )
        .await
    }

    /// Checks that instances can use the server, as they do when they connect.
    ///
    /// # Errors
    /// The reason why they cannot.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check(&self, shard: &InspectedShard) -> Result<(), Error> {
        let heartbeat = shard.controls().heartbeat;
        server::greet(&mut self.connection(), &heartbeat, 1)
            .await
            .map(drop)
    }

    /// Reads the histories of all shards that a namespace can have, in the order of their indices:
    /// from this node, and from those that it names.
    pub(super) async fn histories(&self, namespace: &str) -> Vec<Answer> {
        let asked = Asked {
            connection: self.connection(),
            info: &self.opened.entrance.info,
            root: self.root.as_ref(),
            limit: self.limit,
        };
        let name = |index| (index, history_of(namespace, index));
        let mut answers = histories(asked, (0..Shard::MAX).map(name).collect()).await;
        answers.sort_by_key(|(index, _)| *index);
        answers
    }

    /// Returns the server's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// The server does not answer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn clock(&self) -> Result<u64, Error> {
        let time = redis::cmd("TIME");
        let time = time.query_async::<(u64, u64)>(&mut self.connection()).await;
        let time = time.map_err(|error| failed("read the server's clock", error))?;
        Ok(server::millis_of(time))
    }
}
