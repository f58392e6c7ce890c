//! A view of a namespace for tools of operators: its servers, the names of its keys, and how
//! records are judged and invalidated.
//!
//! Everything here uses the code of the tier, so that a tool and the instances cannot disagree. A
//! tool that looks begins no history and is no instance: it has no leases, no fences and no queue.

mod channel;
mod find;
mod histories;
mod invalidate;
mod key;
mod layout;
mod lease;
mod marks;
mod node;
mod open;
mod permissions;
mod shard;

use std::time::Duration;

use cache_core::tier::Shard;
use cache_core::{Environment, Error};

pub use self::channel::{Announcement, Listeners, Messages, Subject};
use self::find::Search;
pub use self::histories::Histories;
pub use self::invalidate::Invalidated;
pub use self::key::{Place, StoredKey};
pub use self::lease::{Guard, LeaseKind, LeaseOnKey};
pub use self::marks::{JudgedMarks, LedgerRange, MarksReason};
pub use self::node::Node;
pub use self::permissions::Missing;
pub use self::shard::{Controls, InspectedShard, Stored};
use crate::config::Redis;
use crate::env;
use crate::keys::Keys;

/// The age after which a heartbeat is removed: its remaining life says when it was written.
pub const HEARTBEAT_LIFE: Duration = Duration::from_secs(10);

/// Returns the settings that environment variables describe. `variables` are names without
/// `MULTI_TIER_CACHED_`, with their values.
///
/// # Errors
/// A variable cannot be used; the error names it.
pub fn from_variables(variables: &[(&str, &str)]) -> Result<Option<Redis>, Error> {
    env::redis(&Environment::of(variables))
}

/// The servers of a namespace, connected to.
#[derive(Debug)]
pub struct Inspection {
    namespace: String,
    time_limit: Duration,
    /// The number of shards of the histories.
    layout: Result<Option<u8>, Error>,
    nodes: Vec<Node>,
    shards: Vec<InspectedShard>,
}

impl Inspection {
    /// Connects to the servers of the namespace. The number of shards is that of its first history,
    /// or that of the settings if no instance has begun one, or if none can be read.
    ///
    /// A server that the tier could not use is connected to as well, so that a tool can say what is
    /// wrong with it.
    ///
    /// # Errors
    /// The settings cannot be used, or a server does not answer.
    ///
    /// # Cancel safety
    /// Cancel safe: the connections are closed.
    pub async fn connect(redis: &Redis) -> Result<Self, Error> {
        let mut search = Search::new(redis)?;
        let namespace = redis.settings.namespace.clone();
        let database = search.database();
        let configured = Shard::all(redis.shard_count())?;
        let keys = Keys::new(&namespace, configured[0], database);
        let first = search.node_of(configured[0], &keys).await?;
        let layout = layout::read(&search.nodes[first], &namespace).await;
        let laid_out = layout.first.map(Shard::all).transpose().ok().flatten();
        let mut shards = Vec::new();
        for shard in laid_out.unwrap_or(configured) {
            let keys = Keys::new(&namespace, shard, database);
            let node = search.node_of(shard, &keys).await?;
            let connection = search.connection(node).clone();
            shards.push(InspectedShard::new(shard, keys, node, connection));
        }
        Ok(Self {
            namespace,
            time_limit: redis.settings.time_limit,
            layout: layout.shards,
            nodes: search.nodes,
            shards,
        })
    }

    /// Returns the name of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the time that a call of an instance with these settings may spend on the servers.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// Returns the number of shards that the histories of the namespace were begun for; `None` if
    /// no shard has a history, so that nothing in the namespace is valid.
    ///
    /// # Errors
    /// A history could not be read when the servers were connected to, or the histories are of
    /// several layouts. Then the [shards](Self::shards) may not be those of the instances.
    pub fn layout(&self) -> Result<Option<u8>, Error> {
        self.layout.clone()
    }

    /// Returns the servers that have the shards.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the shards, in the order of their indices.
    #[must_use]
    pub fn shards(&self) -> &[InspectedShard] {
        &self.shards
    }

    /// Returns the node that has a shard.
    #[must_use]
    pub fn node_of(&self, shard: &InspectedShard) -> &Node {
        &self.nodes[shard.node()]
    }

    /// Reads the name of a key of the namespace. `None` if it is of no shard of it.
    #[must_use]
    pub fn key_named(&self, name: &str) -> Option<(&InspectedShard, StoredKey)> {
        let read = |shard| Some((shard, InspectedShard::key_named(shard, name)?));
        self.shards.iter().find_map(read)
    }
}
