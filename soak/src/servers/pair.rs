//! A single server, or a primary with a replica that replaces it when the run asks for it.

use std::io;
use std::time::Duration;

use testbed::ask::{ask, replication as field};
use testbed::network::Network;
use testbed::proxy::{End, Proxy};
use testbed::server::Server;
use tokio::time::{sleep, timeout};

use super::topology::Topology;

/// Seconds without a message from its replica after which a primary refuses writes.
const MAX_LAG: u64 = 2;

/// Longest time for which instances rely on a primary that has lost its replica.
///
/// The server counts whole seconds and checks once a second. An instance writes once a second, and
/// waits for the reply for twice its bound.
pub const SPLIT_NOTICED: Duration = Duration::from_secs(MAX_LAG + 4);

/// Longest wait until a replica has caught up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(20);

/// A server, with its replica if the topology has one.
#[derive(Debug)]
pub struct Pair {
    nodes: Vec<Server>,
    primary: usize,
    /// Proxy between the replica and its primary.
    replication: Option<Proxy>,
}

impl Pair {
    /// Starts the servers with the program at `binary`.
    ///
    /// # Errors
    /// The replica does not catch up.
    pub async fn start(binary: &str, topology: Topology) -> io::Result<Self> {
        let max_lag = MAX_LAG.to_string();
        let [maxmemory, policy] = topology.memory();
        let arguments = [
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
            "--min-replicas-max-lag",
            &max_lag,
            "--maxmemory",
            maxmemory,
            "--maxmemory-policy",
            policy,
        ];
        let has_replica = topology == Topology::Failover;
        let number = if has_replica { 2 } else { 1 };
        let nodes: Vec<_> = (0..number)
            .map(|_| Server::start_binary(binary, &arguments))
            .collect();
        let replication = match has_replica {
            false => None,
            true => Some(Proxy::to(nodes[0].port()).await),
        };
        let pair = Self {
            nodes,
            primary: 0,
            replication,
        };
        pair.follow().await?;
        Ok(pair)
    }

    /// Returns the primary.
    #[must_use]
    pub fn primary(&self) -> &Server {
        &self.nodes[self.primary]
    }

    fn replica(&self) -> &Server {
        &self.nodes[1 - self.primary]
    }

    /// Makes the other node a replica of the primary, and waits until it has caught up.
    async fn follow(&self) -> io::Result<()> {
        let Some(replication) = &self.replication else {
            return Ok(());
        };
        replication.repoint(self.primary().port());
        let url = replication.url();
        let port = url.rsplit(':').next().unwrap_or_default();
        let replica = self.replica().port();
        let follows = async {
            while ask::<()>(replica, &["REPLICAOF", "127.0.0.1", port])
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50)).await;
            }
            while field(replica, "master_link_status").await.as_deref() != Some("up") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CATCH_UP_LIMIT, follows)
            .await
            .map_err(|_| io::Error::other("the replica does not catch up"))
    }

    /// Kills the server and starts it again with the data that it had saved.
    pub fn restart(&mut self) {
        self.nodes[self.primary].kill();
        self.nodes[self.primary].restart();
    }

    /// Promotes the replica, and lets the networks lead to it.
    async fn promote(&mut self, networks: &[Network]) -> io::Result<()> {
        let port = self.replica().port();
        let promoted = async {
            while ask::<()>(port, &["REPLICAOF", "NO", "ONE"]).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CATCH_UP_LIMIT, promoted)
            .await
            .map_err(|_| io::Error::other("the replica is not promoted"))?;
        for network in networks {
            network.repoint(port);
        }
        self.primary = 1 - self.primary;
        Ok(())
    }

    /// Restarts the node that is not the primary, without data, as a replica.
    async fn rejoin(&mut self) -> io::Result<()> {
        let node = &mut self.nodes[1 - self.primary];
        node.kill();
        let _ = std::fs::remove_file(node.directory().join("dump.rdb"));
        node.restart();
        self.follow().await
    }

    /// Kills the primary and promotes its replica.
    ///
    /// # Errors
    /// The replica is not promoted, or the other node does not catch up.
    pub async fn fail_over(&mut self, networks: &[Network]) -> io::Result<()> {
        self.nodes[self.primary].kill();
        self.promote(networks).await?;
        self.rejoin().await
    }

    /// Fails over like [`fail_over`](Self::fail_over), while the replica is behind by `lag`.
    ///
    /// Writes that the primary acknowledged in that time are lost. Returns `true` if there were
    /// any.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn fail_over_with_loss(
        &mut self,
        networks: &[Network],
        lag: Duration,
    ) -> io::Result<bool> {
        let primary = self.primary().port();
        self.replica().freeze();
        // Without this, the replica would still read what the primary has sent.
        let _ = ask::<i64>(primary, &["CLIENT", "KILL", "TYPE", "replica"]).await;
        sleep(lag).await;
        let offset = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let acknowledged = offset(field(primary, "master_repl_offset").await);
        self.nodes[self.primary].kill();
        self.replica().thaw();
        self.promote(networks).await?;
        let kept = offset(field(self.primary().port(), "second_repl_offset").await);
        self.rejoin().await?;
        // The second offset is the first one that the new primary does not have.
        Ok(acknowledged
            .zip(kept)
            .is_some_and(|(there, here)| here <= there))
    }

    /// Promotes the replica while the primary continues to run without a connection to it.
    ///
    /// The first `stay` networks still lead to the old primary.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn split(&mut self, networks: &[Network], stay: usize) -> io::Result<()> {
        let primary = self.primary().port();
        let _ = ask::<()>(primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        if let Some(replication) = &self.replication {
            replication.strand();
        }
        self.promote(&networks[stay..]).await?;
        let _ = ask::<()>(
            self.primary().port(),
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        )
        .await;
        for network in &networks[stay..] {
            network.end(End::Close);
        }
        Ok(())
    }

    /// Ends a [`split`](Self::split): kills the old primary, and lets all networks lead to the new
    /// one.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn unite(&mut self, networks: &[Network]) -> io::Result<()> {
        for network in networks {
            network.repoint(self.primary().port());
        }
        self.rejoin().await
    }
}
