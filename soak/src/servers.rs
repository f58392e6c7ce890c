//! The servers: a single one, or a primary with a replica that replaces it.

use std::io;
use std::time::Duration;

use redis::{FromRedisValue, RedisResult};
use testbed::proxy::{End, Proxy};
use testbed::server::Server;
use tokio::time::{sleep, timeout};

/// Number and roles of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, which is restarted at times.
    Standalone,
    /// A primary and a replica, which is promoted at times.
    Failover,
    /// One server with little memory, which other users fill. It evicts the least recently used
    /// keys.
    Evicting,
}

impl Topology {
    /// Returns `maxmemory` and `maxmemory-policy` of the server.
    #[must_use]
    pub fn memory(self) -> [&'static str; 2] {
        match self {
            Self::Standalone | Self::Failover => ["0", "noeviction"],
            Self::Evicting => ["4mb", "allkeys-lru"],
        }
    }
}

/// Seconds without a message from its replica after which a primary refuses writes.
const MAX_LAG: u64 = 2;

/// Longest time for which instances rely on a primary that has lost its replica.
///
/// The server counts whole seconds and checks once a second. An instance writes once a second, and
/// waits for the reply for twice its bound.
pub const SPLIT_NOTICED: Duration = Duration::from_secs(MAX_LAG + 4);

/// Longest wait until a replica has caught up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(20);

/// The servers.
#[derive(Debug)]
pub struct Servers {
    topology: Topology,
    nodes: Vec<Server>,
    primary: usize,
    /// Proxy between the replica and its primary.
    replication: Option<Proxy>,
}

/// Runs one command, for a second at most.
///
/// # Errors
/// The error of the server, or a timeout.
pub async fn command<T: FromRedisValue>(port: u16, arguments: &[&str]) -> RedisResult<T> {
    let run = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut request = redis::Cmd::new();
        for argument in arguments {
            request.arg(argument);
        }
        request.query_async(&mut connection).await
    };
    match timeout(Duration::from_secs(1), run).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// Returns one field of `INFO`.
async fn info(port: u16, field: &str) -> Option<String> {
    let info: String = command(port, &["INFO", "replication"]).await.ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

impl Servers {
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
        let number = match topology {
            Topology::Standalone | Topology::Evicting => 1,
            Topology::Failover => 2,
        };
        let nodes: Vec<_> = (0..number)
            .map(|_| Server::start_binary(binary, &arguments))
            .collect();
        let replication = match topology {
            Topology::Standalone | Topology::Evicting => None,
            Topology::Failover => Some(Proxy::to(nodes[0].port()).await),
        };
        let servers = Self {
            topology,
            nodes,
            primary: 0,
            replication,
        };
        servers.follow().await?;
        Ok(servers)
    }

    /// Returns number and roles of the servers.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Returns the primary.
    #[must_use]
    pub fn primary(&self) -> &Server {
        &self.nodes[self.primary]
    }

    /// Returns name and version of the server software.
    ///
    /// # Errors
    /// The server does not reply.
    pub async fn version(&self) -> RedisResult<String> {
        let info: String = command(self.primary().port(), &["INFO", "server"]).await?;
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
            while command::<()>(replica, &["REPLICAOF", "127.0.0.1", port])
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50)).await;
            }
            while info(replica, "master_link_status").await.as_deref() != Some("up") {
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

    /// Promotes the replica, and lets the proxies lead to it.
    async fn promote(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        let port = self.replica().port();
        let promoted = async {
            while command::<()>(port, &["REPLICAOF", "NO", "ONE"])
                .await
                .is_err()
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CATCH_UP_LIMIT, promoted)
            .await
            .map_err(|_| io::Error::other("the replica is not promoted"))?;
        for proxy in proxies {
            proxy.repoint(port);
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
    pub async fn fail_over(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        self.nodes[self.primary].kill();
        self.promote(proxies).await?;
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
        proxies: &[Proxy],
        lag: Duration,
    ) -> io::Result<bool> {
        let primary = self.primary().port();
        self.replica().freeze();
        // Without this, the replica would still read what the primary has sent.
        let _ = command::<i64>(primary, &["CLIENT", "KILL", "TYPE", "replica"]).await;
        sleep(lag).await;
        let offset = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let acknowledged = offset(info(primary, "master_repl_offset").await);
        self.nodes[self.primary].kill();
        self.replica().thaw();
        self.promote(proxies).await?;
        let kept = offset(info(self.primary().port(), "second_repl_offset").await);
        self.rejoin().await?;
        // The second offset is the first one that the new primary does not have.
        Ok(acknowledged
            .zip(kept)
            .is_some_and(|(there, here)| here <= there))
    }

    /// Promotes the replica while the primary continues to run without a connection to it.
    ///
    /// The first `stay` proxies still lead to the old primary.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn split(&mut self, proxies: &[Proxy], stay: usize) -> io::Result<()> {
        let primary = self.primary().port();
        let _ = command::<()>(primary, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        if let Some(replication) = &self.replication {
            replication.strand();
        }
        self.promote(&proxies[stay..]).await?;
        let _ = command::<()>(
            self.primary().port(),
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        )
        .await;
        for proxy in &proxies[stay..] {
            proxy.end(End::Close);
        }
        Ok(())
    }

    /// Ends a [`split`](Self::split): kills the old primary, and lets all proxies lead to the new
    /// one.
    ///
    /// # Errors
    /// As [`fail_over`](Self::fail_over).
    pub async fn unite(&mut self, proxies: &[Proxy]) -> io::Result<()> {
        for proxy in proxies {
            proxy.repoint(self.primary().port());
        }
        self.rejoin().await
    }
}
