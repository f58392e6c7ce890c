//! The servers: one, a primary with a replica, a cluster, or a primary with sentinels.

mod pair;
mod topology;

use std::io;
use std::time::Duration;

use fastrand::Rng;
use redis::RedisResult;
use testbed::ask::ask;
use testbed::cluster::{self, Cluster};
use testbed::network::Network;
use testbed::sentinel::{self, Sentinels};
use testbed::server::Server;

pub use self::pair::{Pair, SPLIT_NOTICED};
pub use self::topology::Topology;
use crate::address::Address;

/// Time without a reply after which the servers of a cluster, or sentinels, replace a primary:
/// longer than any short fault.
const DOWN_AFTER: Duration = Duration::from_secs(3);

/// The servers of a run.
#[derive(Debug)]
pub struct Servers {
    topology: Topology,
    /// The servers, as their topology needs them.
    pub kind: Kind,
}

/// Servers of each topology.
#[derive(Debug)]
pub enum Kind {
    /// One server, or two.
    Pair(Pair),
    /// A cluster.
    Cluster(Cluster),
    /// Servers behind sentinels.
    Sentinels(Sentinels),
}

impl Servers {
    /// Starts the servers with the program at `binary`.
    ///
    /// # Errors
    /// A replica does not catch up.
    pub async fn start(binary: &str, topology: Topology) -> io::Result<Self> {
        let kind = match topology {
            Topology::Standalone | Topology::Failover | Topology::Evicting => {
                Kind::Pair(Pair::start(binary, topology).await?)
            }
            Topology::Cluster => {
                let options = cluster::Options {
                    binary: binary.to_owned(),
                    primaries: 3,
                    node_timeout: DOWN_AFTER,
                    arguments: Vec::new(),
                    is_for_a_test: false,
                };
                Kind::Cluster(Cluster::start_with(&options).await)
            }
            Topology::Sentinel => {
                let options = sentinel::Options {
                    binary: binary.to_owned(),
                    down_after: DOWN_AFTER,
                    arguments: Vec::new(),
                    is_for_a_test: false,
                };
                Kind::Sentinels(Sentinels::start_with(&options).await)
            }
        };
        Ok(Self { topology, kind })
    }

    /// Returns number and roles of the servers.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Creates the network of an instance, and returns the address at which it finds the servers
    /// there.
    pub async fn network(&self) -> (Network, Address) {
        let port = |server: &Server| server.port();
        match &self.kind {
            Kind::Pair(pair) => {
                let network = Network::to(pair.primary().port()).await;
                let address = Address::Server(network.urls().remove(0));
                (network, address)
            }
            Kind::Cluster(cluster) => {
                let ports: Vec<_> = cluster.nodes().iter().map(port).collect();
                let network = Network::around(&ports).await;
                let address = Address::Cluster(network.urls());
                (network, address)
            }
            Kind::Sentinels(all) => {
                let sentinels = all.sentinels().iter().map(port);
                let ports: Vec<_> = sentinels.chain(all.servers().iter().map(port)).collect();
                let network = Network::around(&ports).await;
                let mut sentinels = network.addresses();
                sentinels.truncate(all.sentinels().len());
                (network, Address::Sentinels(sentinels))
            }
        }
    }

    /// All servers with data.
    fn with_data(&self) -> &[Server] {
        match &self.kind {
            Kind::Pair(pair) => std::slice::from_ref(pair.primary()),
            Kind::Cluster(cluster) => cluster.nodes(),
            Kind::Sentinels(all) => all.servers(),
        }
    }

    /// Ports of all servers with data, except for the replica of a [`Pair`].
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.with_data().iter().map(Server::port)
    }

    /// Suspends all servers with data. None replaces another.
    pub fn freeze(&self) {
        self.with_data().iter().for_each(Server::freeze);
    }

    /// Resumes all servers with data.
    pub fn thaw(&self) {
        self.with_data().iter().for_each(Server::thaw);
    }

    /// Any of the primaries.
    pub async fn primary(&self, rng: &mut Rng) -> &Server {
        match &self.kind {
            Kind::Pair(pair) => pair.primary(),
            Kind::Cluster(cluster) => {
                let primaries = cluster.primaries().await;
                cluster.node(primaries[rng.usize(..primaries.len())])
            }
            Kind::Sentinels(all) => all.server(all.primary().await),
        }
    }

    /// Returns name and version of the server software.
    ///
    /// # Errors
    /// The server does not reply.
    pub async fn version(&self) -> RedisResult<String> {
        let port = self.with_data()[0].port();
        let info: String = ask(port, &["INFO", "server"]).await?;
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        Ok(match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => format!("valkey {version}"),
            (None, Some(version)) => format!("redis {version}"),
            (None, None) => "unknown".to_owned(),
        })
    }
}
