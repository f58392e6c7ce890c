//! Finds the server of each shard, and connects to it once.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;

use super::node::{Node, Opened};
use super::open::{config, open};
use crate::access::Access;
use crate::config::Redis;
use crate::errors::failed;
use crate::keys::Keys;
use crate::locator::{Entrance, Found, KnownNodes, Locator};
use crate::topology::Topology;
use crate::transport::Pem;

/// The largest number of redirections that are followed for a shard.
const MOST_REDIRECTIONS: usize = 5;

/// A search for the servers of all shards.
#[derive(Debug)]
pub(super) struct Search {
    topology: Topology,
    access: Access,
    limit: Duration,
    known: Arc<KnownNodes>,
    pub(super) nodes: Vec<Node>,
}

impl Search {
    /// # Errors
    /// A setting cannot be used.
    pub(super) fn new(redis: &Redis) -> Result<Self, Error> {
        Ok(Self {
            topology: redis.check()?,
            access: redis.settings.access.clone(),
            limit: redis.settings.connect_limit,
            known: Arc::default(),
            nodes: Vec::new(),
        })
    }

    pub(super) fn database(&self) -> i64 {
        self.topology.database()
    }

    /// The connection to the node with this index.
    pub(super) fn connection(&mut self, node: usize) -> &mut MultiplexedConnection {
        &mut self.nodes[node].opened.connection
    }

    /// Finds the node of a shard, connects to it unless that is done, and returns its index.
    ///
    /// # Errors
    /// No server answers, or the nodes of a cluster name each other.
    pub(super) async fn node_of(&mut self, shard: Shard, keys: &Keys) -> Result<usize, Error> {
        let locator = Locator::new(
            self.topology.clone(),
            self.access.clone(),
            keys.heartbeat(),
            self.limit,
            Arc::clone(&self.known),
            shard.index().into(),
        );
        for _ in 0..MOST_REDIRECTIONS {
            let found = locator.find().await;
            let (found, entrance) = found.map_err(|error| self.not_found(shard, error))?;
            let is_same = |node: &Node| node.opened.found.is_at(&found);
            let node = match self.nodes.iter().position(is_same) {
                Some(node) => node,
                None => self.add(found, entrance, locator.root()).await?,
            };
            let exists = redis::cmd("EXISTS")
                .arg(keys.heartbeat())
                .exec_async(self.connection(node))
                .await;
            // Any other refusal says something of the server, which the caller reports.
            match exists {
                Err(error) if error.code() == Some("MOVED") => {
                    locator.follow(&failed("ask the server for a key", error));
                }
                _ => return Ok(node),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the nodes of the cluster name each other for shard {} of the namespace",
                shard.index()
            ),
        ))
    }

    /// Names the addresses that were asked. A log has them beside the error, and a tool has the
    /// error alone.
    fn not_found(&self, shard: Shard, error: Error) -> Error {
        let is_silent = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut);
        if !is_silent || error.help().is_some() {
            return error;
        }
        let problem = format!(
            "could not find the server of shard {} by {}",
            shard.index(),
            self.topology.describe()
        );
        Error::with_source(error.kind(), problem, error)
    }

    async fn add(
        &mut self,
        found: Found,
        entrance: Entrance,
        root: Option<&Pem>,
    ) -> Result<usize, Error> {
        let (connection, driver) = open(&entrance, root, config(), self.limit).await?;
        self.nodes.push(Node {
            opened: Opened {
                found,
                entrance,
                connection,
            },
            root: root.cloned(),
            limit: self.limit,
            _driver: driver,
        });
        Ok(self.nodes.len() - 1)
    }
}
